"""`basicsr-entropy enhance`: enhances photographs."""

import argparse
import sys

from basicsr_entropy.cli._arguments import (
    CONTROLS_FLAGS,
    ENHANCER_FLAGS,
    add_controls,
    add_enhancer,
    build_controls,
    build_enhancer,
    check_json_report,
    example,
)
from basicsr_entropy.cli._memory import keep_freed_memory

FLAGS = {**ENHANCER_FLAGS, **CONTROLS_FLAGS, 'out': '-o', 'overwrite': '--overwrite'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the photographs, the enhancer, the controls and the files to write."""
    parser.description = (
        'Enhance photographs: PNG, JPEG, TIFF, WebP, AVIF, BMP, and with the extra `heif` HEIC. Results keep the file\n'
        'name, format, bit depth, EXIF and ICC profile; those of HEIC files are JPEG files.'
    )
    parser.epilog = example("basicsr-entropy enhance night.jpg holiday/ 'raw/*.png' -o bright --compare")
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='file, folder or glob pattern')
    parser.add_argument('-o', '--out', metavar='DIR', required=True, help='folder for the results')
    add_controls(parser)
    add_enhancer(parser)
    parser.add_argument(
        '--compare', action='store_true', help='also write NAME_compare: before and after, side by side'
    )
    parser.add_argument(
        '--filmstrip', action='store_true', help='also write NAME_filmstrip.png: states from noise to image'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace existing results')
    parser.add_argument(
        '--json',
        metavar='FILE',
        help='write a report on every file as JSON: size, time, share of clipped values before and after, errors; '
        'an existing file is replaced; - for standard output',
    )


def run(args: argparse.Namespace) -> int:
    """Enhances the photographs; returns 1 if one of them failed."""
    keep_freed_memory()
    from basicsr_entropy._files import atomic_write_text
    from basicsr_entropy.inference.batch import as_json, enhance_files, summary

    check_json_report(args.json)
    controls, enhancer = build_controls(args), build_enhancer(args)
    outcomes = enhance_files(
        enhancer,
        args.inputs,
        args.out,
        compare=args.compare,
        filmstrip=args.filmstrip,
        overwrite=args.overwrite,
        controls=controls,
    )
    settings = {
        'model': args.model,
        'sampler': enhancer.sampler.type,
        'steps': enhancer.steps,
        'seed': enhancer.seed,
        'strength': controls.strength,
        'exposure': controls.exposure,
        'brightness': controls.brightness,
        'protect_highlights': controls.protect_highlights,
    }
    if args.json == '-':
        print(as_json(outcomes, settings))
    elif args.json:
        atomic_write_text(args.json, as_json(outcomes, settings) + '\n')
    print(summary(outcomes), file=sys.stderr if args.json == '-' else sys.stdout)
    return 1 if any(each.status == 'failed' for each in outcomes) else 0
