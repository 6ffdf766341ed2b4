"""Kernels that spread a pixel's value over the intensity levels, each with its derivative.

All are even densities of v = (level - value)/bandwidth, written so that no exponential overflows and none cancels to
zero early: s(v)(1 - s(v)) would be exactly 0 from |v| = 17 on in float32.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch


def _logistic(v: torch.Tensor) -> torch.Tensor:
    """s(v)(1 - s(v)) with s the logistic function."""
    away = v.abs()
    return -away - 2 * torch.log1p(torch.exp(-away))


def _sech(v: torch.Tensor) -> torch.Tensor:
    """Hyperbolic secant density as published: 2/pi / (e^v + e^-v)."""
    away = v.abs()
    return math.log(2 / math.pi) - away - torch.log1p(torch.exp(-2 * away))


def _gaussian(v: torch.Tensor) -> torch.Tensor:
    """Standard normal density."""
    return -0.5 * v**2 - 0.5 * math.log(2 * math.pi)


class Kernel(NamedTuple):
    """A kernel k.

    Attributes:
        log_density: log k(v).
        decline: -k'(v)/k(v), bounded or linear in v, so that k' keeps its relative precision where k is tiny.
        std: Standard deviation of k, to give every kernel the same width under one rule for bandwidths.
        reach: |v| beyond which lies less than `LEFT_OUT` of the mass, for backends that leave it out.
    """

    log_density: Callable[[torch.Tensor], torch.Tensor]
    decline: Callable[[torch.Tensor], torch.Tensor]
    std: float
    reach: float

    def density(self, v: torch.Tensor) -> torch.Tensor:
        """k(v)."""
        return self.log_density(v).exp_()


LEFT_OUT = 1.5e-5  # mass of a kernel beyond its reach, both sides together

KERNELS: dict[str, Kernel] = {
    'logistic': Kernel(_logistic, lambda v: torch.tanh(0.5 * v), math.pi / math.sqrt(3), 12.0),
    'sech': Kernel(_sech, torch.tanh, math.pi / 2, 12.0),
    'gaussian': Kernel(_gaussian, lambda v: v, 1.0, 4.4),
}


def reach_for(functional: str, kernel: str) -> float:
    """Reach for a divergence or 'shannon', in bandwidths; an entropy's terms weigh the tail by its logarithm."""
    return KERNELS[kernel].reach * (1.3 if functional == 'shannon' else 1)


def level_densities(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> torch.Tensor:
    """a_i = k((i - value)/h) for the levels i = 0..L-1; differentiable by autograd.

    Args:
        values: Intensities in levels, shape (P, M).
        bandwidth: h in levels, shape (P, 1).
        kernel: The kernel k.
        levels: L.
        unit_mass: Divide by the sum over levels, so that values at or beyond the ends of the range lose no mass.

    Returns:
        Densities of shape (P, L, M), not divided by h.
    """
    return _densities(_standardised(values, bandwidth, levels), kernel, unit_mass)


def level_density_slopes(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same a_i, and their derivatives by the value: (a_i, da_i/dvalue), each (P, L, M)."""
    v = _standardised(values, bandwidth, levels)
    density = _densities(v, kernel, unit_mass)
    slope = kernel.decline(v).mul_(density).div_(bandwidth[:, None])
    if unit_mass:
        slope = slope - density * slope.sum(dim=1, keepdim=True)
    return density, slope


def _densities(v: torch.Tensor, kernel: Kernel, unit_mass: bool) -> torch.Tensor:
    # a softmax of logarithms: far beyond the range every density would vanish, and their sum with them
    return torch.softmax(kernel.log_density(v), dim=1) if unit_mass else kernel.density(v)


def _standardised(values: torch.Tensor, bandwidth: torch.Tensor, levels: int) -> torch.Tensor:
    index = torch.arange(levels, dtype=values.dtype, device=values.device)
    return (index[:, None] - values[:, None]) / bandwidth[:, None]
