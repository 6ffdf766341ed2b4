"""Weighted sum of registered losses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from basicsr_entropy.losses.calling import build_loss, call_loss
from basicsr_entropy.losses.inputs import at_least_float32


class MixedLoss(nn.Module):
    """Weighted sum of registered losses, for models that read one loss only, such as `pixel_opt` of BasicSR's SRModel.

    The models of BasicSR log each term beside the sum: `l_pix` and, for example, `l_pix_L1Loss`.

    Args:
        losses: List of the options of each loss: its `type`, a name in BasicSR's loss registry, its `loss_weight` and
            its other arguments; e.g. `[{type: L1Loss}, {type: SpatialEntropyLoss, loss_weight: 0.1, levels: 16}]`.
        loss_weight: Weight of the sum, by which its value is multiplied.

    Attributes:
        terms: Weighted value of each term in the last call, detached scalars whose sum is the loss. Named after the
            types of the losses, numbered from 1 where a type repeats (`L1Loss_1`, `L1Loss_2`), with the style loss of
            a PerceptualLoss as `PerceptualLoss_style`. Empty before the first call, and in copies.
        total: Value of the last call, detached; None before the first call, and in copies.

    Raises:
        KeyError: If a type or an option of a loss is unknown.
        ValueError: If the list is empty, or a loss rejects an option, does not compare two images or is not reduced to
            one number; the message begins with `losses`.

    Example:
        >>> loss = MixedLoss([{'type': 'L1Loss'}, {'type': 'MSELoss', 'loss_weight': 10}])
        >>> loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))
        tensor(3.)
        >>> loss.terms
        {'L1Loss': tensor(0.5000), 'MSELoss': tensor(2.5000)}
    """

    def __init__(self, losses: Sequence[Mapping[str, Any]], loss_weight: float = 1.0) -> None:
        super().__init__()
        if isinstance(losses, (str, Mapping)) or not losses:
            raise ValueError(f'losses: must be a list of loss options, got {losses!r}')
        self.loss_weight = loss_weight
        self.losses = nn.ModuleList(build_loss(each, f'losses[{index}]') for index, each in enumerate(losses))
        for index, loss in enumerate(self.losses):
            if getattr(loss, 'reduction', None) == 'none':
                raise ValueError(f'losses[{index}].reduction: must be mean or sum; a mixture is one number')
        self.names = _numbered([options['type'] for options in losses])
        self.terms: dict[str, torch.Tensor] = {}
        self.total: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        # without the values of the last call: in a transform of torch.func they are tensors that cannot be copied
        return {**self.__dict__, 'terms': {}, 'total': None}

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs: object
    ) -> torch.Tensor:
        """Computes the loss of two batches of images, and keeps the value of each term in `terms`.

        Args:
            pred: Shape (N, C, H, W).
            target: Same shape.
            weight: Must be None, because not every loss supports element-wise weights.
            **kwargs: Ignored; BasicSR passes further arguments to some losses.

        Returns:
            Scalar, in float32 or better.

        Raises:
            ValueError: If there is a weight.
        """
        if weight is not None:
            raise ValueError(
                'weight: MixedLoss has no element-wise weight; set the loss_weight of each of its losses instead'
            )
        terms = {}
        for name, loss in zip(self.names, self.losses):
            for suffix, value in call_loss(loss, pred, target).items():
                terms[name + suffix] = self.loss_weight * at_least_float32(value)
        total = torch.stack(list(terms.values())).sum()
        self.terms = {name: value.detach() for name, value in terms.items()}
        self.total = total.detach()
        return total


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, those that repeat numbered from 1 on."""
    totals = Counter(names)
    return [
        f'{name}_{names[: index + 1].count(name)}' if totals[name] > 1 else name for index, name in enumerate(names)
    ]
