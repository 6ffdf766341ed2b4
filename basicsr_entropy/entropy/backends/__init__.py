"""Selection of a backend: eager is exact and runs anywhere, the others are fast, in float32 on one kind of device."""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch

from basicsr_entropy.entropy.backends import compiled, eager
from basicsr_entropy.entropy.backends.fused import FUSED, FusedBackend
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.entropy.density import DensityOptions

BackendName = Literal['auto', 'eager', 'compiled', 'triton']

BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

Function = TypeVar('Function', bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def local_divergence(
    images: Sequence[torch.Tensor],
    bandwidth: torch.Tensor,
    options: DensityOptions,
    divergence: str,
    backend: str,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Divergence of local joint densities at every pixel, computed by the given backend.

    Args:
        images: As in `eager.local_divergence`.
        bandwidth: As in `eager.local_divergence`.
        options: How the densities are estimated, with a single number of levels.
        divergence: Name of the divergence, or 'shannon'.
        backend: A name of `BACKENDS`.
        weight: Weights of the pixels, shape (P, H, W).

    Returns:
        Map of shape (P, H, W); with weights its weighted sum, whose gradient is faster to compute than the map's.

    Raises:
        ValueError: If the backend does not support the images' device or data type; begins with `backend:`.
    """
    settings, scale = Settings.of(options, divergence), options.scale(bandwidth)
    fused = _fused(_selected(backend, images[0]), divergence, options.level_count, options.radii)
    if fused is None:
        result = eager.local_divergence(images, bandwidth, scale, settings)
    elif weight is not None and torch.is_grad_enabled() and any(image.requires_grad for image in images[:2]):
        return fused.sum(*images, bandwidth, scale, weight, *settings)[0].sum()
    else:
        result = fused.map(*images, bandwidth, scale, *settings)
    return result if weight is None else (result * weight).sum()


def _selected(backend: str, image: torch.Tensor) -> str:
    """The backend for an image, one of `BACKENDS` but 'auto'."""
    device_type = image.device.type
    if backend == 'auto':
        fastest = {'cpu': 'compiled', 'cuda': 'triton'}.get(device_type, 'eager')
        return fastest if image.dtype == torch.float32 else 'eager'
    if backend != 'eager' and (device_type not in _devices(backend) or image.dtype != torch.float32):
        raise ValueError(
            f"backend: '{backend}' supports float32 on {_devices(backend)[0]} only, got {image.dtype} on "
            f"{image.device}; choose 'auto' or 'eager'"
        )
    return backend


def _constant(function: Function) -> Function:
    """As `torch.compiler.assume_constant_result`, which imports the compiler and numpy, and takes seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@_constant
def _devices(backend: str) -> tuple[str, ...]:
    """Device types that a fast backend supports; Triton's interpreter runs on the CPU too."""
    if backend == 'compiled':
        return ('cpu',)
    return ('cuda', 'cpu') if os.environ.get('TRITON_INTERPRET') == '1' else ('cuda',)


def _fused(backend: str, divergence: str, levels: int, radii: tuple[int, ...]) -> FusedBackend | None:
    """The operators of a backend; None for eager, and for a backend that is not available here."""
    return FUSED[backend] if backend != 'eager' and _is_available(backend, divergence, levels, radii) else None


@_constant
def _is_available(backend: str, divergence: str, levels: int, radii: tuple[int, ...]) -> bool:
    return compiled.is_available(divergence, levels, radii) if backend == 'compiled' else _import_triton()


@functools.cache
def _import_triton() -> bool:
    try:
        from basicsr_entropy.entropy.backends import triton_kernel  # noqa: F401  (defines its operators)
    except ImportError as error:
        _log.warning('The entropy loss uses the eager backend, which is slower than Triton: %s. Install triton.', error)
        return False
    return True
