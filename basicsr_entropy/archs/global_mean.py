"""Means over a whole image, of which a network may see no more than parts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class GlobalMean(nn.AdaptiveAvgPool2d):
    """Mean over height and width, (N, C, H, W) to (N, C, 1, 1); or the one that `gathered_means` holds."""

    def __init__(self) -> None:
        super().__init__(1)
        self.weights, self.gathered, self.held = None, None, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weights is not None:
            rows, columns = (weights.view(side, -1).sum(1) for weights, side in zip(self.weights, x.shape[-2:]))
            part = (x * rows[:, None] * columns).sum((-2, -1), keepdim=True)
            self.gathered = part if self.gathered is None else self.gathered + part
        return super().forward(x) if self.held is None else self.held.to(x.dtype)


class MeanGatherer:
    """The global means of an image from those of its parts."""

    def __init__(self, means: Sequence[GlobalMean]) -> None:
        self.means = means

    def gather(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """The next evaluation is of a part of the image, with these weights in the means.

        Args:
            rows: A weight for each row of the part, and of what the network pads it with.
            columns: A weight for each column. The products of both sum to 1 over all parts.
        """
        for mean in self.means:
            mean.weights = rows, columns

    def hold(self) -> None:
        """Evaluations from here on take the means gathered, whatever they see; what they gather begins anew."""
        for mean in self.means:
            mean.held, mean.weights, mean.gathered = mean.gathered, None, None

    def release(self) -> None:
        """Evaluations take the means of what they see."""
        for mean in self.means:
            mean.held, mean.weights, mean.gathered = None, None, None


@contextmanager
def gathered_means(network: nn.Module) -> Iterator[MeanGatherer | None]:
    """Within, a network's global means may be gathered and held.

    Yields:
        What does so; None if the network has no global means.
    """
    means = [module for module in network.modules() if isinstance(module, GlobalMean)]
    gatherer = MeanGatherer(means)
    try:
        yield gatherer if means else None
    finally:
        gatherer.release()
