"""Worker processes that read ahead, for passes over a whole dataset."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset


def in_workers(dataset: Dataset, workers: int) -> Iterator[Any]:
    """Iterates over the items of a dataset in order, read by worker processes that have started when this returns.

    Args:
        dataset: Map-style dataset; its items are passed on without collation.
        workers: Number of processes; 0 reads in this process.

    Raises:
        ValueError: If the number is negative.
    """
    if workers < 0:
        raise ValueError(f'workers: must be at least 0, got {workers}')
    threads = cv2.getNumThreads()
    try:
        # one OpenCV thread per worker, so that workers do not compete for the CPUs; set before the fork, because a
        # child would wait forever for the threads of the pool that it inherited
        cv2.setNumThreads(1)
        start = partial(_exit_if_orphaned, os.getpid())
        return iter(
            DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_identity, worker_init_fn=start)
        )
    finally:
        cv2.setNumThreads(threads)


def _exit_if_orphaned(parent: int, worker: int) -> None:
    """Ends a worker whose parent was killed while it started; torch would mistake its new parent for the old one."""
    if os.getppid() != parent:
        os._exit(1)


def _identity(item: Any) -> Any:
    return item
