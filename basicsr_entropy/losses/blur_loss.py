"""L1 between blurred images: brightness and colour of surroundings, without detail."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from basicsr_entropy._checks import is_whole
from basicsr_entropy.losses.reduction import check_reduction, weighted_reduction


class GaussianBlurL1Loss(nn.Module):
    """L1 distance of two images after a Gaussian blur, which low-light restoration uses to get exposure right.

    Args:
        loss_weight: Factor of the loss.
        reduction: 'none', 'mean' or 'sum'.
        sigma: Standard deviation of the blur in pixels.
        kernel_size: Odd side length of the blur's kernel; covers three deviations to each side by default.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self, loss_weight: float = 1.0, reduction: str = 'mean', sigma: float = 3.0, kernel_size: int | None = None
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if not sigma > 0:
            raise ValueError(f'sigma must be positive, got {sigma}')
        if kernel_size is None:
            kernel_size = 2 * math.ceil(3 * sigma) + 1
        if not is_whole(kernel_size, 1) or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be an odd whole number, got {kernel_size!r}')
        self.loss_weight, self.reduction = loss_weight, reduction
        distance = torch.arange(kernel_size) - kernel_size // 2
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
        self.register_buffer('kernel', kernel / kernel.sum(), persistent=False)

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs
    ) -> torch.Tensor:
        """Compares two batches of images.

        Args:
            pred: Shape (N, C, H, W).
            target: Same shape.
            weight: Element-wise weights of shape (N, C or 1, H, W).

        Returns:
            Scalar, or (N, C, H, W) for reduction 'none'.
        """
        if pred.shape != target.shape:
            raise ValueError(f'pred and target must have one shape, got {tuple(pred.shape)} and {tuple(target.shape)}')
        # the blur is linear: one blur of the difference serves both images
        distance = self._blur(pred - target).abs()
        return self.loss_weight * weighted_reduction(distance, weight, self.reduction)

    def _blur(self, image: torch.Tensor) -> torch.Tensor:
        channels, radius = image.shape[1], len(self.kernel) // 2
        kernel = self.kernel.to(image.dtype).expand(channels, 1, 1, -1)
        image = F.pad(image, (radius, radius, radius, radius), mode='replicate')
        image = F.conv2d(image, kernel, groups=channels)
        return F.conv2d(image, kernel.transpose(2, 3), groups=channels)
