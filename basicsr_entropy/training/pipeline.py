"""BasicSR's own training and testing pipelines, on an option file that has been checked first."""

import argparse
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr import test as basicsr_test
from basicsr import train as basicsr_train

from basicsr_entropy.config import check_options, parse_options
from basicsr_entropy.config.parse import Options
from basicsr_entropy.config.sections import phase_of
from basicsr_entropy.data.sets.layouts import leakage_warning
from basicsr_entropy.data.sets.selection import layout_and_split
from basicsr_entropy.training.metrics_file import metrics_recorded
from basicsr_entropy.training.sampler import SeededSampler


def run(args: argparse.Namespace, is_train: bool) -> None:
    """Runs BasicSR's train or test pipeline; outputs go under the current directory.

    Args:
        args: Command line of the run; see `config.parse.add_arguments`. A test takes a training file too.
        is_train: Which of the two pipelines.

    Raises:
        KeyError, ValueError, FileNotFoundError: If the option file or the data are unfit; the message names the option
            or the file.
    """
    module = basicsr_train if is_train else basicsr_test
    pipeline = module.train_pipeline if is_train else module.test_pipeline
    stock = {name: getattr(module, name) for name in ('parse_options', 'EnlargedSampler') if hasattr(module, name)}

    def parsed(root_path: str, is_train: bool) -> tuple[Options, argparse.Namespace]:
        options, _ = parse_options(root_path, is_train, args, prepare=partial(_checked, is_train=is_train))
        if is_train:
            module.EnlargedSampler = partial(SeededSampler, seed=options['manual_seed'])
        return options, args

    module.parse_options = parsed
    try:
        with nullcontext() if is_train else metrics_recorded():
            pipeline(str(Path.cwd()))
    except KeyError as error:
        key = str(error.args[0]) if error.args else ''
        if key.isidentifier():  # a look-up of BasicSR's own, and no message of this package
            raise KeyError(f'{args.opt}: {key}: missing') from error
        raise
    finally:
        for name, value in stock.items():
            setattr(module, name, value)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
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
