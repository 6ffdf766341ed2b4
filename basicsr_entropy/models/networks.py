"""Which registered networks can predict in a mean-reverting diffusion model."""

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from basicsr_entropy._registry import look_up_type
from basicsr_entropy.config import section_of

CONDITIONAL_INPUTS = 3  # x_t, mu, t


def check_conditional_network(options: Mapping[str, Any], path: str) -> None:
    """Checks that `options` describe a registered network with a forward pass of the form `forward(x_t, mu, t)`.

    Args:
        options: Section of the option file: the type of the network and its arguments.
        path: Where the section stands in the option file, for errors.

    Raises:
        KeyError: If the type or an argument is unknown or missing.
        ValueError: If an argument has the wrong type, or the network's forward does not take three inputs; names the
            registered networks that fit.
    """
    network = look_up_type(ARCH_REGISTRY, options, path)
    section_of(network, any_key=True).read({key: value for key, value in options.items() if key != 'type'}, path)
    if not _takes_conditional_inputs(network):
        fitting = ', '.join(name for name, entry in ARCH_REGISTRY if _takes_conditional_inputs(entry))
        raise ValueError(
            f'{path}.type: the forward of {options["type"]} does not take x_t, mu and t, as a diffusion model needs; '
            f'use {fitting}, or register a network of your own whose forward takes x_t, mu and t'
        )


def _takes_conditional_inputs(network: Any) -> bool:
    """Whether the inputs of a network class's forward are x_t, mu and t, whatever it calls them."""
    try:
        signature = inspect.signature(network.forward)
        signature.bind(None, *[None] * CONDITIONAL_INPUTS)  # None for self
    except (AttributeError, TypeError):
        return False
    # three inputs by accident: StyleGAN2Generator's forward takes one, and options
    inputs = list(signature.parameters.values())[1 : 1 + CONDITIONAL_INPUTS]
    return all(each.default is each.empty for each in inputs)
