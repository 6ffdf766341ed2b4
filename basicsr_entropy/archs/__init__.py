"""Networks for BasicSR's architecture registry."""

from basicsr_entropy.archs.conditional_nafnet_arch import ConditionalNAFNet
from basicsr_entropy.archs.conditional_unet_arch import ConditionalUNet

__all__ = ['ConditionalNAFNet', 'ConditionalUNet']
