"""`basicsr-entropy prepare`: converts a dataset to LMDB databases."""

import argparse

from basicsr_entropy.cli._arguments import (
    LAYOUT_FLAGS,
    WORKERS_FLAGS,
    add_layout,
    add_workers,
    example,
)

FLAGS = {
    **LAYOUT_FLAGS,
    **WORKERS_FLAGS,
    'out': '--out',
    'encoding': '--encoding',
    'crop_size': '--crop-size',
    'step': '--step',
    'thresh': '--thresh',
    'resume': '--resume',
    'skip_bad': '--skip-bad',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the dataset, how its images are cropped and encoded, and how bad pairs are treated."""
    from basicsr_entropy.data.prepare.encoding import ENCODINGS

    parser.description = (
        'Convert each split of a dataset to two LMDB databases, OUT/<split>_lq.lmdb and OUT/<split>_gt.lmdb.\n'
        'Option files then use them as `dataroot: OUT`.'
    )
    parser.epilog = example(
        'basicsr-entropy prepare --root datasets/LOLv1 --out datasets/LOLv1_lmdb --crop-size 256 --encoding raw'
    )
    parser.add_argument('--root', metavar='DIR', required=True, help='folder of the dataset, as published')
    parser.add_argument('--out', metavar='DIR', required=True, help='folder for the databases')
    add_layout(parser, splits='convert')
    parser.add_argument(
        '--encoding',
        default='keep',
        choices=ENCODINGS,
        help='keep: the bytes of the files, or PNG for sub-images (default); png; raw: pixels, the fastest to read',
    )
    parser.add_argument('--crop-size', type=int, metavar='N', help='crop images into sub-images of NxN pixels')
    parser.add_argument(
        '--step', type=int, metavar='N', help='stride between sub-images in pixels (default: the crop size)'
    )
    parser.add_argument(
        '--thresh',
        type=int,
        metavar='N',
        help='drop the strip left over at the border if it is at most N pixels wide; a wider one is covered by '
        'one more sub-image (default: 0)',
    )
    add_workers(parser)
    parser.add_argument('--resume', action='store_true', help='resume an interrupted run')
    parser.add_argument('--skip-bad', action='store_true', help='skip pairs that cannot be read or whose sizes differ')
    parser.add_argument('--dry-run', action='store_true', help='estimate what would be written, and write nothing')


def run(args: argparse.Namespace) -> int:
    """Writes the databases and prints what they hold; with --dry-run, prints an estimate."""
    from basicsr_entropy.data.prepare.encoding import LmdbFormat
    from basicsr_entropy.data.prepare.prepare import estimate, prepare_lmdb

    lmdb_format = LmdbFormat(args.encoding, args.crop_size, args.step, args.thresh)
    dataset = {'layout': args.layout, 'splits': args.split, 'lmdb_format': lmdb_format, 'skip_bad': args.skip_bad}
    if args.dry_run:
        written = estimate(args.root, **dataset)
    else:
        written = prepare_lmdb(args.root, args.out, workers=args.workers, resume=args.resume, **dataset)
    for split, counts in written.items():
        databases = f'{args.out}/{split}_lq.lmdb and {split}_gt.lmdb'
        print(
            f'{split}: about {counts} would go to {databases}' if args.dry_run else f'{split}: {counts} in {databases}'
        )
    return 0
