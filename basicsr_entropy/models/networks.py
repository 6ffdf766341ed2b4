"""Which registered networks can predict in a mean-reverting diffusion model, and building them for given weights."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from basicsr_entropy._registry import is_own, look_up_type
from basicsr_entropy.config import build, section_of
from basicsr_entropy.config.outline import TooLarge, outline
from basicsr_entropy.config.validate import MOST_WEIGHTS
from basicsr_entropy.models.weights import load_weights, mismatches_of, refuse_mismatches

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


def own_conditional_networks() -> list[str]:
    """Names of this package's networks that `check_conditional_network` accepts."""
    return sorted(name for name, entry in ARCH_REGISTRY if is_own(entry) and _takes_conditional_inputs(entry))


def network_with_weights(
    options: Mapping[str, Any], weights: Mapping[str, torch.Tensor], path: str, option: str
) -> nn.Module:
    """Builds the network that options describe and loads its weights; never builds a larger one than these.

    Arguments and errors are those of `check_fits`; the weights must be finite, too.
    """
    check_fits(options, weights, path, option)
    net = build(ARCH_REGISTRY, options, 'network_g')
    load_weights(net, weights, path, option=option)
    return net


def check_fits(options: Mapping[str, Any], weights: Mapping[str, torch.Tensor], path: str, option: str) -> None:
    """Checks that options describe a conditional network, and if it is one of this package, the one of these weights.

    Such a network is built without memory, and no further than it has as many parameters as there are weights: options
    that do not belong to the weights can neither fill the memory nor build for ever.

    Args:
        options: Section network_g of the option file.
        weights: State dict for it.
        path: Where the weights come from, for errors.
        option: Name of the option that gave the path, for errors.

    Raises:
        KeyError: If an option is unknown or missing.
        ValueError: If an option is out of its range, the network is not a conditional one, or the weights do not fit
            it.
    """
    check_conditional_network(options, 'network_g')
    if is_own(look_up_type(ARCH_REGISTRY, options, 'network_g')):
        try:
            empty = outline(lambda: build(ARCH_REGISTRY, options, 'network_g'), len(weights))
        except TooLarge as error:
            raise ValueError(
                f'{option}: {path} does not fit network_g, whose options describe a larger network than its '
                f'{len(weights)} weights. Give network_g the options the weights were trained with'
            ) from error
        mismatches = mismatches_of(empty, weights)
        if mismatches:
            refuse_mismatches(empty, mismatches, path, option)


def size_multiple(options: Mapping[str, Any]) -> int:
    """The multiple to which a network pads images, in pixels; 1 where it does not, or is not of this package."""
    try:
        if not is_own(look_up_type(ARCH_REGISTRY, options, 'network_g')):
            return 1
        empty = outline(lambda: build(ARCH_REGISTRY, options, 'network_g'), MOST_WEIGHTS)
    except (KeyError, TypeError, ValueError):  # which are reported where networks are looked up
        return 1
    return getattr(empty, 'size_multiple', 1)


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
