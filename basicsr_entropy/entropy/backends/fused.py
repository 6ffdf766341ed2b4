"""Autograd functions for fused backends, which compute a divergence map and its gradient in one pass."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch

from basicsr_entropy.entropy.density import DensityOptions


class Result(NamedTuple):
    """Result of a launch; all tensors are (P, H, W).

    Attributes:
        map: Divergence at every pixel.
        grad_value: Gradient w.r.t. the prediction's values; None if there was no upstream gradient.
        grad_neighbor: Gradient w.r.t. the prediction's neighbor values; None if there was no upstream gradient.
    """

    map: torch.Tensor
    grad_value: torch.Tensor | None
    grad_neighbor: torch.Tensor | None


class Launch(Protocol):
    """Computation of a fused backend.

    Arguments are those of `eager.local_divergence`, and the upstream gradient of shape (P, H, W), or None to compute
    the map only. Images, bandwidth and upstream gradient are contiguous float32 tensors on one device.
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
    """The map; its gradient needs a second pass, because the upstream gradient is known in the backward pass only."""

    @staticmethod
    def forward(
        ctx: Any,
        pred_value: torch.Tensor,
        pred_neighbor: torch.Tensor,
        target_value: torch.Tensor,
        target_neighbor: torch.Tensor,
        bandwidth: torch.Tensor,
        launch: Launch,
        options: DensityOptions,
        divergence: str,
    ) -> torch.Tensor:
        images = [image.contiguous() for image in (pred_value, pred_neighbor, target_value, target_neighbor)]
        ctx.save_for_backward(*images, bandwidth)
        ctx.launch = launch
        ctx.arguments = options, divergence
        return launch(images, bandwidth, options, divergence, None).map

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *images, bandwidth = ctx.saved_tensors
        result = ctx.launch(images, bandwidth, *ctx.arguments, grad_output.contiguous())
        return result.grad_value, result.grad_neighbor, *[None] * 6


class DivergenceSum(torch.autograd.Function):
    """Weighted sum of the map: the weights are known in advance, so that one pass gives value and gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        pred_value: torch.Tensor,
        pred_neighbor: torch.Tensor,
        target_value: torch.Tensor,
        target_neighbor: torch.Tensor,
        bandwidth: torch.Tensor,
        weight: torch.Tensor,
        launch: Launch,
        options: DensityOptions,
        divergence: str,
    ) -> torch.Tensor:
        images = [image.contiguous() for image in (pred_value, pred_neighbor, target_value, target_neighbor)]
        weight = weight.expand(images[0].shape).contiguous()
        needs_gradient = any(ctx.needs_input_grad[:2])
        result = launch(images, bandwidth, options, divergence, weight if needs_gradient else None)
        if needs_gradient:
            ctx.save_for_backward(result.grad_value, result.grad_neighbor)
        return (result.map * weight).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_value, grad_neighbor = ctx.saved_tensors
        return grad_value * grad_output, grad_neighbor * grad_output, *[None] * 7
