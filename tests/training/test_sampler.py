import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from basicsr_entropy.training.sampler import BatchSampler, SampleOrder, SeededDataset


def items(order: SampleOrder, epoch: int) -> list[int]:
    length = order.epoch_length
    return [order[number].item for number in range(epoch * length, (epoch + 1) * length)]


def test_the_order_follows_seed_and_epoch():
    orders = [items(SampleOrder(50, 1, seed), epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(each) for each in orders}) == len(orders)
    assert all(sorted(each) == list(range(50)) for each in orders)
    assert items(SampleOrder(50, 1, 2), 3) == items(SampleOrder(50, 1, 2), 3)
    assert sorted(items(SampleOrder(5, 3, 0), 1)) == sorted(list(range(5)) * 3)


def test_no_sample_is_dropped_at_the_end_of_an_epoch():
    batches = list(BatchSampler(SampleOrder(7, 1, 0), 4, first=0, batches=7))
    assert [len(batch) for batch in batches] == [4] * 7
    drawn = [sample for batch in batches for sample in batch]
    assert [(sample.epoch, sample.position) for sample in drawn] == [divmod(number, 7) for number in range(28)]
    assert len(list(BatchSampler(SampleOrder(3, 1, 0), 4, first=0, batches=20))) == 20  # larger than the dataset


@pytest.mark.parametrize('processes', [1, 2, 4])
def test_processes_share_the_samples_of_each_iteration(processes):
    whole = list(BatchSampler(SampleOrder(7, 2, 5), 4, first=6, batches=5))
    parts = [
        list(BatchSampler(SampleOrder(7, 2, 5), 4 // processes, 6, 5, rank, processes)) for rank in range(processes)
    ]
    assert [sum(each, []) for each in zip(*parts)] == whole


def test_a_later_start_is_the_rest_of_the_sequence():
    whole, rest = (list(BatchSampler(SampleOrder(7, 1, 0), 2, 2 * skip, 9 - skip)) for skip in (0, 4))
    assert rest == whole[4:]


class Draws(Dataset):
    """Items that draw from every global generator."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_an_item_follows_from_seed_epoch_and_position_and_leaves_the_generators_alone():
    def draw(seed, *samples):
        return SeededDataset(Draws(), seed).__getitems__(samples)

    first, second, third = draw(0, (3, 0, 0), (3, 0, 1), (3, 1, 0))
    assert draw(0, (3, 0, 1)) == [second]
    assert len({*first[1:], *second[1:], *third[1:], *draw(1, (3, 0, 0))[0][1:]}) == 12
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = Draws()[0]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    draw(0, (3, 0, 0))
    assert Draws()[0] == expected
