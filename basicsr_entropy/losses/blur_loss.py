"""L1 distance of blurred images: compares local brightness and color, not detail."""

import torch
from torch import nn

from basicsr_entropy._blur import blurred, gaussian_kernel
from basicsr_entropy._checks import is_integer
from basicsr_entropy.losses.reduction import Reduction, check_reduction, weighted_reduction


class GaussianBlurL1Loss(nn.Module):
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

    blur: torch.Tensor

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Reduction = 'mean',
        sigma: float = 3.0,
        kernel_size: int | None = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if not sigma > 0:
            raise ValueError(f'sigma: must be positive, got {sigma}')
        if kernel_size is not None and (not is_integer(kernel_size, 1) or kernel_size % 2 == 0):
            raise ValueError(f'kernel_size: must be an odd integer, got {kernel_size!r}')
        self.loss_weight, self.reduction = loss_weight, reduction
        self.register_buffer('blur', gaussian_kernel(sigma, kernel_size), persistent=False)

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
        # the blur is linear: blurring the difference is blurring both images
        distance = blurred(pred - target, self.blur, 'replicate').abs()
        return self.loss_weight * weighted_reduction(distance, weight, self.reduction)
