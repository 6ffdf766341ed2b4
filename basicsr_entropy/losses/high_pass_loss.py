"""Distance of the detail of two images: of what is left when local brightness is taken out."""

from typing import Literal, get_args

import torch

from basicsr_entropy._blur import blurred
from basicsr_entropy._checks import check_choice, check_positive
from basicsr_entropy.losses.filtered_loss import FilteredLoss
from basicsr_entropy.losses.reduction import Reduction

Norm = Literal['l1', 'l2']


class HighPassLoss(FilteredLoss):
    """Distance of two images without their local means, pixel by pixel.

    L1 of images leaves detail underweighted where brightness is off. This loss compares detail alone: the difference
    of the images less its Gaussian blur. It is a control for `SpatialEntropyLoss` with `align: local`: the same detail,
    without the distributions. It does not correct brightness: use it beside another loss, such as L1.

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

    def __init__(
        self, loss_weight: float = 1.0, reduction: Reduction = 'mean', norm: Norm = 'l1', sigma: float = 4.0
    ) -> None:
        super().__init__(loss_weight, reduction)
        check_choice('norm', norm, get_args(Norm))
        check_positive('sigma', sigma, 'pixels')
        self.norm, self.sigma = norm, sigma

    def distance(self, difference: torch.Tensor) -> torch.Tensor:
        detail = difference - blurred(difference, self.sigma, 'reflect')
        return detail.abs() if self.norm == 'l1' else detail.square()
