"""The mean-reverting diffusion process. Knows torch only: no BasicSR, no network, no loss."""

from basicsr_entropy.diffusion.process import PREDICTIONS, MeanRevertingSDE
from basicsr_entropy.diffusion.samplers import SAMPLERS, sample, spaced_times
from basicsr_entropy.diffusion.schedule import THETA_SCHEDULES, theta_schedule

__all__ = ['PREDICTIONS', 'SAMPLERS', 'THETA_SCHEDULES', 'MeanRevertingSDE', 'sample', 'spaced_times', 'theta_schedule']
