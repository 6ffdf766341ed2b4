"""Losses for BasicSR's loss registry, listed in `_plugin.REGISTERED`.

They need torch only, except MixedLoss and GTMeanLoss, which read BasicSR's registry.
"""

from basicsr_entropy.losses.blur_loss import GaussianBlurL1Loss
from basicsr_entropy.losses.calling import build_loss, call_loss, check_call_signature
from basicsr_entropy.losses.entropy_loss import SpatialEntropyLoss
from basicsr_entropy.losses.gt_mean_loss import GTMeanLoss
from basicsr_entropy.losses.high_pass_loss import HighPassLoss
from basicsr_entropy.losses.mixed_loss import MixedLoss

__all__ = [
    'GTMeanLoss',
    'GaussianBlurL1Loss',
    'HighPassLoss',
    'MixedLoss',
    'SpatialEntropyLoss',
    'build_loss',
    'call_loss',
    'check_call_signature',
]
