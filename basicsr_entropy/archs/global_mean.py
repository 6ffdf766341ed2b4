"""Global means inside a network that may be evaluated on tiles of an image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class GlobalMean(nn.AdaptiveAvgPool2d):
    """Mean over height and width, (N, C, H, W) to (N, C, 1, 1), or the mean set by `global_mean_statistics`.

    A subclass of the pooling layer that the published networks use, so that state dicts stay the same.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.tile_weights: tuple[torch.Tensor, torch.Tensor] | None = None  # of rows and columns
        self.accumulated: torch.Tensor | None = None
        self.override: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.tile_weights is not None:
            # a feature map of lower resolution: each of its pixels has the weight of the pixels that it covers
            rows, columns = (weights.view(side, -1).sum(1) for weights, side in zip(self.tile_weights, x.shape[-2:]))
            contribution = (x * rows[:, None] * columns).sum((-2, -1), keepdim=True)
            self.accumulated = contribution if self.accumulated is None else self.accumulated + contribution
        return super().forward(x) if self.override is None else self.override.to(x.dtype)


class GlobalMeanStatistics:
    """The global means of a network, accumulated over the tiles of an image.

    Implements the protocol `basicsr_entropy.diffusion.tiling.GlobalStatistics`.

    Args:
        layers: The network's layers that take a global mean.
    """

    def __init__(self, layers: Sequence[GlobalMean]) -> None:
        self.layers = layers

    def accumulate(self, row_weights: torch.Tensor, column_weights: torch.Tensor) -> None:
        """Makes the next evaluation, on a tile, add its weighted features to the global means.

        Args:
            row_weights: Weight of each row of the tile, including rows that the network pads.
            column_weights: Weight of each column; the products of both sum to 1 over all tiles.
        """
        for layer in self.layers:
            layer.tile_weights = row_weights, column_weights

    def use_accumulated(self) -> None:
        """Makes later evaluations use the accumulated means instead of their tile's, and resets the sums."""
        for layer in self.layers:
            layer.override, layer.tile_weights, layer.accumulated = layer.accumulated, None, None

    def reset(self) -> None:
        """Makes later evaluations use the means of their own input."""
        for layer in self.layers:
            layer.override, layer.tile_weights, layer.accumulated = None, None, None


@contextmanager
def global_mean_statistics(network: nn.Module) -> Iterator[GlobalMeanStatistics | None]:
    """Context in which a network's global means can be accumulated over tiles; they are reset at its end.

    Yields:
        Access to the global means; None if the network has none.
    """
    layers = [module for module in network.modules() if isinstance(module, GlobalMean)]
    statistics = GlobalMeanStatistics(layers)
    try:
        yield statistics if layers else None
    finally:
        statistics.reset()
