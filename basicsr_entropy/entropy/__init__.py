"""Differentiable spatial entropy of images. Depends on torch only: no BasicSR, no diffusion."""

from basicsr_entropy.entropy.alignment import ALIGN, aligned
from basicsr_entropy.entropy.backends import BACKENDS
from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.divergences import DIVERGENCES
from basicsr_entropy.entropy.functional import check_images, spatial_divergence, spatial_entropy
from basicsr_entropy.entropy.kernels import KERNELS
from basicsr_entropy.entropy.maps import MAP_MAXIMUM, detail_distance
from basicsr_entropy.entropy.neighbors import NEIGHBORS, neighbor_weights

__all__ = [
    'ALIGN',
    'BACKENDS',
    'DIVERGENCES',
    'KERNELS',
    'MAP_MAXIMUM',
    'NEIGHBORS',
    'DensityOptions',
    'aligned',
    'check_images',
    'detail_distance',
    'neighbor_weights',
    'spatial_divergence',
    'spatial_entropy',
]
