"""`basicsr-entropy validate`: checks an option file without running it."""

import argparse

from basicsr_entropy.cli._arguments import example

FLAGS = {'options': 'FILE', 'force_yml': '--force_yml'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the file, what it is checked for, and the options to override."""
    parser.description = (
        'Check an option file as train and test do before they create anything: keys, types, ranges,\n'
        'registered names, files and data. Prints one line per problem; exits with 1 if there is any.'
    )
    parser.epilog = example('basicsr-entropy validate my.yml')
    parser.add_argument('opt', metavar='FILE', help='option file')
    parser.add_argument(
        '--phase',
        choices=['train', 'test'],
        help='what the file is to do (default: train if it has a section train, else test)',
    )
    parser.add_argument(
        '--no-files', action='store_true', help='do not look for the data, weights and GPUs that it asks for'
    )
    parser.add_argument(
        '--force_yml', nargs='+', metavar='KEY:KEY=VALUE', help='override options, as train and test do'
    )


def run(args: argparse.Namespace) -> int:
    """Prints the problems, or that there are none."""
    import basicsr  # noqa: F401  (fills the registries)

    from basicsr_entropy.config import find_problems
    from basicsr_entropy.config.parse import read_options

    options = read_options(args.opt, args.force_yml or (), None if args.phase is None else args.phase == 'train')
    is_train = options.get('train') is not None if args.phase is None else args.phase == 'train'
    problems = find_problems(options, is_train, not args.no_files)
    for problem in problems:
        print(f'{args.opt}: {problem}')
    if not problems:
        print(f'{args.opt}: valid for {"train" if is_train else "test"}')
    return 1 if problems else 0
