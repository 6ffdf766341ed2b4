"""Reading weights of networks, BasicSR's and others'."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn


def read_weights(
    path: str, param_key: str | None = 'params', option: str = 'path.pretrain_network_g'
) -> dict[str, torch.Tensor]:
    """State dict of a network from a file.

    Args:
        path: A .pth file that BasicSR wrote (state dicts under 'params' and maybe 'params_ema'), or a bare state dict
            as in the official IR-SDE and Refusion files. Keys may begin with 'module.'.
        param_key: State dict to take; 'params' where it is absent. None for a bare one.
        option: Where the path was given, for errors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no state dict.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{option}: no file {path}')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        raise ValueError(f'{option}: {path} is no PyTorch checkpoint, or is damaged') from error
    for key in (param_key, 'params'):
        if key is not None and isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        found = ', '.join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{option}: {path} holds no state dict under '{param_key}', but {found}")
    return {key.removeprefix('module.'): value for key, value in content.items()}


def load_weights(
    net: nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: str,
    strict: bool = True,
    option: str = 'path.pretrain_network_g',
) -> list[str]:
    """Loads a state dict; where not strict, what does not fit is left out. `option`: as in `read_weights`.

    Returns:
        Sentences about what did not fit; empty if all did.

    Raises:
        ValueError: If strict and something does not fit; names the file and the keys.
    """
    own = net.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    reshaped = sorted(key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape)
    troubles = []
    for keys, what in ((missing, 'are missing'), (unexpected, 'are unknown'), (reshaped, 'have another shape')):
        if keys:
            more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
            troubles.append(f'{", ".join(keys[:3])}{more} {what}')
    if strict and troubles:
        raise ValueError(
            f'{option}: {path} does not fit network_g ({type(net).__name__}): {"; ".join(troubles)}. '
            'Give network_g the options the weights were trained with, or set path.strict_load_g: false'
        )
    fitting = {key: value for key, value in weights.items() if key in own and key not in reshaped}
    net.load_state_dict(fitting, strict=False)
    return troubles
