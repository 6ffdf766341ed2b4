"""Alignment of brightness: a prediction is moved to the brightness of its target before the two are compared.

The levels of a joint density are absolute intensities. Where a prediction is brighter or darker than its target by more
than a few levels, the two densities do not meet, whatever their detail. Alignment takes that difference out, so that
many narrow levels compare detail; another loss has to correct brightness.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from basicsr_entropy._blur import blurred

Align = Literal['none', 'mean', 'local']
ALIGN: tuple[Align, ...] = get_args(Align)
MIN_MEAN = 1e-3  # of the value range: darker images count as this, so that the gain stays finite


def aligned(
    pred: torch.Tensor, target: torch.Tensor, align: Align, sigma: float, value_range: Sequence[float] = (0.0, 1.0)
) -> torch.Tensor:
    """A prediction at the brightness of its target.

    Args:
        pred: Images (N, C, H, W); differentiated, through the correction of brightness too.
        target: Images of the same shape.
        align: `none` returns pred. `mean` multiplies each image of pred, as a distance from the lower end of the value
            range, by a gain that gives it the mean of its target. `local` gives it the target's local mean in each
            channel: pred - blur(pred) + blur(target), with images reflected at their borders.
        sigma: Standard deviation in pixels of the Gaussian blur of `local`.
        value_range: Values of black and white.

    Returns:
        Shape of pred; pred where pred equals target.

    Example:
        >>> target = torch.rand(1, 3, 16, 16)
        >>> torch.allclose(aligned(0.25 * target, target, 'mean', 4.0), target, atol=1e-6)
        True
        >>> torch.allclose(aligned(target - 0.25, target, 'local', 4.0), target, atol=1e-6)
        True
    """
    if align == 'none':
        return pred
    if align == 'mean':
        low, high = value_range
        darkest = MIN_MEAN * (high - low)
        means = [(image - low).mean(dim=(1, 2, 3), keepdim=True).clamp_min(darkest) for image in (pred, target)]
        return (pred - low) * (means[1] / means[0]) + low
    # the blur is linear: blurring the difference is blurring both
    return pred + blurred(target - pred, sigma, 'reflect')
