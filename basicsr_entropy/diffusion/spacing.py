"""Timestep spacing: the timesteps at which a sampler evaluates the network."""

from collections.abc import Callable
from typing import Literal

import torch

from basicsr_entropy.diffusion.process import MeanRevertingSDE

Spacing = Literal['trailing', 'uniform', 'log_snr', 'karras']

KARRAS_EXPONENT = 7


def trailing_timesteps(process: MeanRevertingSDE, steps: int) -> list[float]:
    """Integers from T down to about T/steps, rounded from `steps` equal intervals between T and 0."""
    return [float(round(process.timesteps * (steps - i) / steps)) for i in range(steps)]


def uniform_timesteps(process: MeanRevertingSDE, steps: int) -> list[float]:
    """Evenly spaced from T to 1."""
    return _linspace(process, steps).tolist()


def log_snr_timesteps(process: MeanRevertingSDE, steps: int) -> list[float]:
    """From T to 1, evenly spaced in the half-logSNR, so that exponential integrators take steps of equal size."""
    first, last = process.half_log_snr(_linspace(process, 2)).tolist()
    lambdas = torch.linspace(first, last, steps, dtype=torch.float64)
    return _clamped(process, process.timestep_at_half_log_snr(lambdas))


def karras_timesteps(process: MeanRevertingSDE, steps: int) -> list[float]:
    """From T to 1, evenly spaced in (sigma_bar/alpha)^(1/7) (Karras et al., NeurIPS 2022, equation 5)."""
    first, last = torch.exp(-process.half_log_snr(_linspace(process, 2)) / KARRAS_EXPONENT).tolist()
    roots = torch.linspace(first, last, steps, dtype=torch.float64)
    return _clamped(process, process.timestep_at_half_log_snr(-KARRAS_EXPONENT * roots.log()))


SPACINGS: dict[Spacing, Callable[[MeanRevertingSDE, int], list[float]]] = {
    'trailing': trailing_timesteps,
    'uniform': uniform_timesteps,
    'log_snr': log_snr_timesteps,
    'karras': karras_timesteps,
}


def _linspace(process: MeanRevertingSDE, steps: int) -> torch.Tensor:
    return torch.linspace(process.timesteps, 1, steps, dtype=torch.float64, device=process.decay.device)


def _clamped(process: MeanRevertingSDE, timesteps: torch.Tensor) -> list[float]:
    """Clamps to 1..T, the range a network is trained on, which rounding errors may exceed."""
    return timesteps.clamp(1, process.timesteps).tolist()
