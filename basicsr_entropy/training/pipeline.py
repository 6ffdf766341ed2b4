"""BasicSR's own training and testing pipelines, on an option file that has been checked first."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr import test as basicsr_test
from basicsr import train as basicsr_train

from basicsr_entropy._registry import PACKAGE
from basicsr_entropy.config import check_options, parse_options
from basicsr_entropy.config.parse import Options
from basicsr_entropy.data.sets.layouts import shared_images
from basicsr_entropy.data.sets.sources import layout_and_split


def run(arguments: Sequence[str], is_train: bool) -> None:
    """Runs BasicSR's train or test pipeline; outputs go under the current directory.

    Args:
        arguments: Command line of the run; see `config.parse.add_arguments`. A test takes a training file too.
        is_train: Which of the two pipelines.

    Raises:
        KeyError, ValueError, FileNotFoundError: If the option file or the data are unfit; the message names the option
            or the file.
    """
    pipeline = basicsr_train.train_pipeline if is_train else basicsr_test.test_pipeline
    module = basicsr_train if is_train else basicsr_test
    argv, stock_parser = sys.argv, module.parse_options
    # BasicSR notes the command line in the experiment's copy of the option file
    sys.argv = [f'{PACKAGE}.{"train" if is_train else "test"}', *arguments]
    module.parse_options = partial(parse_options, arguments=arguments, prepare=partial(_checked, is_train=is_train))
    try:
        pipeline(str(Path.cwd()))
    finally:
        sys.argv, module.parse_options = argv, stock_parser
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _checked(options: Options, is_train: bool) -> Options:
    check_options(options, is_train)
    _warn_of_shared_images(options)
    return options


def _warn_of_shared_images(options: Mapping[str, Any]) -> None:
    phases = {phase: phase.partition('_')[0] for phase in options['datasets']}
    used = {layout_and_split({'phase': phases[name], **dataset}) for name, dataset in options['datasets'].items()}
    warning = shared_images(used)
    if warning:
        warnings.warn(warning, stacklevel=2)
