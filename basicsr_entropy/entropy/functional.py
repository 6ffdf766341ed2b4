"""Spatial entropy as functions: divergence between two images, entropy of one image.

Lian, Lian and Luo, *Equipping Diffusion Models with Differentiable Spatial Entropy for Low-Light Image Enhancement*,
CVPRW 2024. Every pixel has a value and a neighbor value. Kernel density estimates of both over L intensity levels, and
the mean of their product over a local window, give the local joint density of L x L bins, whose entropy is measured.
"""

import torch

from basicsr_entropy._checks import check_choice, check_positive
from basicsr_entropy._color import LUMA
from basicsr_entropy.entropy.alignment import ALIGN, Align, aligned
from basicsr_entropy.entropy.backends import BACKENDS, BackendName, local_divergence
from basicsr_entropy.entropy.density import DEFAULT_OPTIONS, DensityOptions
from basicsr_entropy.entropy.divergences import DIVERGENCES, FUNCTIONALS, DivergenceName
from basicsr_entropy.entropy.histogram import global_divergence
from basicsr_entropy.entropy.kernels import KERNELS
from basicsr_entropy.entropy.neighbors import neighbor_values

MIN_SILVERMAN_BANDWIDTH = 0.5  # levels; a narrower kernel has almost no mass at the levels around a value


def spatial_divergence(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    divergence: DivergenceName = 'hellinger',
    options: DensityOptions = DEFAULT_OPTIONS,
    pixel_weight: torch.Tensor | None = None,
    backend: BackendName = 'auto',
    align: Align = 'none',
    align_sigma: float = 4.0,
) -> torch.Tensor:
    """Divergence between the local joint densities of two images at every pixel.

    Args:
        pred: Images (N, C, H, W) of any float type; half precision is computed in float32. Differentiated.
        target: Images of the same shape; not differentiated.
        weights: Neighbor weights of shape (3, 3), see `neighbor_weights`.
        divergence: 'hellinger', 'relative', 'cross' or 'jensen_shannon'.
        options: How the densities are estimated.
        pixel_weight: Weights of the map's pixels, broadcastable to it; not differentiated. The result is then the
            weighted sum of the map, whose gradient fast backends compute in the same pass as the value.
        backend: 'eager' (plain torch, exact, any float type and device), 'compiled' (float32 on the CPU), 'triton'
            (float32 on CUDA devices), or 'auto' for the fastest that is available.
        align: Brightness of pred before the comparison: 'none' leaves it, 'mean' scales each image to the mean of its
            target, 'local' gives it the target's local mean; see `aligned`.
        align_sigma: Standard deviation in pixels of the Gaussian blur that defines the local mean, positive.

    Returns:
        Map of shape (N, C, H, W), averaged over windows; (N, C, 1, 1) for global windows; C is 1 if gray. In pred's
        type, or float32 for half precision. A scalar if there are pixel weights. Planes of the map are NaN, and so is
        the scalar, where pred or target has a value that is NaN or infinite, and their gradient is NaN: an error would
        have to wait for the device, and keep a gradient scaler from skipping the step.

    Raises:
        TypeError: If an image is not a floating-point tensor.
        ValueError: If shapes differ or are not (N, C, H, W), target requires a gradient, or an option is out of
            range; the message begins with the name of the argument.

    Example:
        >>> from basicsr_entropy.entropy import neighbor_weights
        >>> target = torch.rand(1, 3, 8, 8, dtype=torch.float64)
        >>> pred = (target + 0.1).requires_grad_()
        >>> divergence = spatial_divergence(pred, target, neighbor_weights('uniform'), options=DensityOptions(levels=8))
        >>> divergence.shape
        torch.Size([1, 3, 8, 8])
        >>> divergence.mean().backward()
        >>> bool(pred.grad.isfinite().all())
        True
    """
    check_choice('divergence', divergence, DIVERGENCES)
    check_choice('align', align, ALIGN)
    check_positive('align_sigma', align_sigma, 'pixels')
    check_images(pred, target)
    return _joint_functional(pred, target, weights, divergence, options, pixel_weight, backend, align, align_sigma)


def spatial_entropy(
    image: torch.Tensor,
    weights: torch.Tensor,
    options: DensityOptions = DEFAULT_OPTIONS,
    backend: BackendName = 'auto',
) -> torch.Tensor:
    """Shannon entropy in nats of the local joint density at every pixel; differentiable.

    Args:
        image: Images (N, C, H, W) of any float type; half precision is computed in float32.
        weights: Neighbor weights of shape (3, 3), see `neighbor_weights`.
        options: How the density is estimated.
        backend: As in `spatial_divergence`.

    Returns:
        Map, as in `spatial_divergence`.

    Raises:
        TypeError, ValueError: As in `spatial_divergence`.

    Example:
        A constant image has the lowest entropy, that of the kernel itself:

        >>> from basicsr_entropy.entropy import neighbor_weights
        >>> options = DensityOptions(levels=16, unit_mass=True)
        >>> images = torch.stack((torch.full((1, 12, 12), 0.5), torch.rand(1, 12, 12)))
        >>> constant, noise = spatial_entropy(images, neighbor_weights('uniform'), options, 'eager').mean(dim=(1, 2, 3))
        >>> bool(constant < noise)
        True
    """
    check_images(image, image.detach())
    return _joint_functional(image, image.detach(), weights, 'shannon', options, None, backend)


