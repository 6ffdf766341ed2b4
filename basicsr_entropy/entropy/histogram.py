"""Divergence of the joint histograms of whole planes, in plain torch."""

from collections.abc import Sequence

import torch

from basicsr_entropy.entropy.divergences import Divergence
from basicsr_entropy.entropy.kernels import KERNELS, level_densities
from basicsr_entropy.entropy.options import DensityOptions


def global_divergence(
    planes: Sequence[torch.Tensor], bandwidth: torch.Tensor, options: DensityOptions, divergence: Divergence
) -> torch.Tensor:
    """Divergence of one density a plane. Densities are matrix products, so memory is O(P H W L).

    Args:
        planes: Prediction's values and neighbour values, then the target's, in levels: (P, H, W) each. Gradients reach
            the prediction's.
        bandwidth: Of each plane in levels, (P, 1).
        options: How densities are made.
        divergence: The divergence.

    Returns:
        Shape (P,).
    """
    q_value, q_neighbor, p_value, p_neighbor = (
        level_densities(plane.flatten(1), bandwidth, KERNELS[options.kernel], options.levels, options.unit_mass)
        for plane in planes
    )
    factor = options.scale(bandwidth)[:, None] / planes[0][0].numel()
    p, q = (a @ b.transpose(1, 2) * factor for a, b in ((p_value, p_neighbor), (q_value, q_neighbor)))
    return _Divergence.apply(p, q, divergence)


class _Divergence(torch.autograd.Function):
    """Divergence of densities (P, L, L) as (P,); the gradient reaches q only."""

    @staticmethod
    def forward(ctx, p, q, divergence):
        total = divergence.term(p, q, 1).sum(dim=(1, 2))
        ctx.save_for_backward(p, q, total)
        ctx.divergence = divergence
        return divergence.finish(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        p, q, total = ctx.saved_tensors
        outer = (grad_output * ctx.divergence.finish_slope(total))[:, None, None]
        return None, ctx.divergence.slope(p, q, 1).mul_(outer), None
