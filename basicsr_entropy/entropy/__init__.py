"""Differentiable spatial entropy. Knows torch only: no BasicSR, no diffusion."""

from basicsr_entropy.entropy.divergences import DIVERGENCES
from basicsr_entropy.entropy.functional import (
    BACKENDS,
    check_images,
    check_options,
    spatial_divergence,
    spatial_entropy,
)
from basicsr_entropy.entropy.kernels import KERNELS
from basicsr_entropy.entropy.neighbors import NEIGHBORS, RANDOM_NEIGHBORS, neighbor_weights

__all__ = [
    'BACKENDS',
    'DIVERGENCES',
    'KERNELS',
    'NEIGHBORS',
    'RANDOM_NEIGHBORS',
    'check_images',
    'check_options',
    'neighbor_weights',
    'spatial_divergence',
    'spatial_entropy',
]
