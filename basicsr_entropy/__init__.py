"""Differentiable spatial entropy and mean-reverting diffusion for low-light images, as a plugin for BasicSR.

Importing the package is enough: option files may then name its losses, networks, models, datasets and metrics.
"""

from basicsr_entropy import _compat

_compat.before_import()

from basicsr.utils import registry as _basicsr  # noqa: E402

from basicsr_entropy import archs, data, losses, metrics, models  # noqa: E402
from basicsr_entropy._registry import register as _register  # noqa: E402

__version__ = '0.1.0'

_compat.after_import()
_register(_basicsr.LOSS_REGISTRY, (losses.SpatialEntropyLoss, losses.MixedLoss, losses.GaussianBlurL1Loss))
_register(_basicsr.ARCH_REGISTRY, (archs.ConditionalNAFNet, archs.ConditionalUNet))
_register(_basicsr.MODEL_REGISTRY, (models.IRSDEModel, models.ProgressiveSRModel))
_register(_basicsr.DATASET_REGISTRY, (data.LowLightPairedDataset, data.SyntheticLowLightDataset))
_register(
    _basicsr.METRIC_REGISTRY, (metrics.calculate_psnr_gt_mean, metrics.calculate_ssim_gt_mean, metrics.calculate_lpips)
)
