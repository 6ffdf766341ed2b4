"""The spatial-entropy loss as BasicSR builds it."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from basicsr_entropy._checks import check_choice
from basicsr_entropy.entropy import (
    BACKENDS,
    DIVERGENCES,
    RANDOM_NEIGHBORS,
    DensityOptions,
    neighbor_weights,
    spatial_divergence,
)
from basicsr_entropy.losses.reduction import check_reduction, weighted_reduction


class SpatialEntropyLoss(nn.Module):
    """Divergence between the local joint densities of pixel and neighbour intensity of two images.

    Lian, Lian and Luo, *Equipping Diffusion Models with Differentiable Spatial Entropy for Low-Light Image
    Enhancement*, CVPRW 2024. A drop-in for BasicSR's pixel losses.

    Args:
        loss_weight: Factor of the loss.
        reduction: 'none', 'mean' or 'sum', over pixels, channels and batch; windows and levels are always averaged.
        divergence: 'hellinger', 'relative', 'cross' or 'jensen_shannon'.
        levels: Number of intensity levels, or a list of such numbers whose divergences are averaged. Few levels reach
            far, many see fine differences: [8, 16, 32] does both.
        kernel: 'logistic', 'sech' or 'gaussian'.
        bandwidth: Of the kernel in levels, or 'silverman'.
        windows: Odd side lengths of the local windows, or 'global' for one histogram an image.
        neighbor: Weights of the neighbours: 'random' (positive), 'normal' (as published), 'uniform', 'gaussian', or a
            3x3 nested list.
        neighbor_norm: 'channel' divides the weights by their sum; 'published' follows the published conventions.
        resample: Random weights are drawn at each 'step', or 'once' for the life of the loss.
        value_range: Values of the first and last level.
        gray: Compare luma instead of channels.
        unit_mass: Normalise each pixel's densities over the levels.
        clamp_grad: 'zero' or 'straight_through': gradient of values beyond value_range.
        backend: 'eager' is exact in any type on any device; 'compiled' (CPU) and 'triton' (CUDA) are fast in float32;
            'auto' takes the fast one where there is one.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: str = 'mean',
        divergence: str = 'hellinger',
        levels: int | Sequence[int] = 32,
        kernel: str = 'logistic',
        bandwidth: float | str = 0.5,
        windows: Sequence[int] | str = (1, 3, 5),
        neighbor: str | Sequence[Sequence[float]] = 'random',
        neighbor_norm: str = 'channel',
        resample: str = 'step',
        value_range: Sequence[float] = (0.0, 1.0),
        gray: bool = False,
        unit_mass: bool = False,
        clamp_grad: str = 'zero',
        backend: str = 'auto',
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if resample not in ('step', 'once'):
            raise ValueError(f"resample must be 'step' or 'once', got {resample!r}")
        check_choice('divergence', divergence, DIVERGENCES)
        check_choice('backend', backend, BACKENDS)
        self.options = DensityOptions(
            levels=levels,
            kernel=kernel,
            bandwidth=bandwidth,
            windows=windows,
            neighbor_norm=neighbor_norm,
            value_range=value_range,
            gray=gray,
            unit_mass=unit_mass,
            clamp_grad=clamp_grad,
        )
        self.divergence, self.backend = divergence, backend
        self.loss_weight, self.reduction = loss_weight, reduction
        self.neighbor = neighbor
        self.redraw = isinstance(neighbor, str) and neighbor in RANDOM_NEIGHBORS and resample == 'step'
        # not persistent: a loss adds nothing to a checkpoint
        self.register_buffer('weights', neighbor_weights(neighbor), persistent=False)

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs
    ) -> torch.Tensor:
        """Compares two batches of images.

        Args:
            pred: Shape (N, C, H, W), any float type; computed in float32 or better.
            target: Same shape; no gradient reaches it.
            weight: Element-wise weights of shape (N, C or 1, H, W).

        Returns:
            Scalar, or for reduction 'none' a map (N, C, H, W); of C = 1 if gray, of H = W = 1 for global windows.

        Raises:
            TypeError: If an image is not a floating-point tensor.
            ValueError: If shapes differ, an image is not finite, target requires a gradient, or the backend does not
                work on the images' device or type.
        """
        weights = neighbor_weights(self.neighbor, device=pred.device) if self.redraw else self.weights
        arguments = pred, target, weights, self.divergence, self.options
        if self.reduction == 'none' or (weight is not None and weight.requires_grad):
            divergence = spatial_divergence(*arguments, backend=self.backend)
            return self.loss_weight * weighted_reduction(divergence, weight, self.reduction)
        total = spatial_divergence(*arguments, pixel_weight=self._pixel_weight(pred, weight), backend=self.backend)
        return self.loss_weight * total

    def _pixel_weight(self, pred: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Weights of the map whose weighted sum is what `weighted_reduction` makes of the map."""
        batch, channels, *size = pred.shape
        shape = (batch, 1 if self.options.gray else channels, *((1, 1) if self.options.is_global else size))
        if weight is None:
            each = 1 / math.prod(shape) if self.reduction == 'mean' else 1.0
            return torch.full((1, 1, 1, 1), each, dtype=torch.float64, device=pred.device)
        if weight.ndim != 4 or any(own not in (1, wanted) for own, wanted in zip(weight.shape, shape)):
            raise ValueError(f'weight must fit the map {tuple(shape)}, got {tuple(weight.shape)}')
        weight = weight.expand(shape)
        return weight / weight.sum() if self.reduction == 'mean' else weight
