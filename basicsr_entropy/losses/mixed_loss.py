"""A sum of registered losses in the place of one, and how any registered loss is called on two images."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


def check_comparing(loss: nn.Module, path: str) -> None:
    """Raises a ValueError unless the loss can be called as loss(pred) or loss(pred, target)."""
    needed = [p.name for p in _arguments(loss) if p.default is p.empty]
    if len(needed) > 2 or (len(needed) == 2 and needed[1] not in ('target', 'gt')):
        raise ValueError(
            f'{path}: {type(loss).__name__} takes ({", ".join(needed)}), so it does not compare a prediction with a '
            'target; use losses such as L1Loss, PerceptualLoss or SpatialEntropyLoss'
        )


def compare(loss: nn.Module, pred: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The terms of a registered loss: one, or perceptual and style loss as BasicSR's PerceptualLoss returns them.

    A loss of the prediction alone, such as WeightedTVLoss, is given no target.
    """
    needed = [p for p in _arguments(loss) if p.default is p.empty]
    value = loss(pred, target) if len(needed) == 2 else loss(pred)
    return tuple(term for term in value if term is not None) if isinstance(value, tuple) else (value,)


def _arguments(loss: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(loss.forward).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


class MixedLoss(nn.Module):
    """Sum of registered losses, for models that read one loss only.

    Args:
        losses: Options of each loss, with its `type`, e.g. [{type: L1Loss}, {type: SpatialEntropyLoss, levels: 16}].
        loss_weight: Factor of the sum.

    Raises:
        KeyError: If a type or an option of it is unknown.
        ValueError: If the list is empty, or a loss refuses an option or does not compare two images.
    """

    def __init__(self, losses: Sequence[Mapping[str, Any]], loss_weight: float = 1.0) -> None:
        # not at import: the other losses work on torch alone
        from basicsr.utils.registry import LOSS_REGISTRY

        from basicsr_entropy.config import build

        super().__init__()
        if isinstance(losses, (str, Mapping)) or not losses:
            raise ValueError(f'losses must be a list of loss options, got {losses!r}')
        self.loss_weight = loss_weight
        self.losses = nn.ModuleList()
        for index, options in enumerate(losses):
            loss = build(LOSS_REGISTRY, options, f'losses[{index}]')
            check_comparing(loss, f'losses[{index}]')
            self.losses.append(loss)

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs
    ) -> torch.Tensor:
        """Compares two batches of images.

        Args:
            pred: Shape (N, C, H, W).
            target: Same shape.
            weight: Must be None: not every loss takes weights. Here so that pixel losses' calls fit.

        Returns:
            Scalar.
        """
        if weight is not None:
            raise ValueError('MixedLoss takes no element-wise weight; give each of its losses its loss_weight')
        terms = [term for loss in self.losses for term in compare(loss, pred, target)]
        return self.loss_weight * torch.stack([term.float() for term in terms]).sum()
