"""Which samples a training run sees, in which order and how augmented: a pure function of its seed.

Sample number n of a run, counted over all of its epochs and processes, has an epoch and a position in it. The image at
this position follows from (seed, epoch), and the random numbers of its augmentation from (seed, epoch, position). So a
resumed run goes on at any sample without replaying the earlier ones, and neither the number of worker processes nor
that of training processes changes what is seen.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset


class Sample(NamedTuple):
    """What a dataset is asked for.

    Attributes:
        item: Index of the dataset's item.
        epoch: Counted from 0.
        position: Position in the epoch, counted from 0.
    """

    item: int
    epoch: int
    position: int


class SampleOrder:
    """The endless sequence of samples of a run; an epoch is a random permutation of the enlarged dataset.

    Args:
        size: Number of images in the dataset.
        ratio: How many times an epoch repeats each image (`dataset_enlarge_ratio`).
        seed: Seed of the run.

    Example:
        >>> order = SampleOrder(3, ratio=1, seed=0)
        >>> sorted(order[n].item for n in range(3, 6)), order[4].epoch, order[4].position
        ([0, 1, 2], 1, 1)
    """

    def __init__(self, size: int, ratio: int, seed: int) -> None:
        self.size, self.epoch_length, self.seed = size, size * ratio, seed
        self._shuffled: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> Sample:
        epoch, position = divmod(number, self.epoch_length)
        if self._shuffled is None or self._shuffled[0] != epoch:
            shuffle = np.random.default_rng([self.seed, epoch])
            self._shuffled = epoch, shuffle.permutation(self.epoch_length) % self.size
        return Sample(int(self._shuffled[1][position]), epoch, position)


class BatchSampler:
    """The batches of one process of a run.

    An iteration takes the next `batch_size` samples for each process. No sample is dropped: where the last ones of an
    epoch do not fill a batch, the first ones of the next epoch do.

    Args:
        order: Order of the samples.
        batch_size: Samples per process and iteration.
        first: Number of the first sample of the first batch, over all processes.
        batches: Number of batches.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, order: SampleOrder, batch_size: int, first: int, batches: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.order, self.batch_size, self.batches = order, batch_size, batches
        self.first, self.stride = first + rank * batch_size, batch_size * world_size

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Sample]]:
        for batch in range(self.batches):
            first = self.first + batch * self.stride
            yield [self.order[number] for number in range(first, first + self.batch_size)]


class SeededDataset(Dataset):
    """A dataset whose items are functions of (seed, epoch, position), whatever generators it draws from.

    Before an item is read, the generators of `random`, numpy and torch (CPU) are seeded; afterwards they go on as if
    nothing had been drawn, since the model draws from them too.

    Args:
        dataset: Map-style dataset.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: Sample) -> Any:
        return self.__getitems__([sample])[0]

    def __getitems__(self, samples: Sequence[Sample]) -> list[Any]:
        """Items of a batch: the data loader asks for all of them at once."""
        items = []
        with generators_kept():
            for item, epoch, position in samples:
                seed_generators(self.seed, epoch, position)
                items.append(self.dataset[item])
        return items


@contextmanager
def generators_kept() -> Iterator[None]:
    """Context at whose end the generators of `random`, numpy and torch (CPU) are as they were."""
    python, legacy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002  (BasicSR's datasets draw from it)
        torch.set_rng_state(torchs)


def seed_generators(*seeds: int) -> None:
    """Seeds the generators of `random`, numpy and torch (CPU) with several integers of at least 0."""
    words = np.random.SeedSequence(seeds).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:6])  # noqa: NPY002
    # not torch.manual_seed, which seeds the GPUs too
    torch.default_generator.manual_seed(int(words[6]) | int(words[7]) << 32)
