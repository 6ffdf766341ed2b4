"""Losses for BasicSR's loss registry. They need torch only, except MixedLoss, which reads BasicSR's registry.

`_plugin.REGISTERED` lists those that are registered.
"""

from basicsr_entropy.losses.blur_loss import GaussianBlurL1Loss
from basicsr_entropy.losses.calling import call_loss, check_call_signature
from basicsr_entropy.losses.entropy_loss import SpatialEntropyLoss
from basicsr_entropy.losses.mixed_loss import MixedLoss

__all__ = ['GaussianBlurL1Loss', 'MixedLoss', 'SpatialEntropyLoss', 'call_loss', 'check_call_signature']
