"""The command line and the option file of a run, as BasicSR's pipelines take them.

`parse_options` does what `basicsr.utils.options.parse_options` of basicsr 1.4.2 does, but for this: the file is checked
before anything is created or any process group is joined, `--force_yml` takes YAML values instead of evaluating Python,
`path.experiments_root` and `path.results_root` are respected, all processes draw one seed, and a training file can be
tested.
"""

import argparse
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from basicsr_entropy.config.as_test import as_test_options
from basicsr_entropy.config.files import read_option_file
from basicsr_entropy.config.folders import run_paths
from basicsr_entropy.config.sections import LOWER_IS_BETTER, TRAINING_DEFAULTS, phase_of
from basicsr_entropy.config.validate import convert_integers

Options = dict[str, Any]
DEBUG_PERIOD = 8  # iterations between validations and checkpoints with --debug


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of BasicSR's train.py and test.py."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='BasicSR option file')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='how the processes of a distributed run were started; pytorch: by torchrun (default: none)',
    )
    parser.add_argument(
        '--auto_resume', action='store_true', help='resume from the newest training state of the experiment'
    )
    parser.add_argument('--debug', action='store_true', help="BasicSR's debug mode: log and validate very often")
    parser.add_argument(
        '--force_yml',
        nargs='+',
        metavar='KEY:KEY=VALUE',
        help='override options of the file, e.g. datasets:train:gt_size=96',
    )
    parser.add_argument('--local_rank', type=int, default=0, metavar='N', help='set by launchers; not used otherwise')


def parse_options(
    root_path: str,
    is_train: bool = True,
    args: argparse.Namespace | None = None,
    prepare: Callable[[Options], Options] = lambda options: options,
) -> tuple[Options, argparse.Namespace]:
    """Options of a run as BasicSR's models and pipelines expect them.

    Args:
        root_path: Folder below which `experiments/` and `results/` are.
        is_train: Whether the run trains, or tests.
        args: Parsed arguments of `add_arguments`; by default those of this process's command line.
        prepare: Called with the options of the file, after `--force_yml`; checks and may replace them.

    Returns:
        The options with what BasicSR adds: dist, rank, world_size, auto_resume, is_train, manual_seed, num_gpu, the
        phase and scale of each dataset, and the folders of the run below `path`; and the command line.

    Raises:
        FileNotFoundError: If the option file does not exist.
        KeyError, ValueError: If it is not an option file, or a change of `--force_yml` is invalid.
    """
    import torch
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info, init_dist
    from mmengine.dist import broadcast_object_list

    if args is None:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        args = parser.parse_args()
    opt = prepare(read_options(args.opt, args.force_yml or (), is_train))
    convert_integers(opt)

    opt['dist'] = args.launcher != 'none'
    if opt['dist']:
        init_dist(args.launcher, **((opt.get('dist_params') or {}) if args.launcher == 'slurm' else {}))
    opt['rank'], opt['world_size'] = get_dist_info()
    if opt.get('manual_seed') is None:
        seeds = [random.randint(1, 10000)]
        broadcast_object_list(seeds)  # the order of the samples is that of all processes
        opt['manual_seed'] = seeds[0]
    set_random_seed(opt['manual_seed'] + opt['rank'])

    opt['auto_resume'], opt['is_train'] = args.auto_resume, is_train
    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'
    if opt['num_gpu'] == 'auto':
        opt['num_gpu'] = torch.cuda.device_count()
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase_of(phase)
        dataset['scale'] = opt.get('scale', 1)
        if phase == 'train':
            for key, value in TRAINING_DEFAULTS.items():
                dataset.setdefault(key, value)
            if dataset.get('gt_size') is None and dataset.get('gt_sizes'):
                dataset['gt_size'] = max(dataset['gt_sizes'])
        _expand_user(dataset, ('dataroot_gt', 'dataroot_lq'))
    _expand_user(opt['path'], [key for key in opt['path'] if key.startswith(('resume_state', 'pretrain_network'))])
    opt['path'] |= run_paths(opt, is_train, Path(root_path))
    if is_train and 'debug' in opt['name']:
        if opt.get('val') is not None:
            opt['val']['val_freq'] = DEBUG_PERIOD
        opt['logger'] |= {'print_freq': 1, 'save_checkpoint_freq': DEBUG_PERIOD}
    for metric in ((opt.get('val') or {}).get('metrics') or {}).values():
        if metric['type'] in LOWER_IS_BETTER:
            metric.setdefault('better', 'lower')
    if not is_train:
        opt['val'].setdefault('suffix', None)  # SRModel reads it, though it is optional
    return opt, args


def read_options(path: str | Path, changes: Iterable[str], is_train: bool | None = None) -> Options:
    """Content of an option file after the changes of `--force_yml`, not checked.

    Args:
        path: The file.
        changes: See `force`.
        is_train: Whether the options are to train, or to test: then a training file tests what it trains, unless the
            changes name weights. By default they are for what the file is written for.

    Raises:
        FileNotFoundError: If the option file does not exist.
        KeyError, ValueError: If it is not an option file, or a change is invalid.
    """
    options = dict(read_option_file(path))
    changed = [force(options, change) for change in changes]
    if is_train or (is_train is None and options.get('train') is not None):
        return options
    named = 'path.pretrain_network_g' in changed
    return as_test_options(options, options['path']['pretrain_network_g'] if named else None)


def force(options: Options, change: str) -> str:
    """Sets one option in place.

    Args:
        options: Content of an option file.
        change: KEY:KEY=VALUE; the value is YAML, and `none` is null as in BasicSR.

    Returns:
        The path of the option, e.g. 'train.ema_decay'.

    Raises:
        KeyError: If a section on the way to the last key is missing.
        ValueError: If the change is not of this form, or its value is not YAML.
    """
    keys, equals, text = change.partition('=')
    *sections, last = (key.strip() for key in keys.split(':'))
    if not equals or not all((*sections, last)):
        raise ValueError(f'force_yml: must be KEY:KEY=VALUE, got {change!r}')
    try:
        value = None if text.strip().lower() == 'none' else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f'force_yml: {text!r} in {change!r} is not valid YAML') from error
    section = options
    for index, key in enumerate(sections):
        if not isinstance(section.get(key), dict):
            raise KeyError(f'force_yml: the option file has no section {".".join(sections[: index + 1])}')
        section = section[key]
    section[last] = value
    return '.'.join((*sections, last))


def _expand_user(section: Options, keys: Iterable[str]) -> None:
    for key in keys:
        if section.get(key) is not None:
            section[key] = str(Path(section[key]).expanduser())
