"""Worker processes that read ahead, for passes over a whole dataset."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    with one_opencv_thread():
        start = partial(exit_if_orphaned, os.getpid())
        return iter(
            DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_identity, worker_init_fn=start)
        )


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Context in which to start workers: each gets one OpenCV thread, so that they do not compete for the CPUs.

    It is set before the fork, because a child would wait forever for the threads of the pool that it inherited.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def exit_if_orphaned(parent: int, worker: int) -> None:
    """Ends a worker whose parent was killed while it started; torch would mistake its new parent for the old one."""
    if os.getppid() != parent:
        os._exit(1)


def _identity(item: Any) -> Any:
    return item
