"""L1 distance of blurred images: compares local brightness and color, not detail."""

import torch

from basicsr_entropy._blur import blurred
from basicsr_entropy._checks import check_positive, is_integer
from basicsr_entropy.losses.filtered_loss import FilteredLoss
from basicsr_entropy.losses.reduction import Reduction


class GaussianBlurL1Loss(FilteredLoss):
    """L1 distance of two images after a Gaussian blur, used in low-light enhancement to match the exposure.

    Args:
        loss_weight: Weight of the loss, by which its value is multiplied.
        reduction: Reduction over pixels, channels and batch: `none`, `mean` or `sum`.
        sigma: Standard deviation of the Gaussian blur in pixels, positive.
        kernel_size: Odd side length of the blur kernel in pixels. 2 ceil(3 sigma) + 1 by default.

    Raises:
        ValueError: If an argument is unknown or out of range; the message begins with its name.

    Example:
        >>> loss = GaussianBlurL1Loss(sigma=2, loss_weight=0.5)
        >>> target = torch.zeros(1, 3, 16, 16)
        >>> round(loss(target + 0.2, target).item(), 4)
        0.1
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Reduction = 'mean',
        sigma: float = 3.0,
        kernel_size: int | None = None,
    ) -> None:
        super().__init__(loss_weight, reduction)
        check_positive('sigma', sigma, 'pixels')
        if kernel_size is not None and (not is_integer(kernel_size, 1) or kernel_size % 2 == 0):
            raise ValueError(f'kernel_size: must be an odd integer, got {kernel_size!r}')
        self.sigma, self.kernel_size = sigma, kernel_size

    def distance(self, difference: torch.Tensor) -> torch.Tensor:
        return blurred(difference, self.sigma, 'replicate', self.kernel_size).abs()
