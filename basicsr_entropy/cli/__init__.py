"""The command line `basicsr-entropy`.

Each command is a module of this package, named after the command, with

- `FLAGS`: the flags by the names that the library's error messages use for them; see `_errors.in_flags`;
- `add_arguments(parser)`: declares the arguments, the description and an example;
- `run(args)`: runs the command and returns the exit code.

A new command needs such a module and a line in `COMMANDS`. Only the module of the chosen command is imported, and
torch, basicsr, cv2 and numpy are imported inside functions, so that `--help` and `--version` answer at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from basicsr_entropy._errors import suggestion
from basicsr_entropy._version import __version__
from basicsr_entropy.cli._errors import print_error

# command: summary
COMMANDS = {
    'init': 'write an option file from a template',
    'validate': 'check an option file without running it',
    'train': 'train a model from a BasicSR option file',
    'test': 'test a model from a BasicSR option file',
    'prepare': 'convert a dataset to LMDB databases',
    'check': 'find unpaired, misaligned, duplicate and leaking images',
    'report': 'compare the outputs of a test run with the ground truth',
    'export': 'write trained weights and their options to one model file',
    'enhance': 'enhance photographs',
    'app': 'enhance photographs on a local web page',
}


def main(command: Sequence[str] = ()) -> None:
    """Runs the command line of this process and exits.

    The exit code is 0 for success, 1 for an error, 2 for a wrong command line, 3 if `check` found errors or warnings,
    130 after Ctrl+C, and 129, 138 or 143 for a training that SIGHUP, SIGUSR1 or SIGTERM stopped.

    Args:
        command: Words to insert before the arguments of this process, e.g. ['train'].
    """
    words = [*command, *sys.argv[1:]]
    if words[:1] == ['help']:
        words = [*words[1:], '--help']
    chosen = next((word for word in words if not word.startswith('-')), None)
    module = importlib.import_module(f'{__name__}.{chosen}') if chosen in COMMANDS else None
    try:
        sys.exit(_run(words, chosen, module))
    except KeyboardInterrupt:
        print('basicsr-entropy: interrupted', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if '--traceback' in words:
            raise
        print_error(error, module.FLAGS if module else {})
        sys.exit(1)


def _run(words: Sequence[str], chosen: str | None, module: ModuleType | None) -> int:
    parser = _parser(chosen, module)
    if not words:
        parser.print_help()
        return 2
    if chosen is not None and module is None:
        parser.error(f"no command '{chosen}'{suggestion(chosen, COMMANDS)}")
    args = parser.parse_args(words)
    return args.run(args)


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command. It reports unknown arguments itself, with its own usage line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}')
        return namespace, unknown


def _parser(chosen: str | None, module: ModuleType | None) -> argparse.ArgumentParser:
    """The parser of the whole command line; only the chosen command's parser gets its arguments."""
    parser = argparse.ArgumentParser(
        prog='basicsr-entropy',
        description='Train, test and apply low-light enhancement models with BasicSR.',
        epilog='Run `basicsr-entropy COMMAND --help` for the arguments of a command and an example.\n\n'
        'exit codes: 0 success, 1 error, 2 wrong command line, 3 `check` found errors or warnings,\n'
        '130 interrupted, 128 + N stopped by signal N',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('--version', action='version', version=f'basicsr-entropy {__version__}')
    _add_traceback(parser)
    commands = parser.add_subparsers(
        title='commands', dest='command', metavar='COMMAND', required=True, parser_class=_CommandParser
    )
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen and module is not None:
            module.add_arguments(command)
            command.set_defaults(run=module.run)
            _add_traceback(command)
    return parser


def _add_traceback(parser: argparse.ArgumentParser) -> None:
    """`--traceback`, accepted before and after the command; `main` reads it, as parsing itself may fail."""
    parser.add_argument(
        '--traceback', action='store_true', default=argparse.SUPPRESS, help='show the full traceback of an error'
    )
