"""At which times a sampler asks the network."""

import torch

from basicsr_entropy._checks import check_choice, is_whole
from basicsr_entropy.diffusion.process import MeanRevertingSDE

KARRAS_EXPONENT = 7


def trailing_times(process: MeanRevertingSDE, steps: int) -> list[float]:
    """Whole times from T to about T/steps, as evenly spaced from T to 0 as whole numbers allow."""
    return [float(round(process.timesteps * (steps - i) / steps)) for i in range(steps)]


def uniform_times(process: MeanRevertingSDE, steps: int) -> list[float]:
    """Evenly from T to 1."""
    return _ends(process, steps).tolist()


def log_snr_times(process: MeanRevertingSDE, steps: int) -> list[float]:
    """From T to 1, evenly in log(alpha/sigma_bar): exponential integrators then take steps of one length."""
    first, last = process.log_ratio_at(_ends(process, 2)).tolist()
    return _clamped(process, process.time_of(torch.linspace(first, last, steps, dtype=torch.float64)))


def karras_times(process: MeanRevertingSDE, steps: int) -> list[float]:
    """From T to 1, evenly in the seventh root of sigma_bar/alpha (Karras et al., NeurIPS 2022, equation 5)."""
    first, last = torch.exp(-process.log_ratio_at(_ends(process, 2)) / KARRAS_EXPONENT).tolist()
    roots = torch.linspace(first, last, steps, dtype=torch.float64)
    return _clamped(process, process.time_of(-KARRAS_EXPONENT * roots.log()))


def _ends(process: MeanRevertingSDE, steps: int) -> torch.Tensor:
    return torch.linspace(process.timesteps, 1, steps, dtype=torch.float64, device=process.decay.device)


def _clamped(process: MeanRevertingSDE, times: torch.Tensor) -> list[float]:
    """Rounding may leave 1..T, which is all that a network was trained on."""
    return times.clamp(1, process.timesteps).tolist()


SPACINGS = {'trailing': trailing_times, 'uniform': uniform_times, 'log_snr': log_snr_times, 'karras': karras_times}


def spaced_times(process: MeanRevertingSDE, steps: int | None = None, spacing: str = 'trailing') -> list[float]:
    """Times T = t_0 > t_1 > ... > t_steps = 0, of which the network sees all but the last.

    Args:
        process: The SDE.
        steps: Network evaluations, 1..T; T by default.
        spacing: 'trailing' (whole times, the last of them about T/steps), or 'uniform', 'log_snr' or 'karras', which
            are fractional and end at 1.

    Raises:
        ValueError: If steps is not in 1..T or the spacing is unknown; the message begins with the name.
    """
    steps = process.timesteps if steps is None else steps
    if not is_whole(steps, 1) or steps > process.timesteps:
        raise ValueError(
            f'steps must be a whole number from 1 to {process.timesteps} (the timesteps of the sde), got {steps!r}'
        )
    check_choice('spacing', spacing, SPACINGS)
    return [*SPACINGS[spacing](process, steps), 0.0]
