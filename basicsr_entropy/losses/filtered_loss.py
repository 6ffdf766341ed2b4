"""What the pixel losses have in common that compare two images after a linear filter."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from basicsr_entropy.losses.inputs import at_least_float32, check_same_shape, without_autocast
from basicsr_entropy.losses.reduction import Reduction, check_reduction, weighted_reduction


class FilteredLoss(nn.Module, ABC):
    """Distance of two images after a linear filter: filtering their difference is filtering both.

    Args:
        loss_weight: Weight of the loss, by which its value is multiplied.
        reduction: Reduction over pixels, channels and batch: `none`, `mean` or `sum`.
    """

    def __init__(self, loss_weight: float, reduction: Reduction) -> None:
        super().__init__()
        check_reduction(reduction)
        self.loss_weight, self.reduction = loss_weight, reduction

    @abstractmethod
    def distance(self, difference: torch.Tensor) -> torch.Tensor:
        """Distance at every pixel, (N, C, H, W), from the difference of the images, of the same shape."""

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs: object
    ) -> torch.Tensor:
        """Computes the loss of two batches of images.

        Args:
            pred: Shape (N, C, H, W); computed in float32 or better, under autocast too.
            target: Same shape.
            weight: Element-wise weights of shape (N, C or 1, H, W). If all are 0, their mean is NaN, as in BasicSR.
            **kwargs: Ignored; BasicSR passes further arguments to some losses.

        Returns:
            Scalar, or (N, C, H, W) for reduction 'none'.

        Raises:
            ValueError: If the shapes differ, or the weights do not fit.
        """
        check_same_shape(pred, target)
        # a blur in half precision loses detail that is faint beside a difference of brightness
        with without_autocast(pred.device):
            distance = self.distance(at_least_float32(pred) - at_least_float32(target))
            return self.loss_weight * weighted_reduction(distance, weight, self.reduction)
