"""The neighbour value of a pixel: a weighted mean of the eight pixels around it."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

NEIGHBORS = ('random', 'normal', 'uniform', 'gaussian')
RANDOM_NEIGHBORS = ('random', 'normal')


def neighbor_weights(
    neighbor: str | Sequence[Sequence[float]], device: torch.device | None = None, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Weights of the eight neighbours, drawn anew at each call where they are random.

    Args:
        neighbor: 'random' (uniform draws from (0, 1)), 'normal' (standard normal draws, as published; their sum may be
            near zero or negative, so that neighbour values leave the range), 'uniform' (all equal), 'gaussian'
            (exp(-r^2/2) at distance r pixels), or a nested list of 3x3 numbers.
        device: Where the weights live; random ones are drawn there.
        dtype: Their type.

    Returns:
        Tensor of shape (3, 3), its centre 0, not normalised.

    Raises:
        ValueError: If the name is unknown, a list is not 3x3, or its weights off the centre sum to zero.
    """
    options = {'device': device, 'dtype': dtype}
    if not isinstance(neighbor, str):
        weights = _listed(neighbor, options)
    elif neighbor == 'random':
        weights = 1 - torch.rand(3, 3, **options)  # (0, 1]: never all zero
    elif neighbor == 'normal':
        weights = torch.randn(3, 3, **options)
    elif neighbor == 'uniform':
        weights = torch.ones(3, 3, **options)
    elif neighbor == 'gaussian':
        edge, corner = math.exp(-0.5), math.exp(-1.0)
        weights = torch.tensor([[corner, edge, corner], [edge, 0, edge], [corner, edge, corner]], **options)
    else:
        raise ValueError(f"neighbor must be one of {', '.join(NEIGHBORS)} or a 3x3 nested list, got '{neighbor}'")
    weights[1, 1] = 0
    return weights


def _listed(neighbor: Sequence[Sequence[float]], options: dict) -> torch.Tensor:
    try:
        weights = torch.tensor([[float(value) for value in row] for row in neighbor], **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f'neighbor must be a 3x3 nested list of numbers, got {neighbor!r}') from error
    if weights.shape != (3, 3) or not torch.isfinite(weights).all():
        raise ValueError(f'neighbor must be a 3x3 nested list of finite numbers, got {neighbor!r}')
    if (weights.sum() - weights[1, 1]).abs() < 1e-6:
        raise ValueError(f'the neighbour weights off the centre must not sum to zero, got {neighbor!r}')
    return weights


def neighbor_values(image: torch.Tensor, weights: torch.Tensor, across_channels: bool = False) -> torch.Tensor:
    """Weighted mean of each pixel's neighbours, zeros beyond the border.

    Args:
        image: Shape (N, C, H, W).
        weights: Shape (3, 3), any scale.
        across_channels: Divide by the sum of the weights over all channels, as published: C times too much.

    Returns:
        Neighbour values of shape (N, C, H, W), in the unit of the image.
    """
    channels = image.shape[1]
    total = weights.sum() * (channels if across_channels else 1)
    kernel = (weights / total).to(image.dtype).expand(channels, 1, 3, 3)
    return F.conv2d(image, kernel, padding=1, groups=channels)
