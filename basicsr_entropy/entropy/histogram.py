"""Divergence of global joint histograms, one per image plane, in plain torch."""

from collections.abc import Sequence

import torch

from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.divergences import Divergence
from basicsr_entropy.entropy.kernels import KERNELS, level_densities


def global_divergence(
    planes: Sequence[torch.Tensor], bandwidth: torch.Tensor, options: DensityOptions, divergence: Divergence
) -> torch.Tensor:
    """Divergence with one joint density per plane. Densities are matrix products, so memory is O(P H W L).

    Args:
        planes: Values and neighbor values of the prediction, then of the target, in levels: (P, H, W) each. The
            result is differentiated w.r.t. the prediction's.
        bandwidth: Bandwidth of each plane in levels, shape (P, 1).
        options: How the densities are estimated.
        divergence: The divergence.

    Returns:
        Divergence of each plane, shape (P,).
    """
    q_value, q_neighbor, p_value, p_neighbor = (
        level_densities(plane.flatten(1), bandwidth, KERNELS[options.kernel], options.level_count, options.unit_mass)
        for plane in planes
    )
    factor = options.scale(bandwidth)[:, None] / planes[0][0].numel()
    p, q = (a @ b.transpose(1, 2) * factor for a, b in ((p_value, p_neighbor), (q_value, q_neighbor)))
    p = p + torch.zeros_like(q)  # as large as q under torch.func.vmap, for the terms compute in place
    return divergence.finish(divergence.differentiable_term(p, q, 1).sum(dim=(1, 2)))
