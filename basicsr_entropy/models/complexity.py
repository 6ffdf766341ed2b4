"""Size of a network: parameters and operations of one evaluation."""

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from torch import nn

IMAGE_SIZE = 128  # pixels


def complexity(net: nn.Module, channels: int, device: torch.device) -> str:
    """A line for the log: GFLOPs of one evaluation at 128x128 pixels, and millions of parameters.

    Args:
        net: Called as net(x_t, mu, t); not compiled, since the analysis traces it.
        channels: Image channels C.
        device: Where the network is.
    """
    image = torch.zeros(1, channels, IMAGE_SIZE, IMAGE_SIZE, device=device)
    # element-wise operations have no handle, and would each be warned of
    flops = FlopAnalyzer(net, (image, image, torch.ones(1, device=device))).unsupported_ops_warnings(False)
    return (
        f'One evaluation at {IMAGE_SIZE}x{IMAGE_SIZE}: {flops.total() / 1e9:.2f} GFLOPs (multiply-adds), '
        f'{parameter_count(net)[""] / 1e6:.2f} M parameters'
    )
