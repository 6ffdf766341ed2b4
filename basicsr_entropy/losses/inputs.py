"""What losses check of two batches of images, and the precision that they compute in. Depends on torch only."""

from contextlib import AbstractContextManager, nullcontext

import torch


def check_same_shape(pred: torch.Tensor, target: torch.Tensor) -> None:
    """Raises a ValueError that begins with `pred:` unless the images have the same shape."""
    if pred.shape != target.shape:
        raise ValueError(f'pred: must have the shape of target, {tuple(target.shape)}, got {tuple(pred.shape)}')


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """The values in float32 if they are in half precision or integers; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context in which convolutions and matrix products keep the type of their arguments under autocast too."""
    if not torch.amp.is_autocast_available(device.type):  # torch.autocast rejects the meta device
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
