"""A network, however it is evaluated, from degraded images to restored ones."""

from functools import partial
from typing import Any

import torch
from torch import nn

from basicsr_entropy._checks import is_whole
from basicsr_entropy.archs.global_mean import gathered_means
from basicsr_entropy.diffusion import MeanRevertingSDE
from basicsr_entropy.diffusion.tiling import Tiling, sample_tiled
from basicsr_entropy.models.execution import Speed

LARGEST_SEED = 2**63 - 1  # that torch takes


def check_seed(name: str, seed: object) -> None:
    """Raises a ValueError that begins with the option's name unless it is a seed."""
    if not is_whole(seed, 0) or seed > LARGEST_SEED:
        raise ValueError(f'{name} must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}')


def restore(
    process: MeanRevertingSDE,
    net: nn.Module,
    mu: torch.Tensor,
    *,
    seed: int,
    tile: Tiling | None = None,
    speed: Speed = Speed(),  # noqa: B008  (it is frozen)
    **options: Any,
) -> torch.Tensor:
    """Samples with a network of this package or another; see `sample_tiled`.

    Args:
        process: The SDE.
        net: In evaluation mode, on mu's device.
        mu: Degraded images, shape (N, C, H, W), range [0, 1].
        seed: Of every random number.
        tile: None samples images whole.
        speed: How the network is evaluated.
        **options: More of `sample_tiled`'s and `sample`'s.

    Returns:
        Restored images, shape of mu, not clamped.
    """
    return sample_tiled(
        process,
        speed.wrap(net),
        mu,
        tile,
        multiple=getattr(net, 'size_multiple', 1),
        share=partial(gathered_means, net),
        generator=torch.Generator(mu.device).manual_seed(seed),
        **options,
    )
