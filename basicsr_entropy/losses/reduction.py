"""The reductions of BasicSR's losses, without BasicSR."""

from typing import Literal, get_args

import torch

from basicsr_entropy._checks import check_choice

Reduction = Literal['none', 'mean', 'sum']

REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def check_reduction(reduction: Reduction) -> None:
    """Raises a ValueError that begins with `reduction:` unless it is 'none', 'mean' or 'sum'."""
    check_choice('reduction', reduction, REDUCTIONS)


def weighted_reduction(loss: torch.Tensor, weight: torch.Tensor | None, reduction: Reduction) -> torch.Tensor:
    """Applies element-wise weights and a reduction, as BasicSR's losses do.

    Args:
        loss: Element-wise loss, shape (N, C, H, W).
        weight: Element-wise weights, shape (N, C or 1, H, W); None for no weights.
        reduction: 'none', 'mean' (with weights: the weighted mean) or 'sum'.

    Returns:
        Scalar, or the shape of `loss` for 'none'.

    Raises:
        ValueError: If the weights do not fit the loss.
    """
    if weight is not None:
        if weight.ndim != loss.ndim or weight.shape[1] not in (1, loss.shape[1]):
            raise ValueError(f'weight: must fit the loss of shape {tuple(loss.shape)}, got {tuple(weight.shape)}')
        loss = loss * weight
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        return loss.sum()
    if weight is None:
        return loss.mean()
    # a single-channel weight applies to every channel
    total = weight.sum() if weight.shape[1] > 1 else weight.sum() * loss.shape[1]
    return loss.sum() / total
