"""Options that differ between a run and the run that it resumes, and what each difference means."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# what may change without changing the run: where and how fast it computes, what it reports, and where it ends
_FREE = (
    'name',
    'num_gpu',
    'dist_params',
    'find_unused_parameters',
    'path',
    'logger',
    'datasets.train.name',
    'datasets.train.num_worker_per_gpu',
    'datasets.train.prefetch_mode',
    'datasets.train.num_prefetch_queue',
    'datasets.train.pin_memory',
    'datasets.train.persistent_workers',
    'datasets.train.batch_size_per_gpu',  # what counts is the samples of an iteration
    'train.accumulate',  # likewise
    'train.total_iter',
    'train.max_skipped',
    'val.val_freq',
    'val.save_img',
    'val.save_best',
    'val.pbar',
    'val.suffix',
)
# by the beginning of a path; the first that fits
_MEANINGS = (
    ('manual_seed', 'the rest of the run draws other samples and crops'),
    ('model_type', 'another kind of training from here on'),
    ('network_', 'the weights must fit the changed network'),
    ('sde', 'the network goes on with another process than it was trained for'),
    ('datasets.train', 'the rest of the run trains on other samples'),
    ('datasets', 'the best metrics so far were measured on other images'),
    ('val', 'the best metrics so far were measured in another way'),
    ('train.optim', 'takes effect from here on'),
    ('train.scheduler', 'takes effect from here on, as if the run had begun with it'),
    ('train.warmup_iter', 'takes effect where the warm-up has not ended'),
    ('train.ema', 'takes effect from here on; the average so far is kept'),
    ('train', 'another objective or step from here on'),
)
_OTHERWISE = 'the rest of the run is computed in another way'
_NEW_OPTIMIZER = 'the new optimizer starts without the state of the old one'


class Change(NamedTuple):
    """An option that differs from the run that is resumed.

    Attributes:
        path: Path of the option.
        before: Its value then, as JSON; None if it was absent.
        now: Its value now, likewise.
    """

    path: str
    before: str | None
    now: str | None

    @property
    def meaning(self) -> str:
        """What going on with the new value means."""
        if self.path.startswith('train.optim') and self.path.endswith('.type'):
            return _NEW_OPTIMIZER
        return next((text for start, text in _MEANINGS if self.path.startswith(start)), _OTHERWISE)

    def __str__(self) -> str:
        before, now = (value if value is not None else 'absent' for value in (self.before, self.now))
        return f'{self.path}: {before} -> {now} ({self.meaning})'


def option_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The options that differ and matter for the rest of a run, in the order of their paths.

    Args:
        before: Options of the run that is resumed.
        now: Options of this run.

    Example:
        >>> [str(each) for each in option_changes({'sde': {'timesteps': 100}}, {'sde': {'timesteps': 50}, 'name': 'b'})]
        ['sde.timesteps: 100 -> 50 (the network goes on with another process than it was trained for)']
    """
    old, new = dict(_leaves(before)), dict(_leaves(now))
    differing = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return [Change(path, old.get(path), new.get(path)) for path in differing if not _is_free(path)]


def _is_free(path: str) -> bool:
    return any(path == each or path.startswith(f'{each}.') for each in _FREE)


def _leaves(options: Mapping[str, Any], path: str = '') -> Iterator[tuple[str, str]]:
    """Path and value of each option; a null is as good as an absent one."""
    for key, value in options.items():
        here = f'{path}.{key}'.lstrip('.')
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        elif value is not None:
            yield here, json.dumps(value, default=str)
