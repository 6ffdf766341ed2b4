"""What the datasets share in reading their options."""

from collections.abc import Mapping
from typing import Any

from basicsr_entropy._checks import are_whole, is_whole

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
# read by the model; the dataset crops to the largest size
SCHEDULE_KEYS = ('gt_sizes', 'iters', 'mini_batch_sizes')
IMAGE_KEYS = ('gt_size', *SCHEDULE_KEYS, 'use_hflip', 'use_rot', 'rescale', 'mixup', 'mean', 'std', 'color')


def option_path(opt: Mapping[str, Any]) -> str:
    """Where a dataset's options stand in an option file, e.g. datasets.train (LOLv1)."""
    return f'datasets.{opt.get("phase", "?")} ({opt.get("name", "unnamed")})'


def crop_size(opt: Mapping[str, Any]) -> int | None:
    """gt_size, or the largest of gt_sizes; None outside training, where images stay whole.

    Raises:
        KeyError: If a training set has neither.
        ValueError: If they are no positive whole numbers, or do not agree.
    """
    if opt.get('phase') != 'train':
        return None
    where, sizes = option_path(opt), opt.get('gt_sizes')
    if sizes is None and 'gt_size' not in opt:
        raise KeyError(f'{where}.gt_size: missing; it is the side of a training crop in pixels')
    if sizes is not None:
        if not are_whole(sizes, 1):
            raise ValueError(f'{where}.gt_sizes: must be a list of positive whole numbers, got {sizes!r}')
        if opt.get('gt_size') not in (None, max(sizes)):
            raise ValueError(f'{where}.gt_size: must be the largest of gt_sizes, {max(sizes)}, got {opt["gt_size"]!r}')
        return max(sizes)
    if not is_whole(opt['gt_size'], 1):
        raise ValueError(f'{where}.gt_size: must be a positive whole number, got {opt["gt_size"]!r}')
    return opt['gt_size']
