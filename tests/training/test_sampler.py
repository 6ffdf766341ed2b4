import pytest

from basicsr_entropy.training.sampler import SeededSampler


def order(seed: int, epoch: int = 0, size: int = 50, ranks: int = 1, rank: int = 0, ratio: int = 1) -> list[int]:
    sampler = SeededSampler(range(size), ranks, rank, ratio, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_follows_seed_and_epoch():
    orders = [order(seed, epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(each) for each in orders}) == len(orders)
    assert all(sorted(each) == list(range(50)) for each in orders)
    assert order(2, epoch=3) == order(2, epoch=3)


@pytest.mark.parametrize('ratio', [1, 3])
def test_ranks_share_the_images_of_an_epoch(ratio):
    parts = [order(5, size=8, ranks=2, rank=rank, ratio=ratio) for rank in range(2)]
    assert [len(part) for part in parts] == [4 * ratio] * 2
    assert sorted(parts[0] + parts[1]) == sorted(list(range(8)) * ratio)
