"""The spatial-entropy loss."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from basicsr_entropy._checks import check_choice, check_positive
from basicsr_entropy.entropy import (
    ALIGN,
    BACKENDS,
    DIVERGENCES,
    DensityOptions,
    check_images,
    neighbor_weights,
    spatial_divergence,
)
from basicsr_entropy.entropy.alignment import Align
from basicsr_entropy.entropy.backends import BackendName
from basicsr_entropy.entropy.density import ClampGrad, NeighborNorm
from basicsr_entropy.entropy.divergences import DivergenceName
from basicsr_entropy.entropy.kernels import KernelName
from basicsr_entropy.entropy.neighbors import RANDOM_NEIGHBORS, Neighbor
from basicsr_entropy.losses.reduction import Reduction, check_reduction, expanded_weight, weighted_reduction

Resample = Literal['step', 'once']


class SpatialEntropyLoss(nn.Module):
    """Divergence between the local joint densities of pixel and neighbor intensity of two images.

    Lian, Lian and Luo, *Equipping Diffusion Models with Differentiable Spatial Entropy for Low-Light Image
    Enhancement*, CVPRW 2024. Called like BasicSR's pixel losses, and registered in BasicSR's loss registry.

    Args:
        loss_weight: Weight of the loss, by which its value is multiplied.
        reduction: Reduction over pixels, channels and batch: `none`, `mean` or `sum`. Windows and numbers of levels are
            always averaged.
        divergence: Divergence between the joint densities of target p and prediction q: `hellinger` distance,
            `relative` entropy (Kullback-Leibler divergence of p from q), `cross` entropy or `jensen_shannon`
            divergence.
        levels: Number of intensity levels L per axis of the joint density, an integer from 2 to 1024, or a list of such
            integers over which the divergence is averaged. With few levels the divergence has gradients towards
            distant values, with many it resolves fine differences; [4, 8, 16] combines both. The cost of `eager`
            grows with L^2, that of `compiled` about with L.
        kernel: Kernel of the density estimate: `logistic`, `sech` or `gaussian`.
        bandwidth: Bandwidth of the kernel in levels, from 0.001 to 1000, or `silverman`: Silverman's rule for two
            dimensions for each image plane of the target, divided by the kernel's standard deviation, and at least 0.5
            levels.
        windows: Odd side lengths in pixels, up to 31, of the local windows over which densities are averaged, or
            `global` for one histogram per image.
        neighbor: Weights of the eight neighbors whose mean is a pixel's neighbor value: `random` (positive draws),
            `normal` (standard normal draws, as published), `uniform`, `gaussian`, or a 3x3 nested list of numbers.
        neighbor_norm: Normalization: `channel` divides the neighbor weights by their sum, and densities by the
            bandwidth squared. `published` follows the published program: weights are divided by their sum over all
            channels, and densities by half the bandwidth.
        resample: When random neighbor weights are drawn: at every `step`, or `once` when the loss is built.
        value_range: Two pixel values, those of the first and the last level; images are clamped to this range.
        gray: Compare the BT.601 luma of RGB images instead of their channels.
        unit_mass: Normalize the density of each pixel over the levels to a sum of 1. Without it, values at the ends of
            the range lose up to a quarter of their mass with the default kernel, which attracts predictions far from
            the target to these ends.
        clamp_grad: Gradient at values outside `value_range`: `zero`, or `straight_through` for the gradient at the
            nearest end of the range.
        align: Brightness of the prediction before the comparison: `none` leaves it as it is, as published; `mean`
            scales each image to the mean of its target; `local` gives it the target's local mean,
            pred - blur(pred) + blur(target). Aligned, the loss compares detail where brightness is off, and does not
            correct brightness: use it beside another loss, such as L1.
        align_sigma: Standard deviation in pixels of the Gaussian blur of `local`, positive.
        backend: Implementation: `eager` (plain torch, exact, any float type and device), `compiled` (float32 on the
            CPU; needs a C compiler), `triton` (float32 on CUDA devices), or `auto` for the fastest that is available.

    Raises:
        ValueError: If an argument is unknown or out of range; the message begins with its name.

    Example:
        >>> loss = SpatialEntropyLoss(levels=[4, 8], neighbor='uniform', backend='eager')
        >>> target = torch.rand(1, 3, 8, 8)
        >>> pred = (target + 0.1).requires_grad_()
        >>> loss(pred, target).backward()
        >>> pred.grad.shape
        torch.Size([1, 3, 8, 8])
        >>> loss(target, target).item()
        0.0
    """

    weights: torch.Tensor

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Reduction = 'mean',
        divergence: DivergenceName = 'hellinger',
        levels: int | Sequence[int] = 32,
        kernel: KernelName = 'logistic',
        bandwidth: float | Literal['silverman'] = 0.5,
        windows: Sequence[int] | Literal['global'] = (1, 3, 5),
        neighbor: Neighbor = 'random',
        neighbor_norm: NeighborNorm = 'channel',
        resample: Resample = 'step',
        value_range: Sequence[float] = (0.0, 1.0),
        gray: bool = False,
        unit_mass: bool = False,
        clamp_grad: ClampGrad = 'zero',
        align: Align = 'none',
        align_sigma: float = 4.0,
        backend: BackendName = 'auto',
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_choice('resample', resample, get_args(Resample))
        check_choice('divergence', divergence, DIVERGENCES)
        check_choice('backend', backend, BACKENDS)
        check_choice('align', align, ALIGN)
        check_positive('align_sigma', align_sigma, 'pixels')
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
        self.align, self.align_sigma = align, align_sigma
        self.loss_weight, self.reduction = loss_weight, reduction
        self.neighbor = neighbor
        self.redraw = isinstance(neighbor, str) and neighbor in RANDOM_NEIGHBORS and resample == 'step'
        # not persistent: the loss adds nothing to a checkpoint
        self.register_buffer('weights', neighbor_weights(neighbor, device='cpu'), persistent=False)

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs: object
    ) -> torch.Tensor:
        """Computes the loss of two batches of images.

        Args:
            pred: Shape (N, C, H, W), any float type; computed in float32 or better.
            target: Same shape; not differentiated.
            weight: Element-wise weights of shape (N, C or 1, H, W). If all are 0, their mean is NaN, as in BasicSR.
            **kwargs: Ignored; BasicSR passes further arguments to some losses.

        Returns:
            Scalar, or for reduction 'none' a map (N, C, H, W), with C = 1 if gray and H = W = 1 for global windows.
            NaN, and so is the gradient, where an image has a value that is NaN or infinite, so that a gradient scaler
            skips the step.

        Raises:
            TypeError: If an image is not a floating-point tensor.
            ValueError: If there are no images, shapes differ, target requires a gradient, the weights do not fit, or
                the backend does not support the images' device or data type.
        """
        check_images(pred, target)
        weights = neighbor_weights(self.neighbor, device=pred.device) if self.redraw else self.weights
        divergence_of = partial(
            spatial_divergence,
            pred,
            target,
            weights,
            self.divergence,
            self.options,
            backend=self.backend,
            align=self.align,
            align_sigma=self.align_sigma,
        )
        if self.reduction == 'none' or (weight is not None and weight.requires_grad):
            return self.loss_weight * weighted_reduction(divergence_of(), weight, self.reduction)
        return self.loss_weight * divergence_of(pixel_weight=self._pixel_weight(pred, weight))

    def _pixel_weight(self, pred: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Weights with which the weighted sum of the map equals `weighted_reduction` of the map."""
        batch, channels, *size = pred.shape
        shape = (batch, 1 if self.options.gray else channels, *((1, 1) if self.options.is_global else size))
        if weight is None:
            each = 1 / math.prod(shape) if self.reduction == 'mean' else 1.0
            return torch.full((1, 1, 1, 1), each, dtype=torch.float64, device=pred.device)
        weight = expanded_weight(weight, shape)
        return weight / weight.sum() if self.reduction == 'mean' else weight
