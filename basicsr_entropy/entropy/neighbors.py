"""Neighbor values: for each pixel the weighted mean of the eight pixels around it."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch.nn import functional as F

NeighborName = Literal['random', 'normal', 'uniform', 'gaussian']
Neighbor = NeighborName | Sequence[Sequence[float]]  # a name, or a 3x3 nested list of weights

NEIGHBORS: tuple[NeighborName, ...] = get_args(NeighborName)
RANDOM_NEIGHBORS = ('random', 'normal')


def neighbor_weights(
    neighbor: Neighbor, device: torch.device | str | None = None, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Weights of the eight neighbors; random weights are drawn anew at each call.

    Args:
        neighbor: 'random' (uniform draws from (0, 1]), 'normal' (standard normal draws, as published; their sum may be
            near zero or negative, so that neighbor values leave the range), 'uniform' (all equal), 'gaussian'
            (exp(-r^2/2) at a distance of r pixels), or a 3x3 nested list of numbers, whose center is ignored.
        device: Device of the weights, on which random ones are drawn.
        dtype: Data type of the weights.

    Returns:
        Tensor of shape (3, 3) with center 0, not normalized.

    Raises:
        ValueError: If the name is unknown, a list is not 3x3, or its weights without the center sum to zero.

    Example:
        >>> neighbor_weights([[0, 1, 0], [1, 9, 1], [0, 1, 0]])
        tensor([[0., 1., 0.],
                [1., 0., 1.],
                [0., 1., 0.]], dtype=torch.float64)
    """
    if not isinstance(neighbor, str):
        weights = _from_list(neighbor, device, dtype)
    elif neighbor == 'random':
        weights = 1 - torch.rand(3, 3, device=device, dtype=dtype)  # (0, 1], so that the sum is never zero
    elif neighbor == 'normal':
        weights = torch.randn(3, 3, device=device, dtype=dtype)
    elif neighbor == 'uniform':
        weights = torch.ones(3, 3, device=device, dtype=dtype)
    elif neighbor == 'gaussian':
        edge, corner = math.exp(-0.5), math.exp(-1.0)
        rows = [[corner, edge, corner], [edge, 0, edge], [corner, edge, corner]]
        weights = torch.tensor(rows, device=device, dtype=dtype)
    else:
        raise ValueError(f'neighbor: must be one of {", ".join(NEIGHBORS)} or a 3x3 nested list, got {neighbor!r}')
    weights[1, 1] = 0
    return weights


def _from_list(
    neighbor: Sequence[Sequence[float]], device: torch.device | str | None, dtype: torch.dtype
) -> torch.Tensor:
    try:
        weights = torch.tensor([[float(value) for value in row] for row in neighbor], device=device, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f'neighbor: must be a 3x3 nested list of numbers, got {neighbor!r}') from error
    if weights.shape != (3, 3) or not torch.isfinite(weights).all():
        raise ValueError(f'neighbor: must be a 3x3 nested list of finite numbers, got {neighbor!r}')
    if (weights.sum() - weights[1, 1]).abs() < 1e-6:
        raise ValueError(f'neighbor: the weights without the center must not sum to zero, got {neighbor!r}')
    return weights


def neighbor_values(image: torch.Tensor, weights: torch.Tensor, across_channels: bool = False) -> torch.Tensor:
    """Weighted mean of each pixel's neighbors, with zero padding.

    Args:
        image: Shape (N, C, H, W).
        weights: Shape (3, 3), of any scale.
        across_channels: Divide by the sum of the weights over all channels, as published, which makes the result a
            weighted mean divided by C.

    Returns:
        Neighbor values of shape (N, C, H, W), in the unit of the image.
    """
    channels = image.shape[1]
    total = weights.sum() * (channels if across_channels else 1)
    normalized = (weights / total).to(image.dtype).expand(channels, 1, 3, 3)
    return F.conv2d(image, normalized, padding=1, groups=channels)
