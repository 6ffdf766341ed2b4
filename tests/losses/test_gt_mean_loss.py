import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from basicsr_entropy.losses import GTMeanLoss


def luma(image):
    return (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).mean()


def test_is_the_mixture_of_plain_and_scaled_loss():
    pred, target = 0.1 + 0.5 * torch.rand(2, 2, 3, 12, 12)
    target = 0.9 * target + 0.06
    expected = []
    for one, its_target in zip(pred, target):
        means = luma(one), luma(its_target)
        # minus the logarithm of the integral of the geometric mean of the two densities
        x = torch.linspace(0, 1, 200001, dtype=torch.float64)
        densities = [Normal(mean.double(), 0.1 * mean.double()).log_prob(x).exp() for mean in means]
        share = -torch.trapezoid((densities[0] * densities[1]).sqrt(), x).log().clamp(-1, 0).float()
        scaled = (one * means[1] / means[0]).clamp(0, 1)
        expected.append(share * F.l1_loss(one, its_target) + (1 - share) * F.l1_loss(scaled, its_target))
    value = GTMeanLoss({'type': 'L1Loss'}, loss_weight=2)(pred, target)
    assert value.item() == pytest.approx(2 * torch.stack(expected).mean().item(), rel=1e-3)


def test_a_prediction_that_is_far_too_dark_costs_the_plain_loss():
    target = 0.3 + 0.4 * torch.rand(1, 3, 12, 12)
    pred = (0.2 * target).requires_grad_()
    value = GTMeanLoss({'type': 'L1Loss'})(pred, target)
    value.backward()
    assert value.item() == pytest.approx(F.l1_loss(pred, target).item(), rel=1e-5)
    assert (pred.grad < 0).all()  # brighter


def test_a_slight_error_of_brightness_hardly_counts():
    target = 0.3 + 0.4 * torch.rand(1, 3, 12, 12)
    assert GTMeanLoss({'type': 'L1Loss'})(0.97 * target, target) < 0.05 * F.l1_loss(0.97 * target, target)


def test_is_finite_for_black_images():
    target = torch.rand(1, 3, 8, 8)
    for pair in ((torch.zeros_like(target), target), (target, torch.zeros_like(target))):
        pred = pair[0].clone().requires_grad_()
        value = GTMeanLoss({'type': 'SpatialEntropyLoss', 'levels': 4})(pred, pair[1])
        value.backward()
        assert value.isfinite()
        assert pred.grad.isfinite().all()


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'loss': 'L1Loss'}, ValueError, '^loss: must be the options of a loss'),
        ({'loss': {'type': 'L1Los'}}, KeyError, "loss.*no .*'L1Los'.*L1Loss"),
        ({'loss': {'type': 'GANLoss', 'gan_type': 'lsgan'}}, ValueError, '^loss: GANLoss takes'),
        ({'loss': {'type': 'L1Loss'}, 'sigma': 0}, ValueError, '^sigma: must be a positive'),
    ],
)
def test_rejects_invalid_options(options, error, message):
    with pytest.raises(error, match=message):
        GTMeanLoss(**options)


def test_rejects_element_wise_weights():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match='^weight: GTMeanLoss has no element-wise weight'):
        GTMeanLoss({'type': 'L1Loss'})(image, image, torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize('shapes', [((4, 3, 8, 8), (1, 3, 8, 8)), ((2, 3, 8, 8), (2, 1, 8, 8))])
def test_rejects_images_of_different_shapes(shapes):
    with pytest.raises(ValueError, match='^pred: must have the shape of target'):
        GTMeanLoss({'type': 'L1Loss'})(*map(torch.rand, shapes))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_brightness_of_dark_images_is_compared_in_float32(dtype):
    target = 0.1 * torch.rand(1, 3, 32, 32)
    pred, loss = 0.98 * target, GTMeanLoss({'type': 'L1Loss'})
    assert loss(pred.to(dtype), target.to(dtype)) < 0.3 * F.l1_loss(pred, target)
