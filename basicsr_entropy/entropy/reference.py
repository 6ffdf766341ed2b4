"""Reference formula of the spatial divergence: every bin at every pixel, differentiated by autograd, as published.

The backends are tested and benchmarked against it. Simple, slow, and with a memory use of gigabytes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch.nn import functional as F

from basicsr_entropy.entropy.divergences import DivergenceName
from basicsr_entropy.entropy.kernels import KernelName

KERNELS: dict[KernelName, Callable[[torch.Tensor], torch.Tensor]] = {
    'logistic': lambda v: torch.exp(-v.abs()) / (1 + torch.exp(-v.abs())) ** 2,
    'sech': lambda v: 2 / math.pi / (torch.exp(v) + torch.exp(-v)),
    'gaussian': lambda v: torch.exp(-(v**2) / 2) / math.sqrt(2 * math.pi),
}


def divergence_map(
    name: DivergenceName, pred: torch.Tensor, target: torch.Tensor, eps: float = 1e-10, **options: Any
) -> torch.Tensor:
    """Divergence at every pixel, averaged over windows.

    Args:
        name: 'hellinger', 'relative', 'cross' or 'jensen_shannon'.
        pred: Prediction, shape (N, C, H, W).
        target: Target, same shape.
        eps: Added to densities inside logarithms.
        **options: Arguments of `joint_densities`.

    Returns:
        Map of shape (N, C, H, W); (N, C, 1, 1) for global windows.
    """
    maps = []
    for p, q in zip(joint_densities(target, **options), joint_densities(pred, **options)):
        log_p, log_q = torch.log(p + eps), torch.log(q + eps)
        if name == 'relative':
            terms = p * (log_p - log_q)
        elif name == 'cross':
            terms = -p * log_q
        elif name == 'jensen_shannon':
            log_m = torch.log((p + q) / 2 + eps)
            terms = (p * (log_p - log_m) + q * (log_q - log_m)) / 2
        elif name == 'hellinger':
            terms = (p.sqrt() - q.sqrt()) ** 2 / 2
        total = terms.sum(dim=(1, 2))
        maps.append(total.sqrt() if name == 'hellinger' else total)
    return torch.stack(maps).mean(dim=0)


def joint_densities(
    image: torch.Tensor,
    weights: torch.Tensor,
    levels: int,
    bandwidth: float = 0.5,
    windows: Sequence[int] | Literal['global'] = (1, 3, 5),
    kernel: KernelName = 'logistic',
    published: bool = False,
    value_range: Sequence[float] = (0, 1),
) -> list[torch.Tensor]:
    """Joint densities of neighbor value and value for each window.

    Args:
        image: Shape (N, C, H, W).
        weights: Neighbor weights of shape (3, 3).
        levels: Number of intensity levels L.
        bandwidth: Bandwidth of the kernel in levels.
        windows: Side lengths of the windows in pixels, or 'global'.
        kernel: Name of the kernel.
        published: Follow the conventions of the published program; see `DensityOptions.neighbor_norm`.
        value_range: Values of the first and the last level.

    Returns:
        One density (N, L, L, C, H, W) per window: neighbor level first, then value level.
    """
    channels = image.shape[1]
    low, high = value_range
    value = (image.clamp(low, high) - low) / (high - low) * (levels - 1)
    weights = weights.clone()
    weights[1, 1] = 0
    convolution = (weights / (weights.sum() * (channels if published else 1))).expand(channels, 1, 3, 3)
    neighbor = F.conv2d(value, convolution.to(value.dtype), padding=1, groups=channels)
    index = torch.arange(levels, dtype=image.dtype, device=image.device).view(1, -1, 1, 1, 1)
    a = KERNELS[kernel]((index - value[:, None]) / bandwidth)
    b = KERNELS[kernel]((index - neighbor[:, None]) / bandwidth)
    product = b[:, :, None] * a[:, None] / (0.5 * bandwidth if published else bandwidth**2)
    if windows == 'global':
        return [product.mean(dim=(-2, -1), keepdim=True)]
    height, width = image.shape[-2:]
    flat = product.reshape(-1, 1, height, width)
    return [F.avg_pool2d(flat, side, 1, side // 2, count_include_pad=True).view_as(product) for side in windows]
