"""The loader of training batches."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from torch.utils.data import DataLoader, Dataset

from basicsr_entropy.data.workers import exit_if_orphaned, one_opencv_thread
from basicsr_entropy.training.sampler import BatchSampler, SeededDataset
from basicsr_entropy.training.signals import STOPPING, end_within

WORKER_PATIENCE = 8.0  # seconds from SIGTERM to the end of a worker
Batch = dict[str, Any]


@contextmanager
def training_batches(opt: Mapping[str, Any], dataset: Dataset, batches: BatchSampler) -> Iterator[Iterator[Batch]]:
    """Context that yields the batches of a training dataset, and in which worker processes run.

    `prefetch_mode: cpu` reads ahead in worker processes, in one if `num_worker_per_gpu` is 0. (BasicSR's thread shares
    its random number generators with the training, and an error in it would leave the training waiting.)

    Args:
        opt: Options of the run.
        dataset: The training dataset.
        batches: Which samples.

    Raises:
        ValueError: If prefetch_mode is `cuda` without pin_memory.
    """
    keys = opt['datasets']['train']
    mode, pinned = keys.get('prefetch_mode'), bool(keys.get('pin_memory', False))
    if mode == 'cuda' and not pinned:
        raise ValueError('datasets.train.pin_memory: must be true with prefetch_mode: cuda')
    workers = keys['num_worker_per_gpu'] * (1 if opt['dist'] else max(1, opt['num_gpu']))
    queue = {}
    if mode == 'cpu':
        workers = max(1, workers)
        queue = {'prefetch_factor': max(2, keys.get('num_prefetch_queue', 1))}
    loader = DataLoader(
        SeededDataset(dataset, opt['manual_seed']),
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=partial(_start_worker, os.getpid()),
        generator=torch.Generator().manual_seed(0),  # of worker seeds; else they are drawn from the model's generator
        **queue,
    )
    with one_opencv_thread():
        iterator: Any = iter(loader)
    try:
        yield iterator if mode != 'cuda' else iter(CUDAPrefetcher(iterator, opt).next, None)
    finally:
        if workers:  # now, and not whenever the last reference to the iterator is gone
            iterator._shutdown_workers()


def _start_worker(parent: int, worker: int) -> None:
    """Leaves signals to the training process, which needs the worker's batches for the step that it finishes."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    # it also comes from a training process that ends
    signal.signal(signal.SIGTERM, lambda number, frame: end_within(WORKER_PATIENCE, 0))
    exit_if_orphaned(parent, worker)
