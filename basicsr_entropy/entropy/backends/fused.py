"""Autograd for backends that compute a divergence map and its gradient in one visit of the pixels."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from basicsr_entropy.entropy.options import DensityOptions


class Result(NamedTuple):
    """What a launch computes: the map, and the gradients by the prediction's values and neighbour values.

    All are (P, H, W); gradients are None where there is no upstream one.
    """

    map: torch.Tensor
    grad_value: torch.Tensor | None
    grad_neighbor: torch.Tensor | None


class Launch(Protocol):
    """A backend's computation: arguments as in `eager.local_divergence`, and the upstream gradient (P, H, W) or None.

    Images, bandwidth and upstream gradient are contiguous float32 on one device.
    """

    def __call__(
        self,
        images: Sequence[torch.Tensor],
        bandwidth: torch.Tensor,
        options: DensityOptions,
        divergence: str,
        upstream: torch.Tensor | None,
    ) -> Result: ...


class DivergenceMap(torch.autograd.Function):
    """The map; its gradient takes a second visit."""

    @staticmethod
    def forward(ctx, pred_value, pred_neighbor, target_value, target_neighbor, bandwidth, launch, options, divergence):
        images = [image.contiguous() for image in (pred_value, pred_neighbor, target_value, target_neighbor)]
        ctx.save_for_backward(*images, bandwidth)
        ctx.launch = launch
        ctx.arguments = options, divergence
        return launch(images, bandwidth, *ctx.arguments, None).map

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        *images, bandwidth = ctx.saved_tensors
        result = ctx.launch(images, bandwidth, *ctx.arguments, grad_output.contiguous())
        return result.grad_value, result.grad_neighbor, *[None] * 6


class DivergenceSum(torch.autograd.Function):
    """The map's sum under weights known beforehand, so that its gradient comes with the first visit."""

    @staticmethod
    def forward(
        ctx, pred_value, pred_neighbor, target_value, target_neighbor, bandwidth, weight, launch, options, divergence
    ):
        images = [image.contiguous() for image in (pred_value, pred_neighbor, target_value, target_neighbor)]
        weight = weight.expand(images[0].shape).contiguous()
        learns = any(ctx.needs_input_grad[:2])
        result = launch(images, bandwidth, options, divergence, weight if learns else None)
        if learns:
            ctx.save_for_backward(result.grad_value, result.grad_neighbor)
        return (result.map * weight).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        grad_value, grad_neighbor = ctx.saved_tensors
        return grad_value * grad_output, grad_neighbor * grad_output, *[None] * 7
