"""Spatial entropy of images as functions: divergence of two images, entropy of one.

Lian, Lian and Luo, *Equipping Diffusion Models with Differentiable Spatial Entropy for Low-Light Image Enhancement*,
CVPRW 2024. Every pixel has a value and a neighbour value; a kernel spreads both over L intensity levels, and the mean
of the products over a window is the local joint density that the entropies are taken of.
"""

import torch

from basicsr_entropy._checks import check_choice
from basicsr_entropy._color import LUMA
from basicsr_entropy.entropy.backends import BACKENDS, local_divergence
from basicsr_entropy.entropy.divergences import DIVERGENCES, FUNCTIONALS
from basicsr_entropy.entropy.histogram import global_divergence
from basicsr_entropy.entropy.kernels import KERNELS
from basicsr_entropy.entropy.neighbors import neighbor_values
from basicsr_entropy.entropy.options import DEFAULT_OPTIONS, DensityOptions

NARROWEST_BANDWIDTH = 0.5  # levels; a narrower kernel misses values that lie between two levels


def spatial_divergence(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    divergence: str = 'hellinger',
    options: DensityOptions = DEFAULT_OPTIONS,
    pixel_weight: torch.Tensor | None = None,
    backend: str = 'auto',
) -> torch.Tensor:
    """Divergence between the local joint densities of two images, at every pixel.

    Args:
        pred: Images (N, C, H, W), any float type; lower than float32 is computed in float32. Receives gradients.
        target: Images of the same shape; receives no gradient.
        weights: Neighbour weights of shape (3, 3), see `neighbor_weights`.
        divergence: 'hellinger', 'relative', 'cross' or 'jensen_shannon'.
        options: How the densities are made.
        pixel_weight: Weights of the map, broadcastable to it; receive no gradient. The result is then the weighted sum
            of the map, for which the fast backends need one visit of the pixels instead of two.
        backend: 'eager' is exact in any type on any device; 'compiled' (CPU) and 'triton' (CUDA) are fast in float32;
            'auto' takes the fast one where there is one.

    Returns:
        Map of shape (N, C, H, W), the mean over windows; (N, C, 1, 1) for global windows; C is 1 if gray. In pred's
        type, or float32 if that is lower. A scalar if there are pixel weights.

    Raises:
        TypeError: If an image is not a floating-point tensor.
        ValueError: If shapes differ or are not (N, C, H, W), an image is not finite, target requires a gradient, or
            an option is out of its range.
    """
    check_choice('divergence', divergence, DIVERGENCES)
    check_images(pred, target)
    return _joint_functional(pred, target, weights, divergence, options, pixel_weight, backend)


def spatial_entropy(
    image: torch.Tensor, weights: torch.Tensor, options: DensityOptions = DEFAULT_OPTIONS, backend: str = 'auto'
) -> torch.Tensor:
    """Shannon entropy of the local joint density at every pixel, in nats; differentiable.

    Arguments, result and errors are those of `spatial_divergence`, for one image.
    """
    check_images(image, image.detach())
    return _joint_functional(image, image.detach(), weights, 'shannon', options, None, backend)


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
    finite = [torch.isfinite(image).all() for image in (pred, target)]
    if not (finite[0] & finite[1]):  # the one place where a step waits for the device
        name = 'target' if finite[0] else 'pred'
        raise ValueError(f'{name} holds values that are not finite (NaN or infinity)')


def _joint_functional(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    functional: str,
    options: DensityOptions,
    pixel_weight: torch.Tensor | None,
    backend: str,
) -> torch.Tensor:
    check_choice('backend', backend, BACKENDS)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    # autocast would convolve and multiply in half precision
    with torch.autocast(pred.device.type, enabled=False):
        unit_planes = []
        for image in (pred.to(dtype), target.to(dtype)):
            value = _in_unit_range(_luma(image) if options.gray else image, options)
            neighbor = neighbor_values(value, weights.to(image.device), across_channels=options.published)
            unit_planes += [value.flatten(0, 1), neighbor.flatten(0, 1)]
        shape = value.shape
        if pixel_weight is not None:
            result_shape = (*shape[:2], 1, 1) if options.is_global else shape
            pixel_weight = pixel_weight.to(dtype).expand(result_shape).flatten(0, 1)
        results = []
        for resolution in options.resolutions:
            # pred value, pred neighbour, target value, target neighbour: (N*C, H, W) each, in levels
            planes = [plane * (resolution.levels - 1) for plane in unit_planes]
            h = _bandwidths(planes[2], resolution)
            if options.is_global:
                result = global_divergence(planes, h, resolution, FUNCTIONALS[functional])[:, None, None]
                result = result if pixel_weight is None else (result * pixel_weight).sum()
            else:
                result = local_divergence(planes, h, resolution, functional, backend, pixel_weight)
            results.append(result)
        result = sum(results) / len(results)
        return result if pixel_weight is not None else result.unflatten(0, shape[:2])


def _luma(image: torch.Tensor) -> torch.Tensor:
    if image.shape[1] == 1:
        return image
    if image.shape[1] != 3:
        raise ValueError(f'gray needs images of 1 or 3 channels, got {image.shape[1]}')
    return sum(part * image[:, channel : channel + 1] for channel, part in enumerate(LUMA))


def _in_unit_range(image: torch.Tensor, options: DensityOptions) -> torch.Tensor:
    low, high = options.value_range
    clamped = image.clamp(low, high)
    if options.clamp_grad == 'straight_through':
        clamped = image + (clamped - image).detach()
    return (clamped - low) / (high - low)


def _bandwidths(target: torch.Tensor, options: DensityOptions) -> torch.Tensor:
    """Bandwidth of each plane (P, H, W), in levels, as (P, 1)."""
    pixels = target.flatten(1)
    if options.bandwidth != 'silverman':
        return pixels.new_full((len(pixels), 1), float(options.bandwidth))
    spread = pixels.std(dim=1, unbiased=False, keepdim=True) * pixels.shape[1] ** (-1 / 6)
    return (spread / KERNELS[options.kernel].std).clamp_min(NARROWEST_BANDWIDTH)
