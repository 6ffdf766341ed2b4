"""Distance of the detail of two images: of what is left when local brightness is taken out."""

from typing import Literal, get_args

import torch
from torch import nn

from basicsr_entropy._blur import blurred, check_sigma, gaussian_kernel
from basicsr_entropy._checks import check_choice
from basicsr_entropy.losses.reduction import Reduction, check_reduction, weighted_reduction

Norm = Literal['l1', 'l2']


class HighPassLoss(nn.Module):
    """Distance of two images without their local means, pixel by pixel.

    L1 of images leaves detail underweighted where brightness is off. This loss compares detail alone: the difference
    of the images less its Gaussian blur. It is `SpatialEntropyLoss` with `align: local` without the distributions, so
    it is the measure of what these add. It does not correct brightness: use it beside another loss, such as L1.

    Args:
        loss_weight: Weight of the loss, by which its value is multiplied.
        reduction: Reduction over pixels, channels and batch: `none`, `mean` or `sum`.
        norm: Absolute (`l1`) or squared (`l2`) difference.
        sigma: Standard deviation in pixels of the Gaussian blur that defines the local mean, positive.

    Raises:
        ValueError: If an argument is unknown or out of range; the message begins with its name.

    Example:
        >>> loss = HighPassLoss(sigma=2)
        >>> target = torch.rand(1, 3, 16, 16)
        >>> loss(target + 0.2, target).item() < 1e-6
        True
    """

    kernel: torch.Tensor

    def __init__(
        self, loss_weight: float = 1.0, reduction: Reduction = 'mean', norm: Norm = 'l1', sigma: float = 4.0
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_choice('norm', norm, get_args(Norm))
        check_sigma('sigma', sigma)
        self.loss_weight, self.reduction, self.norm = loss_weight, reduction, norm
        self.register_buffer('kernel', gaussian_kernel(sigma), persistent=False)

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs: object
    ) -> torch.Tensor:
        """Computes the loss of two batches of images.

        Args:
            pred: Shape (N, C, H, W).
            target: Same shape.
            weight: Element-wise weights of shape (N, C or 1, H, W).
            **kwargs: Ignored; BasicSR passes further arguments to some losses.

        Returns:
            Scalar, or (N, C, H, W) for reduction 'none'.

        Raises:
            ValueError: If the shapes differ, or the weights do not fit.
        """
        if pred.shape != target.shape:
            raise ValueError(f'pred: must have the shape of target, {tuple(target.shape)}, got {tuple(pred.shape)}')
        difference = pred - target
        difference = difference - blurred(difference, self.kernel, 'reflect')
        distance = difference.abs() if self.norm == 'l1' else difference.square()
        return self.loss_weight * weighted_reduction(distance, weight, self.reduction)
