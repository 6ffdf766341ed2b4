"""Kernels of the density estimate over intensity levels, with their derivatives.

All are even densities of v = (level - value)/bandwidth, evaluated without overflow and without underflow to zero for
moderate v: the textbook form s(v)(1 - s(v)) of the logistic density is exactly 0 from |v| = 17 on in float32.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

KernelName = Literal['logistic', 'sech', 'gaussian']


def _log_logistic(v: torch.Tensor, nearest: torch.Tensor | float = 0.0) -> torch.Tensor:
    """log of the logistic density s(v)(1 - s(v)), s the logistic function."""
    distance = v.abs()
    return nearest - distance - 2 * torch.log1p(torch.exp(-distance))


def _log_sech(v: torch.Tensor, nearest: torch.Tensor | float = 0.0) -> torch.Tensor:
    """log of the hyperbolic secant density as published: 2/pi / (e^v + e^-v)."""
    distance = v.abs()
    return nearest - distance + math.log(2 / math.pi) - torch.log1p(torch.exp(-2 * distance))


def _log_gaussian(v: torch.Tensor, nearest: torch.Tensor | float = 0.0) -> torch.Tensor:
    """log of the standard normal density."""
    distance = v.abs()
    return 0.5 * (nearest - distance) * (nearest + distance) - 0.5 * math.log(2 * math.pi)


class Kernel(NamedTuple):
    """A kernel k.

    Attributes:
        log_density: log k(v); given the |v| of the nearest level, it leaves out a term of that |v| alone, the same for
            all levels. Far from every level, where log k is large, differences between levels then stay exact.
        decline: -k'(v)/k(v), bounded or linear in v, which keeps the relative precision of k' where k is tiny.
        std: Standard deviation of k, by which bandwidth rules are made comparable between kernels.
        reach: |v| beyond which less than `TRUNCATED_MASS` of the mass lies; fast backends truncate the kernel there.
    """

    log_density: Callable[..., torch.Tensor]
    decline: Callable[[torch.Tensor], torch.Tensor]
    std: float
    reach: float

    def density(self, v: torch.Tensor) -> torch.Tensor:
        """k(v)."""
        return self.log_density(v).exp_()


TRUNCATED_MASS = 1.5e-5  # bound on the mass of a kernel beyond its reach, both sides together

KERNELS: dict[KernelName, Kernel] = {
    'logistic': Kernel(_log_logistic, lambda v: torch.tanh(0.5 * v), math.pi / math.sqrt(3), 12.0),
    'sech': Kernel(_log_sech, torch.tanh, math.pi / 2, 12.0),
    'gaussian': Kernel(_log_gaussian, lambda v: v, 1.0, 4.4),
}


def reach_for(functional: str, kernel: KernelName) -> float:
    """Reach in bandwidths for a divergence or 'shannon', whose terms weight the tail by its logarithm."""
    return KERNELS[kernel].reach * (1.3 if functional == 'shannon' else 1)


def level_densities(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> torch.Tensor:
    """Kernel densities a_i = k((i - value)/h) at the levels i = 0..L-1; differentiable by autograd.

    Args:
        values: Intensities in levels, shape (P, M).
        bandwidth: h in levels, shape (P, 1).
        kernel: The kernel k.
        levels: Number of levels L.
        unit_mass: Divide by the sum over levels, so that values at or beyond the ends of the range lose no mass.

    Returns:
        Densities of shape (P, L, M), not divided by h.
    """
    v = _standardized(values, bandwidth, levels)
    return _unit_mass_densities(v, kernel) if unit_mass else kernel.density(v)


def level_density_slopes(
    values: torch.Tensor, bandwidth: torch.Tensor, kernel: Kernel, levels: int, unit_mass: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same a_i and their derivatives w.r.t. the value: (a_i, da_i/dvalue), each (P, L, M)."""
    v = _standardized(values, bandwidth, levels)
    if not unit_mass:
        density = kernel.density(v)
        return density, kernel.decline(v).mul_(density).div_(bandwidth[:, None])
    density = _unit_mass_densities(v, kernel)
    # relative to the nearest level, because only differences count, and those of large declines would be rounded
    decline = kernel.decline(v) - kernel.decline(v.gather(1, _nearest(v)))
    slope = decline.mul_(density).div_(bandwidth[:, None])
    return density, slope - density * slope.sum(dim=1, keepdim=True)


def _unit_mass_densities(v: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    # where the kernel is narrow or values lie far outside the range, all densities underflow, and their sum would be 0
    nearest = v.detach().gather(1, _nearest(v)).abs()
    return torch.softmax(kernel.log_density(v, nearest), dim=1)


def _nearest(v: torch.Tensor) -> torch.Tensor:
    """Index of the nearest level of each pixel, (P, 1, M)."""
    return v.detach().abs().argmin(dim=1, keepdim=True)


def _standardized(values: torch.Tensor, bandwidth: torch.Tensor, levels: int) -> torch.Tensor:
    index = torch.arange(levels, dtype=values.dtype, device=values.device)
    return (index[:, None] - values[:, None]) / bandwidth[:, None]
