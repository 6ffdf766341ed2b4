from functools import partial

import cv2
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from basicsr_entropy.losses import GaussianBlurL1Loss, HighPassLoss, SpatialEntropyLoss

FEW_LEVELS = partial(SpatialEntropyLoss, levels=2, windows=[1], neighbor='uniform')


@pytest.mark.parametrize('norm', ['l1', 'l2'])
def test_is_the_distance_of_images_without_their_blur(norm):
    pred, target = torch.rand(2, 1, 1, 20, 24)

    def detail(image):
        plane = image[0, 0].numpy()
        return plane - cv2.GaussianBlur(plane, (13, 13), 2.0, borderType=cv2.BORDER_REFLECT_101)

    difference = abs(detail(pred) - detail(target))
    expected = (difference if norm == 'l1' else difference**2).mean()
    value = HighPassLoss(sigma=2.0, norm=norm, loss_weight=3)(pred, target)
    assert value.item() == pytest.approx(3 * expected, rel=1e-4)


def test_sees_detail_but_not_brightness():
    target = torch.rand(1, 3, 24, 24) * 0.5
    checkered = target + 0.1 * (1 - 2 * ((torch.arange(24)[:, None] + torch.arange(24)) % 2))
    assert HighPassLoss()(checkered, target).item() == pytest.approx(0.1, rel=0.02)
    assert HighPassLoss()(target + 0.2, target).item() == pytest.approx(0, abs=1e-6)


def test_reductions_and_weights():
    pred, target = torch.rand(2, 2, 3, 9, 9)
    each = HighPassLoss(reduction='none')(pred, target)
    assert each.shape == pred.shape
    torch.testing.assert_close(HighPassLoss(reduction='sum')(pred, target), each.sum())
    weight = torch.zeros(2, 1, 9, 9)
    weight[..., 3] = 1
    torch.testing.assert_close(HighPassLoss()(pred, target, weight), each[..., 3].mean())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'sigma': 0}, '^sigma: must be a positive'),
        ({'norm': 'l3'}, '^norm: must be one of l1, l2'),
        ({'reduction': 'max'}, '^reduction: must be'),
    ],
)
def test_rejects_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        HighPassLoss(**options)


def test_rejects_images_of_different_shapes():
    with pytest.raises(ValueError, match='^pred: must have the shape of target'):
        HighPassLoss()(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('loss', [HighPassLoss, GaussianBlurL1Loss, FEW_LEVELS])
def test_weights_of_half_precision_are_summed_in_float32(loss, dtype):
    pred, target = torch.rand(2, 8, 1, 128, 128)
    expected = loss()(pred, target).item()
    assert loss()(pred, target, torch.ones(8, 1, 128, 128, dtype=dtype)).item() == pytest.approx(expected, rel=1e-5)


def test_a_fake_run_leaves_nothing_behind():
    loss, shape = HighPassLoss(), (1, 3, 20, 20)
    for _ in range(2):
        assert loss(torch.rand(shape), torch.rand(shape)) > 0
        with FakeTensorMode():
            assert loss(torch.rand(shape), torch.rand(shape)).shape == ()
