"""`basicsr-entropy enhance`: enhances photographs."""

import argparse

from basicsr_entropy.cli._arguments import ENHANCER_FLAGS, add_enhancer, build_enhancer, example
from basicsr_entropy.cli._memory import keep_freed_memory

FLAGS = {**ENHANCER_FLAGS, 'out': '-o', 'overwrite': '--overwrite'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the photographs, the enhancer and the files to write."""
    parser.description = 'Enhance photographs. Results keep the file name, format, bit depth, EXIF and ICC profile.'
    parser.epilog = example("basicsr-entropy enhance night.jpg holiday/ 'raw/*.png' -o bright --compare")
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='file, folder or glob pattern')
    parser.add_argument('-o', '--out', metavar='DIR', required=True, help='folder for the results')
    add_enhancer(parser)
    parser.add_argument(
        '--compare', action='store_true', help='also write NAME_compare: before and after, side by side'
    )
    parser.add_argument(
        '--filmstrip', action='store_true', help='also write NAME_filmstrip.png: states from noise to image'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace existing results')


def run(args: argparse.Namespace) -> int:
    """Enhances the photographs; returns 1 if one of them failed."""
    keep_freed_memory()
    from basicsr_entropy.inference.batch import enhance_files

    errors = enhance_files(
        build_enhancer(args),
        args.inputs,
        args.out,
        compare=args.compare,
        filmstrip=args.filmstrip,
        overwrite=args.overwrite,
    )
    return 1 if errors else 0
