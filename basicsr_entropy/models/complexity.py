"""Size of a network: parameters and operations of one evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from torch import nn

IMAGE_SIZE = 128  # pixels


def complexity(net: nn.Module, channels: int, device: torch.device) -> str:
    """A line for the log: GFLOPs of one evaluation at 128x128 pixels, and millions of parameters.

    The operations of a network that takes other arguments or images are not counted.

    Args:
        net: Called as net(x_t, mu, t); not compiled, since the analysis traces it.
        channels: Image channels C.
        device: Where the network is.
    """
    parameters = f'{parameter_count(net)[""] / 1e6:.2f} M parameters'
    image = torch.zeros(1, channels, IMAGE_SIZE, IMAGE_SIZE, device=device)
    with _unchanged(net):
        # element-wise operations have no handle, and would each be warned of
        flops = FlopAnalyzer(net, (image, image, torch.ones(1, device=device))).unsupported_ops_warnings(False)
        try:
            operations = flops.total()
        except Exception:  # of various kinds; the line is for information only
            return f'Network of {parameters}'
    return f'One evaluation at {IMAGE_SIZE}x{IMAGE_SIZE}: {operations / 1e9:.2f} GFLOPs (multiply-adds), {parameters}'


@contextmanager
def _unchanged(net: nn.Module) -> Iterator[None]:
    """Context in which a network evaluates without learning, by batch statistics for example, and draws nothing."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in modes:
            module.training = training
