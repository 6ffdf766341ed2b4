"""Spatial entropy of images as functions: divergence of two images, entropy of one.

Lian, Lian and Luo, *Equipping Diffusion Models with Differentiable Spatial Entropy for Low-Light Image Enhancement*,
CVPRW 2024. Every pixel has a value and a neighbour value; a kernel spreads both over L intensity levels, and the mean
of the products over a window is the local joint density that the entropies are taken of.
"""

from collections.abc import Sequence

import torch

from basicsr_entropy.entropy.divergences import DIVERGENCES, SHANNON, Divergence
from basicsr_entropy.entropy.eager import LocalDensity, LocalDivergence
from basicsr_entropy.entropy.kernels import KERNELS, Kernel, level_densities
from basicsr_entropy.entropy.neighbors import neighbor_values

BACKENDS = ('auto', 'eager')
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
NARROWEST_BANDWIDTH = 0.5  # levels; a narrower kernel misses values that lie between two levels
Windows = Sequence[int] | str  # side lengths, or 'global'


def spatial_divergence(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    *,
    divergence: str = 'hellinger',
    levels: int = 32,
    kernel: str = 'logistic',
    bandwidth: float | str = 0.5,
    windows: Windows = (1, 3, 5),
    neighbor_norm: str = 'channel',
    value_range: tuple[float, float] = (0.0, 1.0),
    gray: bool = False,
    unit_mass: bool = False,
    clamp_grad: str = 'zero',
    backend: str = 'auto',
) -> torch.Tensor:
    """Divergence between the local joint densities of two images, at every pixel.

    Args:
        pred: Images (N, C, H, W), any float type; lower than float32 is computed in float32. Receives gradients.
        target: Images of the same shape; receives no gradient.
        weights: Neighbour weights of shape (3, 3), see `neighbor_weights`.
        divergence: 'hellinger', 'relative', 'cross' or 'jensen_shannon'.
        levels: Number of intensity levels L, at least 2.
        kernel: 'logistic', 'sech' or 'gaussian'.
        bandwidth: Of the kernel in levels, or 'silverman': Silverman's rule for two dimensions, from each plane of the
            target, divided by the kernel's standard deviation and never below 0.5 levels.
        windows: Odd side lengths of the windows, or 'global' for one histogram an image.
        neighbor_norm: 'channel', or 'published' for the published conventions: neighbour weights divided by their sum
            over all channels, densities scaled by 1/(0.5 h) instead of 1/h^2.
        value_range: Values that the first and the last level stand for; the images are clamped to them.
        gray: Compare the BT.601 luma of RGB images instead of their channels.
        unit_mass: Normalise each pixel's densities over the levels. Without it values at the ends of the range lose
            up to a quarter of their mass with the default kernel, and predictions far from the target are drawn there.
        clamp_grad: 'zero', or 'straight_through' to pass gradients to values beyond the range as if at its end.
        backend: 'auto' or 'eager'.

    Returns:
        Map of shape (N, C, H, W), the mean over windows; (N, C, 1, 1) for 'global'; C is 1 if gray. In pred's type,
        or float32 if that is lower.

    Raises:
        TypeError: If an image is not a floating-point tensor.
        ValueError: If shapes differ or are not (N, C, H, W), an image is not finite, target requires a gradient, or an
            option is out of its range.
    """
    check_options(
        divergence=divergence,
        levels=levels,
        kernel=kernel,
        bandwidth=bandwidth,
        windows=windows,
        neighbor_norm=neighbor_norm,
        value_range=value_range,
        clamp_grad=clamp_grad,
        backend=backend,
    )
    check_images(pred, target)
    return _joint_functional(
        pred,
        target,
        weights,
        DIVERGENCES[divergence],
        levels=levels,
        kernel=KERNELS[kernel],
        bandwidth=bandwidth,
        windows=windows,
        published=neighbor_norm == 'published',
        value_range=value_range,
        gray=gray,
        unit_mass=unit_mass,
        straight_through=clamp_grad == 'straight_through',
    )


