"""BasicSR's own pipelines on an option file that has been looked over first.

What BasicSR would only find out deep inside a run, or report as a bare KeyError, is said here in one line that names
the option.
"""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr import test as basicsr_test
from basicsr import train as basicsr_train
from basicsr.archs import ARCH_REGISTRY
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from basicsr_entropy._registry import PACKAGE, build, check_arguments, look_up, look_up_type
from basicsr_entropy.config import read_option_file
from basicsr_entropy.data.sets.layouts import shared_images
from basicsr_entropy.data.sets.sources import layout_and_split
from basicsr_entropy.models.irsde_model import IRSDEModel
from basicsr_entropy.models.progressive_model import BatchSchedule, ProgressiveSRModel

TEXT_LIKE_A_NUMBER = re.compile(r'[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+')


def run(arguments: Sequence[str], is_train: bool) -> None:
    """Runs BasicSR's train or test pipeline; outputs go under the current directory.

    Args:
        arguments: What BasicSR's train.py and test.py take: -opt FILE [--launcher pytorch] [--auto_resume] [--debug]
            [--force_yml KEY:KEY=VALUE ...].
        is_train: Which of the two.

    Raises:
        KeyError, ValueError, FileNotFoundError: If the option file or the data are unfit; names the option or file.
    """
    pipeline = basicsr_train.train_pipeline if is_train else basicsr_test.test_pipeline
    module = basicsr_train if is_train else basicsr_test
    name = f'{PACKAGE}.{"train" if is_train else "test"}'
    argv, parse_options, option_file = sys.argv, module.parse_options, _option_file(arguments)

    def parse_and_check(root_path, is_train=True):
        read_option_file(option_file)
        opt, args = parse_options(root_path, is_train)
        check_options(opt, is_train)
        return opt, args

    sys.argv, module.parse_options = [name, *arguments], parse_and_check
    try:
        pipeline(str(Path.cwd()))
    except KeyError as error:
        key = str(error.args[0]) if error.args else ''
        if key.isidentifier():  # a look-up of BasicSR's own, not one of our sentences
            raise KeyError(f'{option_file}: {key}: missing') from error
        raise
    finally:
        sys.argv, module.parse_options = argv, parse_options
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _option_file(arguments: Sequence[str]) -> str | None:
    """The file after -opt; None if there is none, which BasicSR's own parser then reports."""
    for index, argument in enumerate(arguments[:-1]):
        if argument in ('-opt', '--opt'):
            return arguments[index + 1]
    return next((a.partition('=')[2] for a in arguments if a.startswith('-opt=')), None)


def check_options(opt: Mapping[str, Any], is_train: bool) -> None:
    """Looks over parsed options.

    Raises:
        KeyError: If a section, a type or an option of a network or loss is missing or unknown.
        ValueError: If a value is out of its range.
    """
    sections = ('name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path')
    for key in (*sections, 'train', 'logger') if is_train else (*sections, 'val'):
        if opt.get(key) is None:
            raise KeyError(f'{key}: missing from the option file')
    for key in opt:
        if key not in ('name', 'path'):
            _check_numbers(opt[key], key)
    if opt['num_gpu'] and not torch.cuda.is_available():
        raise ValueError(f'num_gpu: {opt["num_gpu"]} asked for, but torch sees no CUDA device; use auto or 0')
    look_up(MODEL_REGISTRY, opt['model_type'], 'model_type')
    for key in opt:
        if key.startswith('network_'):
            check_arguments(look_up_type(ARCH_REGISTRY, opt[key], key), opt[key], key)
    for name, dataset in opt['datasets'].items():
        look_up_type(DATASET_REGISTRY, dataset, f'datasets.{name}')
    for name, metric in ((opt.get('val') or {}).get('metrics') or {}).items():
        look_up_type(METRIC_REGISTRY, metric, f'val.metrics.{name}')
    if is_train:
        if 'train' not in opt['datasets']:
            raise KeyError('datasets.train: missing; training needs a dataset')
        _check_schedule(opt)
        _check_losses(opt)
        _check_scheduler(opt['train'])
    _warn_of_shared_images(opt)


def _check_numbers(value: Any, path: str) -> None:
    """Raises a ValueError for text such as 1e-4, which YAML 1.1 does not take for a number."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != 'name':
                _check_numbers(inner, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_numbers(inner, path)
    elif isinstance(value, str) and TEXT_LIKE_A_NUMBER.fullmatch(value):
        raise ValueError(f'{path}: YAML reads {value} as text; write !!float {value}')


def _check_schedule(opt: Mapping[str, Any]) -> None:
    dataset = opt['datasets']['train']
    model = look_up(MODEL_REGISTRY, opt['model_type'], 'model_type')
    if dataset.get('gt_sizes') is not None and not issubclass(model, (IRSDEModel, ProgressiveSRModel)):
        raise ValueError(
            f'datasets.train.gt_sizes: {opt["model_type"]} does not follow it; ProgressiveSRModel and IRSDEModel do'
        )
    BatchSchedule(dataset)


def _check_losses(opt: Mapping[str, Any]) -> None:
    for key, options in opt['train'].items():
        if not key.endswith('_opt') or options is None:
            continue
        path = f'train.{key}'
        loss = look_up_type(LOSS_REGISTRY, options, path)
        given = {name: value for name, value in options.items() if name != 'compare'}
        check_arguments(loss, given, path)
        if loss.__module__.partition('.')[0] == PACKAGE:  # light to build, unlike a perceptual loss
            build(LOSS_REGISTRY, given, path)


def _check_scheduler(train_opt: Mapping[str, Any]) -> None:
    scheduler = train_opt.get('scheduler') or {}
    if scheduler.get('type') == 'CosineAnnealingRestartLR':
        covered, total = sum(scheduler.get('periods') or ()), train_opt.get('total_iter', 0)
        if covered < total - 1:
            raise ValueError(
                f'train.scheduler.periods: they end at iteration {covered}, train.total_iter is {total:.0f}'
            )


def _warn_of_shared_images(opt: Mapping[str, Any]) -> None:
    used = {layout_and_split(dataset) for dataset in opt['datasets'].values()}
    warning = shared_images(used)
    if warning:
        warnings.warn(warning, stacklevel=2)
