"""The order in which a training run sees its images."""

from collections.abc import Iterator

import torch
from basicsr.data.data_sampler import EnlargedSampler


class SeededSampler(EnlargedSampler):
    """BasicSR's sampler, shuffled by the run's seed and the epoch; its own shuffles by the epoch alone.

    With BasicSR's, trainings with different seeds see the images in the same order, so the spread over seeds is too
    small.

    Args:
        dataset: Dataset that is sampled.
        num_replicas: Number of processes of the run.
        rank: Rank of this process.
        ratio: How many times an epoch repeats the dataset.
        seed: Seed of the run, the same on all ranks.
    """

    def __init__(self, dataset: object, num_replicas: int, rank: int, ratio: int = 1, *, seed: int) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        # a generator seeded with seed + epoch would give epoch 1 of seed 0 the order of epoch 0 of seed 1
        of_run = torch.Generator().manual_seed(self.seed)
        epoch_seed = int(torch.randint(2**62, (self.epoch + 1,), generator=of_run)[-1])
        order = torch.randperm(self.total_size, generator=torch.Generator().manual_seed(epoch_seed))
        return iter((order[self.rank :: self.num_replicas] % len(self.dataset)).tolist())
