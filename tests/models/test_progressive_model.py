import pytest
import torch

from basicsr_entropy.models.progressive_model import ProgressiveCrop

OPTIONS = {'gt_sizes': [8, 16, 24], 'iters': [10, 5, 5], 'batch_size_per_gpu': 4}


def batch(size=24, scale=1, count=4):
    """Images whose values are their own coordinates."""
    place = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)
    gt = place + torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1) * size * size
    return gt[..., ::scale, ::scale], gt


@pytest.mark.parametrize(
    ('iteration', 'size', 'count'), [(1, 8, 4), (10, 8, 4), (11, 16, 2), (15, 16, 2), (16, 24, 1), (900, 24, 1)]
)
def test_follows_the_iteration(iteration, size, count):
    schedule = ProgressiveCrop({**OPTIONS, 'mini_batch_sizes': [4, 2, 1]})
    lq, gt = schedule.crop(*batch(), iteration)
    assert lq.shape == gt.shape == (count, 1, size, size)
    assert torch.equal(lq, gt)  # of one place
    assert [int(image[0, 0, 0]) // 24**2 for image in gt] == list(range(count))


def test_places_are_random_reach_the_edges_and_repeat_from_a_seed():
    schedule = ProgressiveCrop(OPTIONS)

    def corners():
        torch.manual_seed(0)
        return [int(schedule.crop(*batch(), 1)[1][0, 0, 0, 0]) for _ in range(400)]

    drawn = corners()
    assert drawn == corners()
    assert {corner // 24 for corner in drawn} == {corner % 24 for corner in drawn} == set(range(17))


def test_input_and_truth_stay_together_at_another_scale():
    lq, gt = ProgressiveCrop({**OPTIONS, 'scale': 2}).crop(*batch(scale=2), 1)
    assert lq.shape[-2:] == (4, 4)
    assert torch.equal(lq, gt[..., ::2, ::2])


def test_without_sizes_batches_are_the_same_and_nothing_is_drawn():
    before = torch.get_rng_state()
    lq, gt = batch()
    assert all(a is b for a, b in zip(ProgressiveCrop({}).crop(lq, gt, 1), (lq, gt)))
    assert torch.equal(before, torch.get_rng_state())


def test_several_gpus_of_one_process_share_a_batch():
    schedule = ProgressiveCrop({**OPTIONS, 'mini_batch_sizes': [2, 2, 1]})
    assert len(schedule.crop(*batch(count=8), 1)[0]) == 4


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'iters': None}, KeyError, 'datasets.train.iters: missing; gt_sizes needs the iterations of each size'),
        (
            {'iters': [1, 2]},
            ValueError,
            r'datasets.train.iters: must be 3 integers, one per size in gt_sizes, got \[1, 2\]',
        ),
        ({'iters': 5}, ValueError, 'iters: must be a list of integers of at least 1, got 5'),
        ({'gt_sizes': 8}, ValueError, 'gt_sizes: must be a list of integers of at least 1, got 8'),
        ({'gt_sizes': None}, ValueError, 'iters: needs gt_sizes, which is missing'),
        ({'mini_batch_sizes': [4, 2]}, ValueError, 'mini_batch_sizes: must be 3 integers, one per size in gt_sizes'),
        ({'mini_batch_sizes': [8, 4, 2]}, ValueError, 'mini_batch_sizes: 8 is more than batch_size_per_gpu, 4'),
        ({'scale': 3}, ValueError, 'gt_sizes: 8 is no multiple of scale, 3'),
    ],
    ids=str,
)
def test_refuses_wrong_schedules(options, error, message):
    with pytest.raises(error, match=message):
        ProgressiveCrop({**OPTIONS, **options})
