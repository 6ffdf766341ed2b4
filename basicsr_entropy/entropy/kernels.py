"""Kernels that spread a pixel's value over the intensity levels, each with its derivative.

All are even densities of v = (level - value)/bandwidth, written so that no exponential overflows and none cancels to
zero early: s(v)(1 - s(v)) would be exactly 0 from |v| = 17 on in float32.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch


def logistic(v: torch.Tensor) -> torch.Tensor:
    """Density of the logistic distribution: s(v)(1 - s(v)) with s the logistic function."""
    decay = torch.exp(-v.abs())
    return decay / (1 + decay) ** 2


def sech(v: torch.Tensor) -> torch.Tensor:
    """Hyperbolic secant density as published: 2/pi / (e^v + e^-v)."""
    decay = torch.exp(-v.abs())
    return (2 / math.pi) * decay / (1 + decay**2)


def gaussian(v: torch.Tensor) -> torch.Tensor:
    """Standard normal density."""
    return torch.exp(-0.5 * v**2) / math.sqrt(2 * math.pi)


class Kernel(NamedTuple):
    """A kernel k.

    Attributes:
        density: k(v).
        decline: -k'(v)/k(v), bounded or linear in v, so that k' keeps its relative precision where k is tiny.
        std: Standard deviation of k, to give every kernel the same width under one rule for bandwidths.
    """

    density: Callable[[torch.Tensor], torch.Tensor]
    decline: Callable[[torch.Tensor], torch.Tensor]
    std: float


KERNELS: dict[str, Kernel] = {
    'logistic': Kernel(logistic, lambda v: torch.tanh(0.5 * v), math.pi / math.sqrt(3)),
    'sech': Kernel(sech, torch.tanh, math.pi / 2),
    'gaussian': Kernel(gaussian, lambda v: v, 1.0),
}


def level_densities(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> torch.Tensor:
    """a_i = k((i - value)/h) for the levels i = 0..L-1; differentiable by autograd.

    Args:
        values: Intensities in levels, shape (P, M).
        bandwidth: h in levels, shape (P, 1).
        kernel: The kernel k.
        levels: L.
        unit_mass: Divide by the sum over levels, so that values at the ends of the range lose no mass.

    Returns:
        Densities of shape (P, L, M), not divided by h.
    """
    v = _standardised(values, bandwidth, levels)
    density = kernel.density(v)
    return density / density.sum(dim=1, keepdim=True) if unit_mass else density


def level_density_slopes(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same a_i, and their derivatives by the value: (a_i, da_i/dvalue), each (P, L, M)."""
    v = _standardised(values, bandwidth, levels)
    density = kernel.density(v)
    slope = kernel.decline(v).mul_(density).div_(bandwidth[:, None])
    if unit_mass:
        total = density.sum(dim=1, keepdim=True)
        density = density / total
        slope = (slope - density * slope.sum(dim=1, keepdim=True)) / total
    return density, slope


def _standardised(values: torch.Tensor, bandwidth: torch.Tensor, levels: int) -> torch.Tensor:
    index = torch.arange(levels, dtype=values.dtype, device=values.device)
    return (index[:, None] - values[:, None]) / bandwidth[:, None]
