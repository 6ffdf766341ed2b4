"""`basicsr-entropy check`: looks for faults in datasets."""

import argparse
import sys
from pathlib import Path

from basicsr_entropy.cli._arguments import (
    LAYOUT_FLAGS,
    WORKERS_FLAGS,
    add_layout,
    add_workers,
    check_json_report,
    check_picture_format,
    example,
)

FLAGS = {**LAYOUT_FLAGS, **WORKERS_FLAGS, 'exclude': '--exclude'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the datasets to check and the files to write."""
    parser.description = (
        'Check paired datasets, in folders or LMDB databases, for unreadable, unpaired, misaligned, duplicate and\n'
        'leaking images. The exit code is 0 if there are only notes, 3 if there are errors or warnings.'
    )
    parser.epilog = example('basicsr-entropy check --root datasets/LOLv1 --all --json findings.json')
    parser.add_argument(
        '--root', metavar='DIR', required=True, nargs='+', help='data roots; several are also compared with each other'
    )
    add_layout(parser, splits='check')
    parser.add_argument('--all', action='store_true', help='list all findings (default: the first few of each kind)')
    parser.add_argument(
        '--json',
        metavar='FILE',
        help='write all findings and the statistics of each split as JSON; an existing file is replaced; - for '
        'standard output, and the report then goes to standard error',
    )
    parser.add_argument(
        '--picture', metavar='FILE', help='file of the contact sheet of findings (default: check_NAME.jpg)'
    )
    parser.add_argument(
        '--fix-list', metavar='FILE', help='write the pairs to exclude to a file, for the `exclude` option of datasets'
    )
    parser.add_argument('--exclude', metavar='FILE', help='list of pairs to skip, in the format that --fix-list writes')
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Checks the datasets, prints the report and writes the files."""
    from basicsr_entropy._files import check_file_writable
    from basicsr_entropy._images import verifies_jpeg
    from basicsr_entropy.data.checks import report
    from basicsr_entropy.data.checks.check import check_datasets
    from basicsr_entropy.data.sets.pairing import ROLES

    roots = [Path(root).expanduser().resolve() for root in args.root]
    picture = args.picture or f'check_{"_".join(root.name for root in roots)}.jpg'
    # unusable paths are reported before the long pass over the data
    check_picture_format(picture)
    if args.fix_list and Path(args.fix_list).exists():
        raise FileExistsError(f'--fix-list: {args.fix_list} exists; remove it, or give another file')
    check_json_report(args.json)
    for option, path in (('--picture', args.picture), ('--fix-list', args.fix_list)):
        if path:
            check_file_writable(path, option)
    checked = check_datasets(roots, args.layout, args.split, args.workers, args.exclude)
    text = sys.stderr if args.json == '-' else sys.stdout
    report.print_report(checked, None if args.all else report.MAX_PRINTED, text)
    names = (each.name(role).lower() for each in checked.measured for role in ROLES)
    if not verifies_jpeg() and any(name.endswith(('.jpg', '.jpeg')) for name in names):
        print('JPEG files were not checked for damage: install the extra jpeg (pip install simplejpeg)', file=text)
    if args.json == '-':
        print(report.as_json(checked))
    elif args.json:
        report.write_json(checked, args.json)
        print(f'findings: {args.json}', file=text)
    if args.fix_list:
        number = report.write_exclusion_list(checked, args.fix_list)
        print(f'exclusion list: {number} names in {args.fix_list}', file=text)
    try:
        if written := report.write_picture(checked, picture):
            print(f'picture: {written}', file=text)
    except OSError as error:
        if args.picture:
            raise
        print(f'no picture: {error}; give another path with --picture', file=text)
    return 0 if checked.clean else 3