def check_images(pred: torch.Tensor, target: torch.Tensor) -> None:
    """Checks that two tensors are floating-point images (N, C, H, W) of the same shape, on one device.

    Raises:
        TypeError: If one is not a floating-point tensor.
        ValueError: If shapes or devices differ, or target requires a gradient.
    """
    for name, image in (('pred', pred), ('target', target)):
        if not isinstance(image, torch.Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
            raise TypeError(f'{name}: must be a floating-point tensor, got {kind}')
    if pred.ndim != 4 or pred.shape != target.shape or not pred.numel():
        raise ValueError(
            'pred: must be non-empty and have the same shape (N, C, H, W) as target, '
            f'got {tuple(pred.shape)} and {tuple(target.shape)}'
        )
    if pred.device != target.device:
        raise ValueError(f'pred: must be on the same device as target, {target.device}, got {pred.device}')
    if target.requires_grad:
        raise ValueError(
            'target: must not require a gradient, because the divergence is not differentiated w.r.t. the target; '
            'pass target.detach()'
        )


def _joint_functional(
    pred: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    functional: str,
    options: DensityOptions,
    pixel_weight: torch.Tensor | None,
    backend: str,
    align: Align = 'none',
    align_sigma: float = 4.0,
) -> torch.Tensor:
    check_choice('backend', backend, BACKENDS)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    # autocast would run convolutions and matrix products in half precision
    with torch.autocast(pred.device.type, enabled=False):
        pred, target = pred.to(dtype), target.to(dtype)
        unit_planes = []
        for image in (aligned(pred, target, align, align_sigma, options.value_range), target):
            value = _in_unit_range(_luma(image) if options.gray else image, options)
            neighbor = neighbor_values(value, weights.to(image.device), across_channels=options.published)
            unit_planes += [value.flatten(0, 1), neighbor.flatten(0, 1)]
        shape = value.shape
        # 1, but NaN for planes with a value that is not finite: backends may do anything with such values
        whole = 1 + 0 * (unit_planes[0] + unit_planes[2]).detach().sum(dim=(1, 2), keepdim=True)
        if pixel_weight is not None:
            result_shape = (*shape[:2], 1, 1) if options.is_global else shape
            pixel_weight = pixel_weight.to(dtype).expand(result_shape).flatten(0, 1) * whole
        results = []
        for resolution in options.resolutions:
            # pred values, pred neighbor values, target values, target neighbor values: (N*C, H, W) each, in levels
            planes = [plane * (resolution.level_count - 1) for plane in unit_planes]
            h = _bandwidths(planes[2], resolution)
            if options.is_global:
                result = global_divergence(planes, h, resolution, FUNCTIONALS[functional])[:, None, None]
                result = result if pixel_weight is None else (result * pixel_weight).sum()
            else:
                result = local_divergence(planes, h, resolution, functional, backend, pixel_weight)
            results.append(result)
        result = torch.stack(results).mean(dim=0)
        return result if pixel_weight is not None else (result * whole).unflatten(0, shape[:2])


def _luma(image: torch.Tensor) -> torch.Tensor:
    if image.shape[1] == 1:
        return image
    if image.shape[1] != 3:
        raise ValueError(f'gray: needs images with 1 or 3 channels, got {image.shape[1]}')
    red, green, blue = image.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _in_unit_range(image: torch.Tensor, options: DensityOptions) -> torch.Tensor:
    low, high = options.value_range
    clamped = image.clamp(low, high)
    if options.clamp_grad == 'straight_through':
        clamped = clamped.detach() + (image - image.detach())
    else:
        clamped = clamped + 0 * image  # infinity is not clamped, but becomes NaN, and so does its gradient
    return (clamped - low) / (high - low)


def _bandwidths(target: torch.Tensor, options: DensityOptions) -> torch.Tensor:
    """Bandwidth in levels for each plane of (P, H, W), as (P, 1)."""
    pixels = target.flatten(1)
    if options.bandwidth != 'silverman':
        return pixels.new_full((pixels.shape[0], 1), float(options.bandwidth))
    spread = pixels.std(dim=1, unbiased=False, keepdim=True) * pixels.shape[1] ** (-1 / 6)
    return (spread / KERNELS[options.kernel].std).clamp_min(MIN_SILVERMAN_BANDWIDTH)
