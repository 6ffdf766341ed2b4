"""Processes that read ahead, for the passes over a whole set."""

from collections.abc import Iterator
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset


def in_workers(dataset: Dataset, workers: int) -> Iterator[Any]:
    """The items of a dataset, in order and as they are; worker processes are there when this returns.

    Args:
        dataset: Gives items by their index.
        workers: Number of processes; 0 reads in this one.

    Raises:
        ValueError: If the number is negative.
    """
    if workers < 0:
        raise ValueError(f'--workers: must be at least 0, got {workers}')
    threads = cv2.getNumThreads()
    try:
        # one thread each, or workers would fight over the CPUs; set before the fork, as a child would wait for ever for
        # the threads of the pool that it copied to end
        cv2.setNumThreads(1)
        return iter(DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_as_it_is))
    finally:
        cv2.setNumThreads(threads)


def _as_it_is(item: Any) -> Any:
    return item
