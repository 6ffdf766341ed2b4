"""Losses for BasicSR's loss registry."""

from basicsr_entropy.losses.blur_loss import GaussianBlurL1Loss
from basicsr_entropy.losses.entropy_loss import SpatialEntropyLoss
from basicsr_entropy.losses.mixed_loss import MixedLoss, check_comparing, compare

__all__ = ['GaussianBlurL1Loss', 'MixedLoss', 'SpatialEntropyLoss', 'check_comparing', 'compare']
