"""The command `basicsr-entropy`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from basicsr_entropy.cli.memory import keep_freed_memory

USAGE = """usage: basicsr-entropy COMMAND ...

commands:
  train -opt FILE [--auto_resume] [--launcher pytorch] [--force_yml KEY:KEY=VALUE ...]
                     train from a BasicSR option file
  test -opt FILE     test from a BasicSR option file; takes the same arguments
  prepare --root DIR --out DIR [--crop-size N] [--encoding keep|png|raw] [--resume] [--dry-run]
                     pack a published set into LMDB stores
  check --root DIR   look for what is wrong with a set: pairing, leaks, shifts, swapped sides
  report -opt FILE   measure what `test` wrote, and show it as a table and a picture
  export -opt FILE --weights FILE -o FILE
                     write a trained network with its options to one file
  enhance -o DIR [--model NAME|FILE] INPUT ...
                     enhance photographs: files, folders, patterns
  app --browser      enhance photographs on a page in the browser

every command takes --help, and --traceback to show where an error came from
"""


def main(command: Sequence[str] = ()) -> None:
    """Runs the command line of this process and exits.

    The exit code is 0 for success, 1 for an error, 2 for a wrong command line, and 3 where `check` found errors or
    warnings.

    Args:
        command: Words to put before the command line's own, e.g. ['train'].
    """
    arguments = [*command, *sys.argv[1:]]
    traceback = '--traceback' in arguments
    arguments = [argument for argument in arguments if argument != '--traceback']
    try:
        sys.exit(_dispatch(arguments))
    except KeyboardInterrupt:
        print('basicsr-entropy: interrupted', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if traceback:
            raise
        _print_error(error)
        sys.exit(1)


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ('-h', '--help', 'help'):
        print(USAGE, end='')
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ('train', 'test', 'enhance', 'app'):
        keep_freed_memory(in_threads=name == 'app')  # which enhances in a thread
    if name in ('train', 'test'):
        from basicsr_entropy.training import pipeline

        pipeline.run(rest, is_train=name == 'train')
        return 0
    if name == 'prepare':
        return _prepare(rest)
    if name == 'check':
        return _check(rest)
    if name == 'report':
        return _report(rest)
    if name == 'export':
        return _export(rest)
    if name == 'enhance':
        return _enhance(rest)
    if name == 'app':
        return _app(rest)
    print(f"basicsr-entropy: no command '{name}'\n\n{USAGE}", end='', file=sys.stderr)
    return 2


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--workers', type=_count, default=len(os.sched_getaffinity(0)), help='processes; one for each core by default'
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 0, got {text!r}')
    return int(text)


def _prepare(arguments: Sequence[str]) -> int:
    from basicsr_entropy.data.lmdb.prepare import estimate, prepare_stores
    from basicsr_entropy.data.lmdb.recipe import ENCODINGS, Recipe
    from basicsr_entropy.data.sets.layouts import LAYOUTS, SPLITS

    parser = argparse.ArgumentParser(
        prog='basicsr-entropy prepare',
        description='Writes OUT/<split>_lq.lmdb and OUT/<split>_gt.lmdb, which train as dataroot: OUT.',
    )
    parser.add_argument('--root', required=True, help='folder of the published set')
    parser.add_argument('--out', required=True, help='folder for the stores')
    parser.add_argument('--layout', default='auto', choices=['auto', *LAYOUTS], help='how the set is laid out')
    parser.add_argument('--split', nargs='+', choices=SPLITS, help='splits to write; all that are there by default')
    parser.add_argument(
        '--encoding',
        default='keep',
        choices=ENCODINGS,
        help="keep: a file's own bytes, or PNG of its sub-images (default); png; raw: pixels, the fastest",
    )
    parser.add_argument('--crop-size', type=int, help='cut photographs into sub-images of so many pixels a side')
    parser.add_argument('--step', type=int, help='pixels from a sub-image to the next; the crop size by default')
    parser.add_argument(
        '--thresh',
        type=int,
        help='drop a rest strip of up to so many pixels, else a last sub-image covers it (0)',
    )
    _add_workers(parser)
    parser.add_argument('--resume', action='store_true', help='go on with what a killed run left')
    parser.add_argument('--skip-bad', action='store_true', help='leave out pairs that cannot be read or do not fit')
    parser.add_argument('--dry-run', action='store_true', help='tell what would be written, and write nothing')
    options = parser.parse_args(arguments)
    recipe = Recipe(options.encoding, options.crop_size, options.step, options.thresh)
    what = {'layout': options.layout, 'splits': options.split, 'recipe': recipe, 'skip_bad': options.skip_bad}
    if options.dry_run:
        written = estimate(options.root, **what)
    else:
        written = prepare_stores(options.root, options.out, workers=options.workers, resume=options.resume, **what)
    for split, count in written.items():
        stores = f'{options.out}/{split}_lq.lmdb and {split}_gt.lmdb'
        print(f'{split}: about {count} would go to {stores}' if options.dry_run else f'{split}: {count} in {stores}')
    return 0


def _check(arguments: Sequence[str]) -> int:
    import cv2

    from basicsr_entropy.data.checks import report as check_report
    from basicsr_entropy.data.checks.check import check_sets
    from basicsr_entropy.data.sets.layouts import LAYOUTS, SPLITS

    parser = argparse.ArgumentParser(
        prog='basicsr-entropy check',
        description='Looks for what is wrong with sets of pairs, in folders or stores. Exits with 0 if nothing but '
        'notes was found, with 3 for warnings and errors.',
    )
    parser.add_argument('--root', required=True, nargs='+', help='data roots; several are compared with each other')
    parser.add_argument('--layout', default='auto', choices=['auto', *LAYOUTS], help='how the sets are laid out')
    parser.add_argument('--split', nargs='+', choices=SPLITS, help='splits to look at; all that are there by default')
    parser.add_argument('--picture', help='file of the contact sheet; check_NAME.jpg by default')
    parser.add_argument('--fix-list', help='file to write names to leave out to, for `exclude` of the dataset')
    parser.add_argument('--exclude', help='list of pairs to pass over, as --fix-list writes it')
    _add_workers(parser)
    options = parser.parse_args(arguments)
    roots = [Path(root).expanduser().resolve() for root in options.root]
    picture = options.picture or f'check_{"_".join(root.name for root in roots)}.jpg'
    # said before a long pass over the data
    if not cv2.haveImageWriter(picture):
        raise ValueError(f'--picture: no kind of image is called {picture}; give it the suffix .jpg or .png')
    if options.fix_list and Path(options.fix_list).exists():
        raise FileExistsError(f'--fix-list: {options.fix_list} exists; remove it, or write somewhere else')
    checked = check_sets(roots, options.layout, options.split, options.workers, options.exclude)
    check_report.print_report(checked)
    if options.fix_list:
        print(f'fix list: {check_report.write_fix_list(checked, options.fix_list)} names in {options.fix_list}')
    if written := check_report.write_picture(checked, picture):
        print(f'picture: {written}')
    return 0 if checked.clean else 3


def _report(arguments: Sequence[str]) -> int:
    from basicsr_entropy.config import read_option_file
    from basicsr_entropy.training import report

    parser = argparse.ArgumentParser(
        prog='basicsr-entropy report', description='Shows the results of a test run beside its inputs and the truth.'
    )
    parser.add_argument('-opt', required=True, help='option file of the test')
    parser.add_argument('--picture', help='file of the picture; results/NAME/comparison.png by default')
    options = parser.parse_args(arguments)
    test = read_option_file(options.opt)
    compared = report.compare_results(test)
    picture = options.picture or report.results_root(test) / 'comparison.png'
    report.write_picture(compared, picture)
    report.print_table(compared, test['name'])
    print(f'picture: {picture}')
    return 0


def _export(arguments: Sequence[str]) -> int:
    from basicsr_entropy.config import read_option_file
    from basicsr_entropy.inference.pretrained import write_pretrained

    parser = argparse.ArgumentParser(
        prog='basicsr-entropy export', description='Writes weights with their options to one safetensors file.'
    )
    parser.add_argument('-opt', required=True, help='option file that the weights were trained or are tested with')
    parser.add_argument('--weights', required=True, help='file of weights, such as net_g_latest.pth')
    parser.add_argument('-o', '--out', required=True, help='file to write; ends in .safetensors')
    options = parser.parse_args(arguments)
    write_pretrained(read_option_file(options.opt), options.weights, options.out)
    print(f'model: {options.out}')
    return 0


def _add_enhancer(parser: argparse.ArgumentParser) -> None:
    """The options of an `Enhancer`."""
    from basicsr_entropy.diffusion import SAMPLERS
    from basicsr_entropy.diffusion.tiling import MODES, Tiling
    from basicsr_entropy.inference.enhancer import DTYPES

    parser.add_argument(
        '--model',
        default='night_small',
        help='a file that `basicsr-entropy export` wrote, or the name of a model that comes along (night_small)',
    )
    parser.add_argument('-opt', help='option file of weights without options')
    parser.add_argument('--sampler', choices=sorted(SAMPLERS), help="the model's own by default")
    parser.add_argument('--steps', type=int, help="network evaluations an image; the model's own by default")
    parser.add_argument('--tile', type=int, default=Tiling.size, help='pixels to a side of a tile; 0 for none')
    parser.add_argument('--tile-overlap', type=int, default=Tiling.overlap, help='pixels that tiles share')
    parser.add_argument('--tile-mode', choices=MODES, default=Tiling.mode, help='how tiles are joined')
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ...; the GPU if there is one by default')
    parser.add_argument('--self-ensemble', action='store_true', help='average eight views; eight times slower')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='half precision, for GPUs (float32)')
    parser.add_argument('--compile', action='store_true', help='compile the network: minutes at first, then faster')


def _enhancer(options: argparse.Namespace):
    from basicsr_entropy.diffusion.tiling import Tiling
    from basicsr_entropy.inference.enhancer import Enhancer

    return Enhancer.from_pretrained(
        options.model,
        options=options.opt,
        sampler=options.sampler,
        steps=options.steps,
        tile=Tiling(options.tile, options.tile_overlap, options.tile_mode) if options.tile else None,
        seed=options.seed,
        device=options.device,
        self_ensemble=options.self_ensemble,
        dtype=options.dtype,
        compile=options.compile,
    )


def _enhance(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog='basicsr-entropy enhance',
        description='Enhances photographs, which keep their names, bit depth, EXIF and ICC profile.',
    )
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='files, folders or patterns')
    parser.add_argument('-o', '--out', required=True, help='folder for the results')
    _add_enhancer(parser)
    parser.add_argument('--compare', action='store_true', help='write also before and after, side by side')
    parser.add_argument('--filmstrip', action='store_true', help='write also the states from noise to image')
    parser.add_argument('--overwrite', action='store_true', help='replace results that are there')
    options = parser.parse_args(arguments)

    from basicsr_entropy.inference.batch import enhance_files

    kinds = {'compare': options.compare, 'filmstrip': options.filmstrip, 'overwrite': options.overwrite}
    return 1 if enhance_files(_enhancer(options), options.inputs, options.out, **kinds) else 0


def _app(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog='basicsr-entropy app', description='Serves a page that enhances photographs, for the browser.'
    )
    _add_enhancer(parser)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=int, help='port to listen at; the first free one from 7860 up by default')
    parser.add_argument('--browser', action='store_true', help='open the page in the browser')
    options = parser.parse_args(arguments)

    from basicsr_entropy.inference.page import build_app, serve

    app = build_app(_enhancer(options), Path(options.model).stem)
    print(f'app: {serve(app, options.host, options.port, options.browser)} (Ctrl+C stops it)', flush=True)
    app.block_thread()
    return 0


def _print_error(error: Exception) -> None:
    """One line for the terminal; the whole traceback into the log file of a run that has one."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line for line in message.splitlines() if line.strip()] or [type(error).__name__]
    # a data loader's worker wraps its error into a traceback whose last line is the message
    line = lines[-1].partition(': ')[2] if 'Original Traceback' in message else lines[0]
    if not isinstance(error, (KeyError, ValueError, OSError, ImportError)):
        line = f'{type(error).__name__}: {line}'
    logs = [handler for handler in logging.getLogger('basicsr').handlers if isinstance(handler, logging.FileHandler)]
    for handler in logs:
        record = logging.LogRecord(
            'basicsr', logging.ERROR, __file__, 0, line, None, (type(error), error, error.__traceback__)
        )
        handler.handle(record)
    where = f'traceback in {logs[0].baseFilename}' if logs else '--traceback shows where'
    print(f'basicsr-entropy: error: {line} ({where})', file=sys.stderr)


if __name__ == '__main__':
    main()
