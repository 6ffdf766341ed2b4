"""The reductions of BasicSR's losses, on torch alone."""

import torch

from basicsr_entropy._checks import check_choice

REDUCTIONS = ('none', 'mean', 'sum')


def check_reduction(reduction: str) -> None:
    """Raises a ValueError unless reduction is 'none', 'mean' or 'sum'."""
    check_choice('reduction', reduction, REDUCTIONS)


def weighted_reduction(loss: torch.Tensor, weight: torch.Tensor | None, reduction: str) -> torch.Tensor:
    """Applies element-wise weights and a reduction as BasicSR's losses do.

    Args:
        loss: Element-wise loss, shape (N, C, H, W).
        weight: Shape (N, C or 1, H, W); None for no weights.
        reduction: 'none', 'mean' (with weights: the weighted mean) or 'sum'.

    Returns:
        Scalar, or the shape of `loss` for 'none'.

    Raises:
        ValueError: If the weights do not fit the loss.
    """
    if weight is not None:
        if weight.ndim != loss.ndim or weight.shape[1] not in (1, loss.shape[1]):
            raise ValueError(f'weight must fit the loss {tuple(loss.shape)}, got {tuple(weight.shape)}')
        loss = loss * weight
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        return loss.sum()
    if weight is None:
        return loss.mean()
    # one weight for all channels counts once for each of them
    total = weight.sum() if weight.shape[1] > 1 else weight.sum() * loss.shape[1]
    return loss.sum() / total