def spatial_entropy(
    image: torch.Tensor,
    weights: torch.Tensor,
    *,
    levels: int = 32,
    kernel: str = 'logistic',
    bandwidth: float | str = 0.5,
    windows: Windows = (1, 3, 5),
    neighbor_norm: str = 'channel',
    value_range: tuple[float, float] = (0.0, 1.0),
    gray: bool = False,
    unit_mass: bool = False,
) -> torch.Tensor:
    """Shannon entropy of the local joint density at every pixel, in nats; differentiable.

    Arguments, result and errors are those of `spatial_divergence`, for one image.
    """
    check_options(
        levels=levels,
        kernel=kernel,
        bandwidth=bandwidth,
        windows=windows,
        neighbor_norm=neighbor_norm,
        value_range=value_range,
    )
    check_images(image, image.detach())
    return _joint_functional(
        image,
        image.detach(),
        weights,
        SHANNON,
        levels=levels,
        kernel=KERNELS[kernel],
        bandwidth=bandwidth,
        windows=windows,
        published=neighbor_norm == 'published',
        value_range=value_range,
        gray=gray,
        unit_mass=unit_mass,
        straight_through=False,
    )


def check_images(pred: torch.Tensor, target: torch.Tensor) -> None:
    """Raises TypeError or ValueError unless both are finite float images (N, C, H, W) of one shape."""
    for name, image in (('pred', pred), ('target', target)):
        if not isinstance(image, torch.Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
            raise TypeError(f'{name} must be a floating-point tensor, got {kind}')
    if pred.ndim != 4 or pred.shape != target.shape or not pred.numel():
        raise ValueError(
            'pred and target must be non-empty images of one shape (N, C, H, W), '
            f'got {tuple(pred.shape)} and {tuple(target.shape)}'
        )
    if pred.device != target.device:
        raise ValueError(f'pred and target must be on one device, got {pred.device} and {target.device}')
    if target.requires_grad:
        raise ValueError('target must not require a gradient: the divergence has none by it; pass target.detach()')
    for name, image in (('pred', pred), ('target', target)):
        if not torch.isfinite(image).all():
            raise ValueError(f'{name} holds values that are not finite (NaN or infinity)')


def check_options(
    *,
    divergence: str = 'hellinger',
    levels: int = 32,
    kernel: str = 'logistic',
    bandwidth: float | str = 0.5,
    windows: Windows = (1, 3, 5),
    neighbor_norm: str = 'channel',
    value_range: Sequence[float] = (0.0, 1.0),
    clamp_grad: str = 'zero',
    backend: str = 'auto',
) -> None:
    """Raises a ValueError that begins with the name of the first option out of its range."""
    _one_of('divergence', divergence, DIVERGENCES)
    _one_of('kernel', kernel, KERNELS)
    _one_of('neighbor_norm', neighbor_norm, ('channel', 'published'))
    _one_of('clamp_grad', clamp_grad, ('zero', 'straight_through'))
    _one_of('backend', backend, BACKENDS)
    if not _is_whole(levels) or levels < 2:
        raise ValueError(f'levels must be a whole number of at least 2, got {levels!r}')
    if bandwidth != 'silverman' and (isinstance(bandwidth, (str, bool)) or not bandwidth > 0):
        raise ValueError(f"bandwidth must be a positive number of levels or 'silverman', got {bandwidth!r}")
    if windows != 'global' and (
        isinstance(windows, str)
        or not isinstance(windows, Sequence)
        or not windows
        or not all(_is_whole(side) and side > 0 and side % 2 for side in windows)
        or len(set(windows)) != len(windows)
    ):
        raise ValueError(f"windows must be 'global' or different odd side lengths such as [1, 3, 5], got {windows!r}")
    if len(value_range) != 2 or not value_range[0] < value_range[1]:
        raise ValueError(f'value_range must be two numbers, the lower first, got {value_range!r}')


def _one_of(name: str, value: object, known: Sequence[str] | dict) -> None:
    if value not in known:
        raise ValueError(f'{name} must be one of {", ".join(known)}, got {value!r}')


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _joint_functional(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    divergence: Divergence,
    *,
    levels: int,
    kernel: Kernel,
    bandwidth: float | str,
    windows: Windows,
    published: bool,
    value_range: Sequence[float],
    gray: bool,
    unit_mass: bool,
    straight_through: bool,
) -> torch.Tensor:
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    # autocast would convolve and multiply in half precision
    with torch.autocast(pred.device.type, enabled=False):
        planes = []
        for image in (pred.to(dtype), target.to(dtype)):
            image = _luma(image) if gray else image
            value = _in_levels(image, value_range, levels, straight_through)
            neighbor = neighbor_values(value, weights.to(image.device), across_channels=published)
            planes += [value.flatten(0, 1), neighbor.flatten(0, 1)]
        batch, channels = image.shape[:2]
        # pred value, pred neighbour, target value, target neighbour: (N*C, H, W) each
        h = _bandwidths(bandwidth, planes[2].detach(), kernel)
        sides = () if windows == 'global' else tuple(sorted(windows))
        density = LocalDensity(kernel, levels, sides, unit_mass, published)
        if windows == 'global':
            result = _global_divergence(*planes, h, density, divergence)[:, None, None]
        else:
            result = LocalDivergence.apply(*planes, h, density, divergence)
        return result.unflatten(0, (batch, channels))


def _luma(image: torch.Tensor) -> torch.Tensor:
    if image.shape[1] == 1:
        return image
    if image.shape[1] != 3:
        raise ValueError(f'gray needs images of 1 or 3 channels, got {image.shape[1]}')
    return (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)


def _in_levels(image: torch.Tensor, value_range: Sequence[float], levels: int, straight_through: bool) -> torch.Tensor:
    low, high = value_range
    clamped = image.clamp(low, high)
    if straight_through:
        clamped = image + (clamped - image).detach()
    return (clamped - low) * ((levels - 1) / (high - low))


def _bandwidths(bandwidth: float | str, target: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """Bandwidth of each plane (P, H, W), in levels, as (P, 1)."""
    pixels = target.flatten(1)
    if bandwidth != 'silverman':
        return pixels.new_full((len(pixels), 1), float(bandwidth))
    spread = pixels.std(dim=1, unbiased=False, keepdim=True) * pixels.shape[1] ** (-1 / 6)
    return (spread / kernel.std).clamp_min(NARROWEST_BANDWIDTH)


def _global_divergence(
    pred_value, pred_neighbor, target_value, target_neighbor, bandwidth, density: LocalDensity, divergence: Divergence
) -> torch.Tensor:
    """Divergence of the histograms of whole planes: (P,). Densities are matrix products, so memory is O(P H W L)."""

    def histogram(value: torch.Tensor, neighbor: torch.Tensor) -> torch.Tensor:
        a, b = (
            level_densities(each.flatten(1), bandwidth, density.kernel, density.levels, density.unit_mass)
            for each in (value, neighbor)
        )
        return a @ b.transpose(1, 2) * (density.scale(bandwidth)[:, None] / value[0].numel())

    return _Divergence.apply(histogram(target_value, target_neighbor), histogram(pred_value, pred_neighbor), divergence)


class _Divergence(torch.autograd.Function):
    """Divergence of densities (P, L, L) as (P,); the gradient reaches q only."""

    @staticmethod
    def forward(ctx, p, q, divergence):
        total = divergence.term(p, q, 1).sum(dim=(1, 2))
        ctx.save_for_backward(p, q, total)
        ctx.divergence = divergence
        return divergence.finish(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        p, q, total = ctx.saved_tensors
        outer = (grad_output * ctx.divergence.finish_slope(total))[:, None, None]
        return None, ctx.divergence.slope(p, q, 1).mul_(outer), None
