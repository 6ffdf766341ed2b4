import math

import cv2
import pytest
import torch

from basicsr_entropy.losses import GaussianBlurL1Loss


def test_is_the_l1_distance_of_blurred_images():
    pred, target = torch.rand(2, 1, 1, 20, 24)
    blurred = [
        cv2.GaussianBlur(image[0, 0].numpy(), (13, 13), 2.0, borderType=cv2.BORDER_REPLICATE)
        for image in (pred, target)
    ]
    expected = abs(blurred[0] - blurred[1]).mean()
    assert GaussianBlurL1Loss(sigma=2.0, loss_weight=3)(pred, target).item() == pytest.approx(3 * expected, rel=1e-4)


def test_ignores_detail_but_not_brightness():
    target = torch.rand(1, 3, 24, 24) * 0.5
    checkered = target + 0.2 * ((torch.arange(24)[:, None] + torch.arange(24)) % 2 - 0.5)
    loss = GaussianBlurL1Loss(sigma=3)
    assert loss(checkered, target) < 0.01
    assert loss(target + 0.2, target).item() == pytest.approx(0.2, rel=1e-4)


def test_reductions_and_weights():
    pred, target = torch.rand(2, 2, 3, 9, 9)
    each = GaussianBlurL1Loss(reduction='none')(pred, target)
    assert each.shape == pred.shape
    torch.testing.assert_close(GaussianBlurL1Loss(reduction='sum')(pred, target), each.sum())
    weight = torch.zeros(2, 1, 9, 9)
    weight[..., 3] = 1
    torch.testing.assert_close(GaussianBlurL1Loss()(pred, target, weight), each[..., 3].mean())


def test_gradcheck():
    pred, target = torch.rand(2, 1, 2, 6, 6, dtype=torch.float64)
    loss = GaussianBlurL1Loss(sigma=1).double()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), pred.requires_grad_())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'sigma': 0}, '^sigma: must be a positive number of pixels'),
        ({'sigma': math.inf}, '^sigma: must be a positive number of pixels'),
        ({'sigma': '3'}, "^sigma: must be a positive number of pixels, got '3'"),
        ({'kernel_size': 4}, '^kernel_size: must be an odd integer'),
        ({'reduction': 'max'}, '^reduction: must be'),
    ],
)
def test_rejects_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianBlurL1Loss(**options)


def test_rejects_images_of_different_shapes():
    with pytest.raises(ValueError, match='^pred: must have the shape of target'):
        GaussianBlurL1Loss()(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
