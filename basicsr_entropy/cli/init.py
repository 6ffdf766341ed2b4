"""The command `basicsr-entropy init`: writes option files from the package's templates."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from basicsr_entropy.cli._arguments import example

SUFFIXES = ('.yml', '.yaml')
FLAGS = {'recipe': '--recipe', 'dataset': '--dataset', 'out': '-o', 'name': '--name', 'phase': '--phase'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command to its parser."""
    parser.description = 'Writes an option file: a recipe (network, losses, schedule) for a dataset.'
    parser.epilog = example(
        'basicsr-entropy init --recipe small --dataset lolv2_real --dataroot datasets/LOLv2 -o my.yml'
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--recipe', metavar='NAME', help='write an option file of this recipe, such as small')
    what.add_argument('--all', action='store_true', help='write every option file of the repository into the folder -o')
    what.add_argument('--list', action='store_true', help='list the recipes and the datasets')
    parser.add_argument(
        '--dataset', metavar='NAME', help='dataset to train or test on; by default the one that the recipe is meant for'
    )
    parser.add_argument(
        '--dataroot',
        metavar='DIR',
        help='folder of the dataset, as published or as written by `basicsr-entropy prepare`; for the dataset '
        'photographs, the folder with train and test in it; by default a folder in datasets/',
    )
    parser.add_argument('-o', '--out', metavar='FILE', help='file to write (.yml), or the folder for --all')
    parser.add_argument('--name', help='name of the run, hence of its folder in experiments/; by default that of FILE')
    parser.add_argument('--phase', choices=['train', 'test'], help='what the file is for; train by default')
    parser.add_argument(
        '--schema',
        action='store_true',
        help='also write the JSON schema, by which editors complete and check option files',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        ValueError: If a recipe, dataset or name is invalid; names the field.
        FileExistsError: If a file exists and may not be overwritten; nothing has been written.
    """
    if args.list:
        return _list()
    if args.out is None:
        args.refuse('the following arguments are required: -o/--out')
    if args.all:
        for field in ('dataset', 'dataroot', 'name', 'phase'):
            if getattr(args, field) is not None:
                args.refuse(f'argument --{field}: not allowed with argument --all')
        return _write_all(args)
    return _write_one(args)


def _list() -> int:
    from basicsr_entropy.config.templates import datasets, recipes

    for title, descriptions in (('recipes', recipes()), ('datasets', datasets())):
        print(f'{title}:')
        for name, description in descriptions.items():
            print(f'  {name:<16} {description}')
    return 0


def _write_one(args: argparse.Namespace) -> int:
    from basicsr_entropy.config.templates import render, usual_dataroot, usual_dataset, write_option_files

    refuse: Callable[[str], NoReturn] = args.refuse
    dataset: str | None = usual_dataset(args.recipe) if args.dataset is None else args.dataset
    if dataset is None:
        refuse(f'the recipe {args.recipe} suits every dataset: --dataset is required; --list shows them')
    out = Path(args.out).expanduser()
    if out.suffix not in SUFFIXES:
        raise ValueError(f'out: an option file ends in {" or ".join(SUFFIXES)}, got {out}')
    name = out.stem if args.name is None else args.name
    phase = args.phase or 'train'
    schema = 'option_schema.json' if args.schema else None
    text = render(args.recipe, dataset, phase, args.dataroot, name, schema)
    write_option_files({out: text}, args.overwrite)
    if schema:
        _write_schema(out.with_name(schema), args.overwrite)
    dataroot = Path(usual_dataroot(dataset) if args.dataroot is None else args.dataroot)
    if not dataroot.expanduser().is_dir():
        print(f'note: there is no folder {dataroot} here; the data must be there when the file is used')
    print(f'option file: {out}')
    print(f'next: basicsr-entropy {phase} -opt {shlex.quote(str(out))}')
    return 0


def _write_all(args: argparse.Namespace) -> int:
    from basicsr_entropy.config.templates import option_files, write_option_files

    folder, schema = Path(args.out).expanduser(), 'schema.json' if args.schema else None
    files = {folder / path: text for path, text in option_files(schema).items()}
    write_option_files(files, args.overwrite)
    if schema:
        _write_schema(folder / schema, args.overwrite)
    first = next(path for path in files if path.is_relative_to(folder / 'train/LOLv1'))
    print(f'option files: {len(files)} in {folder}')
    print(f'next: basicsr-entropy train -opt {shlex.quote(str(first))}')
    return 0


def _write_schema(path: Path, overwrite: bool) -> None:
    """Writes the JSON schema; one that is there serves every option file beside it and is kept."""
    from basicsr_entropy.config.json_schema import write_schema

    if overwrite or not path.exists():
        write_schema(path)
