"""Building any registered loss, and calling it on a prediction and a target, whatever its signature."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def build_loss(options: Mapping[str, Any], path: str) -> nn.Module:
    """Builds a loss of BasicSR's registry that can be called as loss(pred) or loss(pred, target).

    Args:
        options: Its `type` and its arguments.
        path: Path of these options, for error messages.

    Raises:
        KeyError: If the type or an option is unknown.
        ValueError: If the loss rejects an option or does not compare two images; the message begins with the path.
    """
    # imported here, because losses that contain no other need no basicsr
    from basicsr.utils.registry import LOSS_REGISTRY

    from basicsr_entropy.config import build

    loss = build(LOSS_REGISTRY, options, path)
    check_call_signature(loss, path)
    return loss


def check_call_signature(loss: nn.Module, path: str) -> None:
    """Checks that a loss can be called as loss(pred) or loss(pred, target).

    Args:
        loss: Any registered loss.
        path: Path of its options, for the error message.

    Raises:
        ValueError: If it needs other arguments; the message begins with the path.
    """
    required = _required_arguments(loss)
    if len(required) > 2 or (len(required) == 2 and required[1] not in ('target', 'gt')):
        raise ValueError(
            f'{path}: {type(loss).__name__} takes ({", ".join(required)}), so it does not compare a prediction with a '
            'target; use losses such as L1Loss, PerceptualLoss or SpatialEntropyLoss'
        )


def call_loss(loss: nn.Module, pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Calls a loss and returns its values, by what their names in the log end with.

    Args:
        loss: A loss that passes `check_call_signature`. One that takes the prediction only, such as WeightedTVLoss, is
            called without the target.
        pred: Prediction, shape (N, C, H, W).
        target: Target, same shape.

    Returns:
        One value, as ''; or, where the loss returns the perceptual and the style loss as BasicSR's PerceptualLoss does,
        those of the two that are enabled, as '' and '_style'.

    Example:
        >>> pred, target = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
        >>> call_loss(nn.L1Loss(), pred, target)
        {'': tensor(1.)}
    """
    value = loss(pred, target) if len(_required_arguments(loss)) == 2 else loss(pred)
    values = value if isinstance(value, tuple) else (value,)
    return {suffix: each for suffix, each in zip(('', '_style'), values) if each is not None}


def _required_arguments(loss: nn.Module) -> list[str]:
    parameters = inspect.signature(loss.forward).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in positional if p.default is p.empty]
