"""Schedules of the mean-reversion speed theta_t."""

import math
from collections.abc import Callable
from typing import Literal

import torch

from basicsr_entropy._checks import check_choice, check_integer

Schedule = Literal['cosine', 'linear', 'constant']


def cosine_theta(timesteps: int) -> torch.Tensor:
    """1 - f(s)/f(0) with f(s) = cos^2((s/S + 0.008)/1.008 * pi/2), s = 1..S-1, S = timesteps + 2."""
    total = timesteps + 2
    s = torch.linspace(0, total, total + 1, dtype=torch.float64)
    f = torch.cos((s / total + 0.008) / 1.008 * math.pi / 2) ** 2
    return 1 - f[1:-1] / f[0]


def linear_theta(timesteps: int) -> torch.Tensor:
    """Linear from 1e-4 to 0.02, both multiplied by 1000/(timesteps + 1)."""
    scale = 1000 / (timesteps + 1)
    return torch.linspace(scale * 1e-4, scale * 0.02, timesteps + 1, dtype=torch.float64)


def constant_theta(timesteps: int) -> torch.Tensor:
    """Ones."""
    return torch.ones(timesteps + 1, dtype=torch.float64)


MOST_TIMESTEPS = 1_000_000  # more is a mistake, and its tables would fill the memory
SCHEDULES: dict[Schedule, Callable[[int], torch.Tensor]] = {
    'cosine': cosine_theta,
    'linear': linear_theta,
    'constant': constant_theta,
}


def theta_schedule(schedule: Schedule, timesteps: int) -> torch.Tensor:
    """Mean-reversion speeds theta_0..theta_T, up to the factor dt that `MeanRevertingSDE` derives from eps.

    Luo et al., *Image Restoration with Mean-Reverting Stochastic Differential Equations*, ICML 2023.

    Args:
        schedule: 'cosine', 'linear' or 'constant'.
        timesteps: Number of timesteps T, at least 1.

    Returns:
        Float64 tensor of shape (T + 1,).

    Raises:
        ValueError: If the schedule is unknown, or T is not an integer of at least 1 and at most `MOST_TIMESTEPS`.
    """
    check_choice('schedule', schedule, SCHEDULES)
    check_integer('timesteps', timesteps, 1)
    if timesteps > MOST_TIMESTEPS:
        raise ValueError(f'timesteps: must be at most {MOST_TIMESTEPS}, got {timesteps}')
    return SCHEDULES[schedule](timesteps)
