"""What the datasets share in reading their options."""

from collections.abc import Mapping
from typing import Any

# read by BasicSR's pipelines and data loader
LOADER_KEYS = (
    'name',
    'type',
    'phase',
    'scale',
    'batch_size_per_gpu',
    'num_worker_per_gpu',
    'dataset_enlarge_ratio',
    'prefetch_mode',
    'num_prefetch_queue',
    'pin_memory',
    'persistent_workers',
)
IMAGE_KEYS = ('gt_size', 'use_hflip', 'use_rot', 'mean', 'std', 'color')


def option_path(opt: Mapping[str, Any]) -> str:
    """Where a dataset's options stand in an option file, e.g. datasets.train (LOLv1)."""
    return f'datasets.{opt.get("phase", "?")} ({opt.get("name", "unnamed")})'


def crop_size(opt: Mapping[str, Any]) -> int | None:
    """gt_size; None outside training, where images stay whole.

    Raises:
        KeyError: If a training set has none.
        ValueError: If it is no positive whole number.
    """
    if opt.get('phase') != 'train':
        return None
    if 'gt_size' not in opt:
        raise KeyError(f'{option_path(opt)}.gt_size: missing; it is the side of a training crop in pixels')
    size = opt['gt_size']
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f'{option_path(opt)}.gt_size: must be a positive whole number, got {size!r}')
    return size
