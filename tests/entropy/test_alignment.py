import math

import cv2
import pytest
import torch

from basicsr_entropy.entropy import DensityOptions, neighbor_weights, spatial_divergence
from basicsr_entropy.entropy.alignment import ALIGN, aligned

UNIFORM = neighbor_weights('uniform')
# images without a value near the ends of the range, which clamping would change
OPTIONS = DensityOptions(levels=16, unit_mass=True)


def photograph_like(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 0.35 + 0.3 * torch.rand(*shape, dtype=dtype)


def divergence(pred, target, align, sigma=2.0, **options):
    settings = {'options': OPTIONS, 'align': align, 'align_sigma': sigma, 'backend': 'eager'} | options
    return spatial_divergence(pred, target, UNIFORM, **settings)


def test_local_alignment_is_that_of_its_formula():
    pred, target = photograph_like(2, 1, 3, 20, 17)

    def blur(image):
        size = 2 * math.ceil(3 * 2.0) + 1
        planes = [cv2.GaussianBlur(p.numpy(), (size, size), 2.0, borderType=cv2.BORDER_REFLECT_101) for p in image[0]]
        return torch.stack([torch.from_numpy(plane) for plane in planes])[None]

    torch.testing.assert_close(aligned(pred, target, 'local', 2.0), pred - blur(pred) + blur(target), atol=1e-6, rtol=0)


@pytest.mark.parametrize('size', [(1, 1), (2, 5), (3, 40)])
def test_local_alignment_reflects_images_smaller_than_the_blur(size):
    pred, target = photograph_like(2, 1, 3, *size)
    result = aligned(pred, target, 'local', 4.0)
    assert result.isfinite().all()
    torch.testing.assert_close(aligned(target + 0.1, target, 'local', 4.0), target, atol=1e-6, rtol=0)


def test_mean_alignment_gives_each_image_the_mean_of_its_target():
    pred, target = photograph_like(2, 3, 3, 9, 9)
    means = aligned(0.4 * pred, target, 'mean', 4.0).mean(dim=(1, 2, 3))
    torch.testing.assert_close(means, target.mean(dim=(1, 2, 3)))
    low = aligned(pred - 1, target - 1, 'mean', 4.0, value_range=(-1, 1))  # the gain applies from the lower end on
    torch.testing.assert_close(low, aligned(pred, target, 'mean', 4.0) - 1)
    assert aligned(torch.zeros_like(pred), target, 'mean', 4.0).isfinite().all()


@pytest.mark.parametrize('change', [lambda x: x - 0.2, lambda x: x + torch.linspace(-0.2, 0.2, 64, dtype=x.dtype)])
def test_a_smooth_change_of_brightness_costs_nothing_after_local_alignment(change):
    target = photograph_like(1, 1, 64, 64)
    inner = (..., slice(16, -16), slice(16, -16))  # a ramp is bent where it is reflected
    assert divergence(change(target), target, 'none')[inner].mean() > 0.1
    assert divergence(change(target), target, 'local', sigma=4.0)[inner].mean() < 1e-3


def test_a_gain_costs_nothing_after_alignment_of_the_mean():
    target = photograph_like(2, 3, 12, 12)
    gains = torch.tensor([0.5, 0.8], dtype=torch.float64)[:, None, None, None]
    assert divergence(gains * target, target, 'mean').mean() < 1e-6


def test_detail_costs_the_same_where_the_means_agree():
    target = photograph_like(1, 1, 32, 32)
    checkered = target + 0.05 * (1 - 2 * ((torch.arange(32)[:, None] + torch.arange(32)) % 2))
    plain, mean, local = (divergence(checkered, target, align, sigma=4.0).mean().item() for align in ALIGN)
    assert plain > 0.1
    assert mean == pytest.approx(plain, rel=1e-3)
    assert local == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize('align', ALIGN)
@pytest.mark.parametrize('backend', ['eager', 'compiled'])
def test_is_zero_without_gradient_at_equality(align, backend):
    target = photograph_like(1, 3, 16, 16, dtype=torch.float32)
    pred = target.clone().requires_grad_()
    value = divergence(pred, target, align, backend=backend).sum()
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert pred.grad.abs().max() < 1e-4


@pytest.mark.parametrize('align', ['mean', 'local'])
@pytest.mark.parametrize('options', [{}, {'gray': True}, {'windows': 'global'}], ids=str)
def test_gradcheck(align, options):
    target = photograph_like(1, 3, 7, 6)
    pred = (0.7 * target + 0.05 * torch.rand_like(target)).requires_grad_()
    settings = DensityOptions(levels=5, unit_mass=True, **options)
    assert torch.autograd.gradcheck(lambda x: divergence(x, target, align, options=settings), pred)


@pytest.mark.parametrize('align', ['mean', 'local'])
def test_backends_agree(align):
    target = photograph_like(2, 3, 16, 20, dtype=torch.float32)
    pred = 0.6 * target + 0.05 * torch.rand_like(target)
    results = []
    for backend in ('eager', 'compiled'):
        leaf = pred.clone().requires_grad_()
        value = divergence(leaf, target, align, backend=backend)
        value.mean().backward()
        results.append((value.detach(), leaf.grad))
    for eager, compiled in zip(*results):
        assert (eager - compiled).abs().max() < 1e-3 * eager.abs().max()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_aligned_in_float32(dtype):
    target = photograph_like(1, 3, 16, 16, dtype=torch.float32).to(dtype)
    pred = (target * 0.5).to(dtype)
    value = divergence(pred, target, 'local')
    torch.testing.assert_close(value, divergence(pred.float(), target.float(), 'local'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'align': 'global'}, '^align: must be one of none, mean, local'),
        ({'align': 'local', 'sigma': 0}, '^align_sigma: must be a positive number of pixels, got 0'),
        ({'align': 'local', 'sigma': math.inf}, '^align_sigma: must be a positive'),
        ({'align': 'local', 'sigma': True}, '^align_sigma: must be a positive'),
    ],
)
def test_rejects_invalid_options(change, message):
    images = photograph_like(2, 1, 1, 8, 8)
    with pytest.raises(ValueError, match=message):
        divergence(*images, **{'align': 'local'} | change)


def test_images_darker_than_the_darkest_mean_are_not_scaled_to_it():
    target = torch.zeros(1, 3, 64, 64)
    target[..., 30, 30] = 0.5
    assert torch.equal(aligned(target, target, 'mean', 4.0), target)
    negative = -torch.rand(1, 3, 8, 8)
    assert torch.equal(aligned(negative, negative, 'mean', 4.0), negative)
