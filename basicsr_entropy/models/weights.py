"""Network weights in checkpoints of BasicSR and of the published programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn


def read_weights(
    path: str, param_key: str | None = 'params', option: str = 'path.pretrain_network_g'
) -> dict[str, torch.Tensor]:
    """Reads the state dict of a network from a checkpoint.

    Args:
        path: Checkpoint of BasicSR (state dicts under 'params' and possibly 'params_ema'), or a bare state dict like
            the published IR-SDE and Refusion files. A prefix 'module.' of the keys is dropped.
        param_key: State dict to take; 'params' in place of an absent 'params_ema'. None for a bare state dict.
        option: Name of the option that gave the path, for errors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file contains no state dict, or others than that of `param_key`.
    """
    return read_named_weights(path, param_key, option)[1]


def read_named_weights(
    path: str, param_key: str | None, option: str = 'path.pretrain_network_g'
) -> tuple[str | None, dict[str, torch.Tensor]]:
    """The state dict of `read_weights`, after the key under which it was; None for a bare one."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'{option}: no file {path}')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises various errors for files of other kinds
        raise ValueError(f'{option}: {path} is not a PyTorch checkpoint, or is damaged') from error
    taken = None
    for key in [param_key, 'params'] if param_key in (None, 'params_ema') else [param_key]:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            taken, content = key, content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        found = ', '.join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{option}: {path} contains no state dict under '{param_key}', but {found}")
    return taken, {key.removeprefix('module.'): value for key, value in content.items()}


def load_weights(
    net: nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: str,
    strict: bool = True,
    option: str = 'path.pretrain_network_g',
) -> list[str]:
    """Loads a state dict into a network.

    Args:
        net: The network.
        weights: The state dict.
        path: Where it comes from, for errors.
        strict: Whether all keys and shapes must match; otherwise those that do not match are skipped.
        option: Name of the option that gave the path, for errors.

    Returns:
        One sentence fragment per kind of mismatch; empty if everything matches.

    Raises:
        ValueError: If `strict` and something does not match, or a weight to load is NaN or infinite; names the file and
            the keys.
    """
    mismatches = mismatches_of(net, weights)
    if strict and mismatches:
        refuse_mismatches(net, mismatches, path, option)
    own = net.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    # in the network's own precision, in which a large float64 is infinite
    broken = [key for key, value in fitting.items() if not value.to(own[key].dtype).isfinite().all()]
    if broken:
        raise ValueError(
            f'{option}: {path} holds NaN or infinite weights, in {_listed(broken)}: the training that wrote it '
            'diverged; take an earlier checkpoint'
        )
    net.load_state_dict(fitting, strict=False)
    return mismatches


def mismatches_of(net: nn.Module, weights: Mapping[str, torch.Tensor]) -> list[str]:
    """How the keys and shapes of a state dict differ from those of a network, which may be on the meta device.

    Returns:
        One sentence fragment per kind of mismatch; empty if everything matches.
    """
    own = net.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    reshaped = sorted(key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape)
    kinds = ((missing, 'are missing'), (unexpected, 'are unknown'), (reshaped, 'have a different shape'))
    return [f'{_listed(keys)} {what}' for keys, what in kinds if keys]


def refuse_mismatches(net: nn.Module, mismatches: Sequence[str], path: str, option: str) -> NoReturn:
    """Raises the error for weights that do not fit; arguments as of `load_weights`."""
    remedy = ', or set path.strict_load_g: false' if option.startswith('path.') else ''
    raise ValueError(
        f'{option}: {path} does not fit network_g ({type(net).__name__}): {"; ".join(mismatches)}. '
        f'Give network_g the options the weights were trained with{remedy}'
    )


def _listed(keys: Sequence[str]) -> str:
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return f'{", ".join(keys[:3])}{more}'
