"""Testing with a training option file."""

import copy
from collections.abc import Mapping
from typing import Any

from basicsr_entropy.config.folders import latest_weights
from basicsr_entropy.config.sections import phase_of


def as_test_options(options: Mapping[str, Any], weights: str | None = None) -> dict[str, Any]:
    """Options that test the network which a training option file trains.

    A training option file is one with a section `train`; the options of any other file are returned unchanged. Of a
    training file:

    - its validation datasets become `datasets.test_1`, `datasets.test_2` ..., in their order and with `phase: test`;
    - `path.pretrain_network_g` becomes the file of the finished training, `models/net_g_latest.pth` in
      `path.experiments_root` (default: `experiments/NAME`). The file's own `path.pretrain_network_g` is where the
      training started from, and is not what is tested;
    - `path.param_key_g` selects the EMA weights (`params_ema`) if `train.ema_decay` is positive, else `params`;
    - `val` is kept without `val_freq`; `save_img` and `suffix` get the defaults true and none, as BasicSR's test
      pipeline needs them;
    - `train`, `logger`, `path.resume_state` and `path.experiments_root` are dropped.

    Everything else is the same, such as `name`, `sde`, `network_g` and `val.sampler`.

    Args:
        options: Content of the option file; not changed.
        weights: File of weights to test instead of those of the finished training.

    Returns:
        Options for BasicSR's test pipeline; shares nothing with `options`.

    Raises:
        KeyError: If the training file has no validation dataset, no `val` or no `name`; names the option path.
        ValueError: If one of its sections is no mapping.
    """
    tested = copy.deepcopy(dict(options))
    if tested.get('train') is None:
        return tested
    for key in ('datasets', 'path', 'train', 'val'):
        if not isinstance(tested.get(key) or {}, Mapping):
            raise ValueError(f'{key}: must be a mapping of options, got {tested[key]!r}')
    train = tested.pop('train')
    tested.pop('logger', None)
    for key in ('name', 'val'):
        if tested.get(key) is None:
            raise KeyError(f'{key}: missing; a test with a training option file needs it')

    phases = (tested.get('datasets') or {}).items()
    datasets = [dataset for key, dataset in phases if phase_of(key) == 'val']
    if not datasets:
        raise KeyError('datasets.val: missing; a test with a training option file runs on its validation datasets')
    tested['datasets'] = {f'test_{number}': {**dataset, 'phase': 'test'} for number, dataset in enumerate(datasets, 1)}

    path = dict(tested.get('path') or {})
    path.pop('resume_state', None)
    path.pop('experiments_root', None)
    path['pretrain_network_g'] = str(latest_weights(options)) if weights is None else weights
    path['param_key_g'] = 'params_ema' if (train.get('ema_decay') or 0) > 0 else 'params'
    tested['path'] = path

    tested['val'].pop('val_freq', None)
    tested['val'] = {'save_img': True, 'suffix': None, **tested['val']}
    return tested
