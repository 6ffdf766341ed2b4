"""How fast the mean-reverting process forgets: theta_t, and the sums that follow from it."""

import math
from collections.abc import Callable

import torch

from basicsr_entropy._checks import check_choice, is_whole


def cosine_theta(timesteps: int) -> torch.Tensor:
    """1 - f(s)/f(0) with f(s) = cos^2((s/S + 0.008)/1.008 * pi/2), s = 1..S-1, S = timesteps + 2."""
    total = timesteps + 2
    s = torch.linspace(0, total, total + 1, dtype=torch.float64)
    f = torch.cos((s / total + 0.008) / 1.008 * math.pi / 2) ** 2
    return 1 - f[1:-1] / f[0]


def linear_theta(timesteps: int) -> torch.Tensor:
    """Straight line from 1e-4 to 0.02, both times 1000/(timesteps + 1)."""
    scale = 1000 / (timesteps + 1)
    return torch.linspace(scale * 1e-4, scale * 0.02, timesteps + 1, dtype=torch.float64)


def constant_theta(timesteps: int) -> torch.Tensor:
    """Ones."""
    return torch.ones(timesteps + 1, dtype=torch.float64)


THETA_SCHEDULES: dict[str, Callable[[int], torch.Tensor]] = {
    'cosine': cosine_theta,
    'linear': linear_theta,
    'constant': constant_theta,
}


def theta_schedule(name: str, timesteps: int) -> torch.Tensor:
    """Mean-reversion speeds theta_0..theta_T.

    Luo et al., *Image Restoration with Mean-Reverting Stochastic Differential Equations*, ICML 2023.

    Args:
        name: 'cosine', 'linear' or 'constant'.
        timesteps: T, at least 1.

    Returns:
        Float64 tensor of shape (T + 1,).

    Raises:
        ValueError: If the name is unknown or T is below 1.
    """
    check_choice('schedule', name, THETA_SCHEDULES)
    if not is_whole(timesteps, 1):
        raise ValueError(f'timesteps must be a whole number of at least 1, got {timesteps!r}')
    return THETA_SCHEDULES[name](timesteps)
