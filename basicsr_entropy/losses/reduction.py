"""The reductions of BasicSR's losses, without BasicSR."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from basicsr_entropy._checks import check_choice
from basicsr_entropy.losses.inputs import at_least_float32

Reduction = Literal['none', 'mean', 'sum']

REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def check_reduction(reduction: Reduction) -> None:
    """Raises a ValueError that begins with `reduction:` unless it is 'none', 'mean' or 'sum'."""
    check_choice('reduction', reduction, REDUCTIONS)


def weighted_reduction(loss: torch.Tensor, weight: torch.Tensor | None, reduction: Reduction) -> torch.Tensor:
    """Applies element-wise weights and a reduction, as BasicSR's losses do.

    Args:
        loss: Element-wise loss, shape (N, C, H, W).
        weight: Element-wise weights, as in `expanded_weight`; None for no weights.
        reduction: 'none', 'mean' (with weights: the weighted mean) or 'sum'.

    Returns:
        Scalar, or the shape of `loss` for 'none'.

    Raises:
        ValueError: If the weights do not fit the loss.
    """
    if weight is not None:
        weight = expanded_weight(weight, loss.shape)
        loss = loss * weight
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        return loss.sum()
    return loss.mean() if weight is None else loss.sum() / weight.sum()


def expanded_weight(weight: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Element-wise weights in the shape of a loss.

    Args:
        weight: Four dimensions, each of the loss's size or 1.
        shape: Shape (N, C, H, W) of the loss.

    Raises:
        ValueError: If the weights do not fit.
    """
    if weight.ndim != len(shape) or any(own not in (1, wanted) for own, wanted in zip(weight.shape, shape)):
        raise ValueError(f'weight: must fit the loss of shape {tuple(shape)}, got {tuple(weight.shape)}')
    return at_least_float32(weight).expand(shape)  # the sum of many weights overflows in half precision
