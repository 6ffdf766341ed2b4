"""Operators of fused backends, which compute a divergence map and its gradient in one pass.

A fused backend has two operators of torch.library, so that torch.compile, torch.export and autocast know it:

* `<backend>_map`: the map. Its gradient takes a second pass, because the upstream gradient is known in the backward
  pass only.
* `<backend>_sum`: the weighted sum of each plane of the map, and its gradient. The weights are known in advance, so
  that one pass is enough.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from basicsr_entropy.entropy.backends.operators import Settings, differentiable, first_order_only, operator


class Result(NamedTuple):
    """Result of a launch; all tensors are (P, H, W).

    Attributes:
        map: Divergence at every pixel.
        gradients: Gradients w.r.t. the prediction's values and neighbor values; empty if there was no upstream one.
    """

    map: torch.Tensor
    gradients: Sequence[torch.Tensor]


class Launch(Protocol):
    """Computation of a fused backend.

    Arguments are those of `eager.local_divergence`, and the upstream gradient of shape (P, H, W), or None to compute
    the map only. All tensors are contiguous, float32, and on one device.
    """

    def __call__(
        self,
        images: Sequence[torch.Tensor],
        bandwidth: torch.Tensor,
        scale: torch.Tensor,
        settings: Settings,
        upstream: torch.Tensor | None,
    ) -> Result: ...


class FusedBackend(NamedTuple):
    """The operators of a fused backend, called with images, bandwidth and scale as in `eager.local_divergence`.

    Attributes:
        map: (*images, bandwidth, scale, *settings) -> map (P, H, W).
        sum: (*images, bandwidth, scale, weight, *settings) -> sums of the map times the weight (P, H, W) over each
            plane, (P,), and their gradients w.r.t. the prediction's values and neighbor values, (P, H, W) each. Only
            the sums are differentiable.
    """

    map: Callable[..., torch.Tensor]
    sum: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


FUSED: dict[str, FusedBackend] = {}  # by name, once `define_operators` has been called


def define_operators(backend: str, launch: Launch) -> None:
    """Defines `basicsr_entropy::<backend>_map` and `basicsr_entropy::<backend>_sum`, and adds them to `FUSED`.

    Args:
        backend: Name of the backend.
        launch: Its computation.
    """

    @operator(f'{backend}_map', returns='Tensor')
    def map_operator(tensors: Sequence[torch.Tensor], settings: Settings) -> torch.Tensor:
        *images, bandwidth, scale = _checked(backend, *tensors)
        return launch(images, bandwidth, scale, settings, None).map

    @operator(f'{backend}_sum', returns='(Tensor, Tensor, Tensor)', further=('weight',))
    def sum_operator(tensors: Sequence[torch.Tensor], settings: Settings) -> tuple[torch.Tensor, ...]:
        *images, bandwidth, scale, weight = _checked(backend, *tensors)
        result = launch(images, bandwidth, scale, settings, weight)
        return (result.map * weight).sum(dim=(1, 2)), *result.gradients

    @map_operator.register_fake
    def _(pred_value: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.empty_like(pred_value, memory_format=torch.contiguous_format)

    @sum_operator.register_fake
    def _(pred_value: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
        gradients = [torch.empty_like(pred_value, memory_format=torch.contiguous_format) for _ in range(2)]
        return pred_value.new_empty(pred_value.shape[0]), *gradients  # len() would fix a symbolic size

    def map_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.settings = inputs[6:]

    def map_backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        _, *gradients = weighted_sum(*(each.detach() for each in tensors), grad.detach(), *ctx.settings)
        gradients = [first_order_only(each, *tensors[:2], grad) for each in gradients]
        return *gradients, *[None] * (4 + len(ctx.settings))

    def sum_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[:2], *output[1:])

    def sum_backward(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        *sources, grad_value, grad_neighbor = ctx.saved_tensors
        gradients = (first_order_only(each, *sources) * grad[:, None, None] for each in (grad_value, grad_neighbor))
        return *gradients, *[None] * (5 + len(Settings._fields))

    weighted_sum = differentiable(sum_operator, sum_context, sum_backward)
    FUSED[backend] = FusedBackend(differentiable(map_operator, map_context, map_backward), weighted_sum)


def _checked(backend: str, image: torch.Tensor, *others: torch.Tensor) -> list[torch.Tensor]:
    """The tensors, contiguous: kernels read them by address."""
    tensors = image, *others
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device != image.device:
            raise ValueError(f'{backend}: needs float32 tensors on one device, got {tensor.dtype} on {tensor.device}')
    planes = (len(image), 1)
    shapes = [planes if index in (4, 5) else image.shape for index in range(len(tensors))]
    if image.ndim != 3 or any(tensor.shape != shape for tensor, shape in zip(tensors, shapes)):
        raise ValueError(
            f'{backend}: needs images (P, H, W), bandwidth and scale (P, 1), got '
            f'{", ".join(str(tuple(tensor.shape)) for tensor in tensors)}'
        )
    return [tensor.contiguous() for tensor in tensors]
