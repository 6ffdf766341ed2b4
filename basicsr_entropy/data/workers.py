"""Processes that read ahead, for the passes over a whole set."""

import os
from collections.abc import Iterator
from functools import partial
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
        raise ValueError(f'workers: must be at least 0, got {workers}')
    threads = cv2.getNumThreads()
    try:
        # one thread each, or workers would fight over the CPUs; set before the fork, as a child would wait for ever for
        # the threads of the pool that it copied to end
        cv2.setNumThreads(1)
        start = partial(_end_without, os.getpid())
        return iter(
            DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_as_it_is, worker_init_fn=start)
        )
    finally:
        cv2.setNumThreads(threads)


def _end_without(parent: int, worker: int) -> None:
    """Ends a worker whose parent was killed while it started: torch would take its new parent for the old, and wait."""
    if os.getppid() != parent:
        os._exit(1)


def _as_it_is(item: Any) -> Any:
    return item
