"""Means over a whole image, of which a network may see no more than tiles."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class GlobalMean(nn.AdaptiveAvgPool2d):
    """Mean over height and width, (N, C, H, W) to (N, C, 1, 1); or the one held by `shared_means`."""

    def __init__(self) -> None:
        super().__init__(1)
        self.holds, self.held = False, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.held is not None:
            return self.held.to(x.dtype)
        mean = super().forward(x)
        if self.holds:
            self.held = mean
        return mean


@contextmanager
def shared_means(network: nn.Module) -> Iterator[bool]:
    """Within, the first evaluation of the network gives the global means of all that follow.

    Yields:
        Whether the network has global means at all.
    """
    means = [module for module in network.modules() if isinstance(module, GlobalMean)]
    for module in means:
        module.holds = True
    try:
        yield bool(means)
    finally:
        for module in means:
            module.holds, module.held = False, None
