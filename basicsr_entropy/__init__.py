"""Differentiable spatial entropy and mean-reverting diffusion for low-light images, as a plugin for BasicSR.

Importing the package is enough for BasicSR: option files may then name its losses, networks, models, datasets and
metrics. Where basicsr is not installed, `entropy`, `diffusion` and the losses work on torch alone.
"""

import importlib
from types import ModuleType
from typing import Any

from basicsr_entropy import _plugin
from basicsr_entropy._version import __version__

__all__ = ['__version__', 'register']

_ROOMS = ('archs', 'config', 'data', 'diffusion', 'entropy', 'inference', 'losses', 'metrics', 'models', 'training')

_plugin.install()


def register(registry: Any) -> None:
    """Puts the losses into a registry of another framework, under their own names.

    Args:
        registry: An object with a method `register(cls)`, as those of BasicSR, neosr and traiNNer-redux, or with
            `register_module(module=cls)`, as mmengine's.

    Raises:
        TypeError: If the registry has neither method.
    """
    from basicsr_entropy.losses import GaussianBlurL1Loss, HighPassLoss, SpatialEntropyLoss

    for loss in (SpatialEntropyLoss, GaussianBlurL1Loss, HighPassLoss):
        if hasattr(registry, 'register'):
            registry.register(loss)
        elif hasattr(registry, 'register_module'):
            registry.register_module(module=loss)
        else:
            raise TypeError(f'{type(registry).__name__} is no registry: it has neither register nor register_module')


def __getattr__(name: str) -> ModuleType:
    """Subpackages load when they are asked for: torch and basicsr take seconds to import."""
    if name in _ROOMS:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
