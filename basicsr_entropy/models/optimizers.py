"""Optimizers by the name that an option file gives them."""

from typing import Any

import torch

from basicsr_entropy._errors import suggestion
from basicsr_entropy.config import construct

TORCH_OPTIMIZERS = ('Adam', 'AdamW', 'Adamax', 'NAdam', 'RAdam', 'SGD', 'ASGD', 'RMSprop', 'Rprop')
OPTIMIZERS = (*TORCH_OPTIMIZERS, 'Lion')


def build_optimizer(name: str, params: Any, path: str, **arguments: Any) -> torch.optim.Optimizer:
    """An optimizer of torch, or Lion (Chen et al., NeurIPS 2023) from the package lion-pytorch.

    Args:
        name: One of `OPTIMIZERS`.
        params: Parameters or parameter groups.
        path: Where the options stand in the option file, for errors.
        **arguments: lr and the optimizer's other arguments.

    Raises:
        KeyError: If an argument is unknown.
        ValueError: If the name is unknown, or a value has the wrong type.
        ImportError: If lion-pytorch is not installed.
    """
    try:
        callee = optimizer_class(name)
    except (ImportError, ValueError) as error:
        raise type(error)(f'{path}.type: {error}') from error
    return construct(callee, arguments, path, params=params)


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of an optimizer.

    Raises:
        ValueError: If the name is unknown.
        ImportError: If lion-pytorch is not installed.
    """
    if name in TORCH_OPTIMIZERS:
        return getattr(torch.optim, name)
    if name != 'Lion':
        raise ValueError(f"no optimizer '{name}'{suggestion(name, OPTIMIZERS)}")
    try:
        from lion_pytorch import Lion
    except ImportError as error:
        raise ImportError('Lion needs the package lion-pytorch: pip install "basicsr-entropy[lion]"') from error
    return Lion
