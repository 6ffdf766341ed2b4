"""The mean-reverting diffusion process and its samplers. Depends on torch only: no BasicSR, no network, no loss."""

from basicsr_entropy.diffusion.condition import LIFTS, Condition
from basicsr_entropy.diffusion.ensemble import SelfEnsemble
from basicsr_entropy.diffusion.process import PREDICTIONS, MeanRevertingSDE
from basicsr_entropy.diffusion.samplers import FORMS, ORDERS, SAMPLERS, Network, Sampler, StepAware, sample
from basicsr_entropy.diffusion.schedule import SCHEDULES, theta_schedule
from basicsr_entropy.diffusion.spacing import SPACINGS
from basicsr_entropy.diffusion.tiling import MODES, TiledNetwork, Tiling, sample_tiled

__all__ = [
    'FORMS',
    'LIFTS',
    'MODES',
    'ORDERS',
    'PREDICTIONS',
    'SAMPLERS',
    'SCHEDULES',
    'SPACINGS',
    'Condition',
    'MeanRevertingSDE',
    'Network',
    'Sampler',
    'SelfEnsemble',
    'StepAware',
    'TiledNetwork',
    'Tiling',
    'sample',
    'sample_tiled',
    'theta_schedule',
]
