"""A training or test run on an option file that has been checked first."""

import argparse
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr import test as basicsr_test

from basicsr_entropy.config import check_options, parse_options
from basicsr_entropy.config.parse import Options
from basicsr_entropy.config.sections import phase_of
from basicsr_entropy.data.sets.layouts import leakage_warning
from basicsr_entropy.data.sets.selection import layout_and_split
from basicsr_entropy.training.distributed import Peers
from basicsr_entropy.training.loop import train
from basicsr_entropy.training.metrics_file import metrics_recorded
from basicsr_entropy.training.signals import end_within

EXIT_PATIENCE = 3.0  # seconds for a process group to close, which may wait for processes that are gone


def run(args: argparse.Namespace, is_train: bool) -> None:
    """Trains, or runs BasicSR's test pipeline; outputs go under the current directory.

    Args:
        args: Command line of the run; see `config.parse.add_arguments`. A test takes a training file too; a training
            also reads `allow_changes`, see `loop.train`.
        is_train: Which of the two.

    Raises:
        KeyError, ValueError, FileNotFoundError: If the option file or the data are unfit; the message names the option
            or the file.
        SystemExit: If a signal stopped the training.
    """
    try:
        (_train if is_train else _test)(args)
    except KeyError as error:
        key = str(error.args[0]) if error.args else ''
        if key.isidentifier():  # a look-up of BasicSR's own, and no message of this package
            raise KeyError(f'{args.opt}: {key}: missing') from error
        raise


def _train(args: argparse.Namespace) -> None:
    seed_drawn = False

    def prepare(options: Options) -> Options:
        nonlocal seed_drawn
        seed_drawn = options.get('manual_seed') is None
        return _checked(options, is_train=True)

    with _process_group():
        opt, _ = parse_options(str(Path.cwd()), True, args, prepare=prepare)
        opt['root_path'] = str(Path.cwd())
        with Peers() as peers:
            train(opt, args.opt, peers, seed_drawn, getattr(args, 'allow_changes', False))


def _test(args: argparse.Namespace) -> None:
    stock = basicsr_test.parse_options

    def parsed(root_path: str, is_train: bool) -> tuple[Options, argparse.Namespace]:
        options, _ = parse_options(root_path, is_train, args, prepare=lambda options: _checked(options, is_train))
        return options, args

    basicsr_test.parse_options = parsed
    try:
        with _process_group(), metrics_recorded():
            basicsr_test.test_pipeline(str(Path.cwd()))
    finally:
        basicsr_test.parse_options = stock


@contextmanager
def _process_group() -> Iterator[None]:
    """Context at whose end the process group is closed; after an error, within `EXIT_PATIENCE` seconds."""
    code: Any = 0
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        raise
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            if code != 0:
                end_within(EXIT_PATIENCE, code)
            torch.distributed.destroy_process_group()


def _checked(options: Options, is_train: bool) -> Options:
    check_options(options, is_train)
    _warn_of_shared_images(options)
    return options


def _warn_of_shared_images(options: Mapping[str, Any]) -> None:
    used = (layout_and_split({'phase': phase_of(key), **dataset}) for key, dataset in options['datasets'].items())
    warning = leakage_warning({each for each in used if each is not None})
    if warning:
        warnings.warn(warning, stacklevel=2)
