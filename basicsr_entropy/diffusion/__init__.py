"""The mean-reverting diffusion process. Knows torch only: no BasicSR, no network, no loss."""

from basicsr_entropy.diffusion.process import PREDICTIONS, MeanRevertingSDE
from basicsr_entropy.diffusion.samplers import FORMS, ORDERS, SAMPLERS, sample, step_of
from basicsr_entropy.diffusion.schedule import THETA_SCHEDULES, theta_schedule
from basicsr_entropy.diffusion.spacing import SPACINGS, spaced_times

__all__ = [
    'FORMS',
    'ORDERS',
    'PREDICTIONS',
    'SAMPLERS',
    'SPACINGS',
    'THETA_SCHEDULES',
    'MeanRevertingSDE',
    'sample',
    'spaced_times',
    'step_of',
    'theta_schedule',
]
