"""Selection of a backend: eager is exact and runs anywhere, the others are fast, in float32 on one kind of device."""

import functools
import logging
import os
from collections.abc import Sequence
from typing import Literal, get_args

import torch

from basicsr_entropy.entropy.backends import eager
from basicsr_entropy.entropy.backends.fused import DivergenceMap, DivergenceSum, Launch
from basicsr_entropy.entropy.density import DensityOptions

BackendName = Literal['auto', 'eager', 'compiled', 'triton']

BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

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
        options: As in `eager.local_divergence`.
        divergence: As in `eager.local_divergence`.
        backend: A name of `BACKENDS`.
        weight: Weights of the pixels, broadcastable to (P, H, W).

    Returns:
        Map of shape (P, H, W); with weights its weighted sum, whose gradient is faster to compute than the map's.

    Raises:
        ValueError: If the backend does not support the images' device or data type; begins with `backend:`.
    """
    launch = _launch(backend, images[0], options, divergence)
    if launch is None:
        result = eager.local_divergence(images, bandwidth, options, divergence)
        return result if weight is None else (result * weight).sum()
    if weight is None:
        return DivergenceMap.apply(*images, bandwidth, launch, options, divergence)
    return DivergenceSum.apply(*images, bandwidth, weight, launch, options, divergence)


def _launch(backend: str, image: torch.Tensor, options: DensityOptions, divergence: str) -> Launch | None:
    """The fast backend's computation, or None for eager."""
    if backend == 'eager':
        return None
    device_type = image.device.type
    if backend == 'auto':
        fastest = {'cpu': 'compiled', 'cuda': 'triton'}.get(device_type, 'eager')
        backend = fastest if image.dtype == torch.float32 else 'eager'
    elif device_type not in _devices(backend) or image.dtype != torch.float32:
        raise ValueError(
            f"backend: '{backend}' supports float32 on {_devices(backend)[0]} only, got {image.dtype} on "
            f"{image.device}; choose 'auto' or 'eager'"
        )
    if backend == 'compiled':
        from basicsr_entropy.entropy.backends import compiled

        return compiled.load(options, divergence)
    if backend == 'triton':
        return _triton()
    return None


def _devices(backend: str) -> tuple[str, ...]:
    """Device types that a fast backend supports; Triton's interpreter runs on the CPU too."""
    if backend == 'compiled':
        return ('cpu',)
    return ('cuda', 'cpu') if os.environ.get('TRITON_INTERPRET') == '1' else ('cuda',)


@functools.cache
def _triton() -> Launch | None:
    try:
        from basicsr_entropy.entropy.backends import triton_kernel
    except ImportError as error:
        _log.warning('The entropy loss uses the eager backend, which is slower than Triton: %s. Install triton.', error)
        return None
    return triton_kernel.launch
