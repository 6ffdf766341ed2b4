"""Restoration with a trained network: sampling under a precision, tiling and test-time augmentation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from basicsr_entropy.archs.global_mean import global_mean_statistics
from basicsr_entropy.diffusion import Condition, MeanRevertingSDE, Sampler
from basicsr_entropy.diffusion.tiling import Tiling, sample_tiled
from basicsr_entropy.models.execution import Execution


def restore(
    process: MeanRevertingSDE,
    net: nn.Module,
    images: torch.Tensor,
    *,
    condition: Condition = Condition(),  # noqa: B008  (it is frozen)
    sampler: Sampler,
    seed: int,
    tiling: Tiling | None = None,
    execution: Execution = Execution(),  # noqa: B008  (it is frozen)
    before_evaluation: Callable[[], None] | None = None,
    **options: Any,
) -> torch.Tensor:
    """Samples with a network of this package or another; see `sample_tiled`.

    Args:
        process: The SDE.
        net: Called as net(x_t, mu, t); in evaluation mode, on the images' device.
        images: Degraded images, shape (N, C, H, W), range [0, 1].
        condition: How they become the condition mu.
        sampler: Type of the sampler, number of steps and timestep spacing.
        seed: Seed of the noise of each image, which does not depend on the rest of the batch.
        tiling: Tiles of images larger than one; None samples images whole.
        execution: How the network is evaluated.
        before_evaluation: Called before each evaluation of the network, on a tile or a whole image; may raise an error
            to end the sampling.
        **options: More of `sample_tiled`'s and `sample`'s.

    Returns:
        Restored images, shape of `images`, not clamped.
    """
    network = execution.wrap(net)

    def checked(x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if before_evaluation is not None:
            before_evaluation()
        return network(x_t, mu, t)

    return sample_tiled(
        process,
        checked,
        condition(images),
        tiling,
        sampler=sampler,
        multiple=getattr(net, 'size_multiple', 1),
        global_statistics=partial(global_mean_statistics, net),
        generator=[torch.Generator(images.device).manual_seed(seed) for _ in images],
        **options,
    )
