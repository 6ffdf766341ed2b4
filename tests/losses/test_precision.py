"""Losses under autocast, in half and in double precision, compiled, and with masks."""

import pytest
import torch
from basicsr.losses import build_loss

from basicsr_entropy.losses import GTMeanLoss, HighPassLoss

L1 = {'type': 'L1Loss'}
LOSSES = [
    {'type': 'HighPassLoss'},
    {'type': 'HighPassLoss', 'norm': 'l2'},
    {'type': 'GaussianBlurL1Loss'},
    {'type': 'GTMeanLoss', 'loss': {'type': 'HighPassLoss'}},
    {'type': 'GTMeanLoss', 'loss': L1},
    {'type': 'MixedLoss', 'losses': [L1, {'type': 'HighPassLoss'}]},
]


@pytest.fixture(params=LOSSES, ids=str)
def loss(request):
    return build_loss(request.param)


@pytest.fixture
def smooth():
    """A smooth image, and a brighter one with faint detail, less than bfloat16 resolves at that brightness."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing='ij')
    target = torch.stack([0.3 + 0.3 * x, 0.3 + 0.2 * y, 0.4 + 0.2 * x * y])[None]
    return target + 0.2 + 5e-4 * torch.sin(40 * x + 25 * y), target


def value_and_grad(loss, pred, target):
    pred = pred.detach().requires_grad_()
    value = loss(pred, target)
    return value.detach(), *torch.autograd.grad(value, pred)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(loss, smooth, dtype):
    def under_autocast(pred, target):
        with torch.autocast('cpu', dtype):
            return loss(pred, target)

    for actual, expected in zip(value_and_grad(under_autocast, *smooth), value_and_grad(loss, *smooth)):
        torch.testing.assert_close(actual, expected)


def test_a_backward_pass_under_autocast_rounds_and_no_more(loss, smooth):
    _, expected = value_and_grad(loss, *smooth)
    with torch.autocast('cpu', torch.bfloat16):  # PyTorch advises against it: products of the backward pass are cast
        _, gradient = value_and_grad(loss, *smooth)
    assert (gradient - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', ['HighPassLoss', 'GaussianBlurL1Loss'])
def test_images_of_half_precision_are_compared_in_float32(name, smooth, dtype):
    loss, (pred, target) = build_loss({'type': name}), (image.to(dtype) for image in smooth)
    expected = value_and_grad(loss, pred.float(), target.float())
    for pair in ((pred, target), (pred.float(), target), (pred, target.float())):
        value, gradient = value_and_grad(loss, *pair)
        torch.testing.assert_close(value, expected[0])
        torch.testing.assert_close(gradient, expected[1].to(gradient.dtype))


def test_meta_tensors_have_a_loss():
    image = torch.empty(1, 3, 20, 20, device='meta')
    assert HighPassLoss()(image, image).shape == ()


def test_double_precision_is_kept(loss):
    pred, target = 0.2 + 0.6 * torch.rand(2, 1, 3, 5, 5, dtype=torch.float64)
    assert loss(pred, target).dtype == torch.float64
    if not isinstance(loss, GTMeanLoss):  # whose share of the plain loss is not differentiated
        assert torch.autograd.gradcheck(lambda image: loss(image, target), pred.requires_grad_())


def test_compiles_to_one_graph(loss, smooth):
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    for actual, expected in zip(value_and_grad(compiled, *smooth), value_and_grad(loss, *smooth)):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize('name', ['L1Loss', 'HighPassLoss', 'GaussianBlurL1Loss', 'SpatialEntropyLoss'])
def test_a_mask_that_is_zero_everywhere_has_no_mean(name):
    image = torch.rand(1, 3, 8, 8)
    assert build_loss({'type': name})(image, image, torch.zeros(1, 1, 8, 8)).isnan()
