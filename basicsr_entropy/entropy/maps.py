"""A map of where two images differ in detail, to look at."""

import torch

from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.functional import spatial_divergence
from basicsr_entropy.entropy.neighbors import neighbor_weights

MAP_MAXIMUM = 0.6  # end of the color scale of pictures of the map

_OPTIONS = DensityOptions(unit_mass=True)


@torch.no_grad()
def detail_distance(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Aligned spatial-entropy distance of two images at every pixel: Hellinger, windows 1, 3 and 5, 32 levels.

    It is the same for all runs, whatever losses they train with, and draws no random numbers.

    Args:
        pred: Images (N, C, H, W) in [0, 1].
        target: Images of the same shape.

    Returns:
        Map (N, H, W), the mean over the channels, from 0 (equal) to 1.

    Raises:
        TypeError, ValueError: As in `spatial_divergence`.

    Example:
        >>> target = torch.rand(1, 3, 16, 16)
        >>> pred = target.clone()
        >>> pred[..., 8:] = 0.5
        >>> left, right = detail_distance(pred, target)[0].split(8, dim=1)
        >>> bool(left.mean() < right.mean() <= 1)
        True
    """
    weights = neighbor_weights('uniform')
    return spatial_divergence(pred, target, weights, options=_OPTIONS, align='local').mean(dim=1)
