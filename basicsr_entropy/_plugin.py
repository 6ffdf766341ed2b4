"""Plugs the package into BasicSR: when basicsr is imported, it is patched and its registries are filled.

The import of basicsr takes seconds, so this package does not trigger it. `install` adds a hook to Python's import
system that runs once, around the import of basicsr.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# by registry of basicsr.utils.registry: modules of this package, and the names that are registered from them
REGISTERED: dict[str, dict[str, tuple[str, ...]]] = {
    'LOSS_REGISTRY': {
        'losses.entropy_loss': ('SpatialEntropyLoss',),
        'losses.mixed_loss': ('MixedLoss',),
        'losses.blur_loss': ('GaussianBlurL1Loss',),
        'losses.high_pass_loss': ('HighPassLoss',),
        'losses.gt_mean_loss': ('GTMeanLoss',),
    },
    'ARCH_REGISTRY': {
        'archs.conditional_nafnet_arch': ('ConditionalNAFNet',),
        'archs.conditional_unet_arch': ('ConditionalUNet',),
    },
    'MODEL_REGISTRY': {
        'models.irsde_model': ('IRSDEModel',),
        'models.progressive_model': ('ProgressiveSRModel',),
    },
    'DATASET_REGISTRY': {
        'data.datasets.lowlight_paired_dataset': ('LowLightPairedDataset',),
        'data.datasets.synthetic_lowlight_dataset': ('SyntheticLowLightDataset',),
    },
    'METRIC_REGISTRY': {
        'metrics.gt_mean_metric': ('calculate_psnr_gt_mean', 'calculate_ssim_gt_mean'),
        'metrics.lpips_metric': ('calculate_lpips',),
    },
}


def install() -> None:
    """Fills basicsr's registries, now if basicsr has been imported, else when it is. May be called repeatedly."""
    if 'basicsr' in sys.modules:
        _after_import()
    elif not any(isinstance(finder, _BasicSRHook) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BasicSRHook())


def _after_import() -> None:
    from basicsr.utils import registry as basicsr_registries

    from basicsr_entropy import _compat
    from basicsr_entropy._registry import register

    _compat.after_import()
    for registry, modules in REGISTERED.items():
        for module, names in modules.items():
            source = importlib.import_module(f'basicsr_entropy.{module}')
            register(getattr(basicsr_registries, registry), [getattr(source, name) for name in names])


class _BasicSRHook(MetaPathFinder):
    """Finds basicsr as Python would, and wraps the execution of its top-level module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != 'basicsr':
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            from basicsr_entropy import _compat

            _compat.before_import()
            execute(module)
            sys.meta_path.remove(self)
            _after_import()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
