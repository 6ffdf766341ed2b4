"""Outlines of networks: names and shapes of their parameters, without memory for the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class TooLarge(ValueError):
    """A network has more parameters than it may have."""


def outline(construct: Callable[[], nn.Module], most: int) -> nn.Module:
    """Constructs a network on the meta device, and gives up as soon as it has too many parameter tensors.

    Args:
        construct: Constructs the network.
        most: Largest number of parameter tensors.

    Raises:
        TooLarge: If the network is larger than that, or a tensor of it than torch can express.
        Exception: What `construct` raises.
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    count = 0

    def count_parameter(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise TooLarge(f'the network has more than {most} weights')

    hook = register_module_parameter_registration_hook(count_parameter)
    try:
        with torch.device('meta'):
            return construct()
    except (OverflowError, RuntimeError) as error:  # torch's for a tensor that is too large
        raise TooLarge(f'the network is too large: {str(error).splitlines()[0]}') from error
    finally:
        hook.remove()
