"""Layers used by both conditional networks."""

import math

import torch
from torch import nn

from basicsr_entropy._checks import is_integer


class SinusoidalTimeEmbedding(nn.Module):
    """Sines and cosines of the timestep at geometrically spaced frequencies (Vaswani et al., 2017, section 3.5).

    Args:
        dim: Size of the embedding, even and at least 4.
    """

    frequencies: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_embedding_size('dim', dim)
        half = dim // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer('frequencies', frequencies, persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embeds timesteps t of shape (N,), in float32 or better, as (N, dim) in the type of the network."""
        angles = t[:, None] * self.frequencies.to(t.dtype)
        return torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.frequencies.dtype)


class ChannelLayerNorm(nn.Module):
    """Layer normalization over the channels of each pixel, with a learned gain and no bias.

    Args:
        channels: Number of channels C of the (N, C, H, W) input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(
        self, x: torch.Tensor, scale: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalizes x; with scale and shift of shape (N, C, 1, 1), also multiplies by 1 + scale and adds shift."""
        dtype, eps = x.dtype, 1e-5
        if dtype not in (torch.float32, torch.float64):
            # in half precision 1e-5 would be rounded away beside the variance, and squares overflow
            x, eps = x.float(), 1e-3
        # var_mean over channels is ten times slower on CPUs
        centered = x - x.mean(dim=1, keepdim=True)
        normalized = centered * ((centered * centered).mean(dim=1, keepdim=True) + eps).rsqrt()
        if scale is None or shift is None:
            return (normalized * self.g).to(dtype)
        return torch.addcmul(shift.to(x.dtype), normalized, (self.g * (scale + 1)).to(x.dtype)).to(dtype)


def check_embedding_size(name: str, size: object) -> None:
    """Raises a ValueError that begins with the argument's name unless it is an even integer of at least 4."""
    if not is_integer(size, 4) or size % 2:
        raise ValueError(f'{name}: must be an even integer of at least 4, got {size!r}')


def batch_of_timesteps(t: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """Brings a timestep of shape (), (1,), (N,) or (N, 1, 1, 1) to shape (N,), on the device of `like`.

    In float32 or better: half precision has no room for a thousand timesteps.

    Raises:
        ValueError: If t has neither one element nor one per image.
    """
    t = torch.as_tensor(t, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device).flatten()
    if t.numel() not in (1, like.shape[0]):
        raise ValueError(
            f't: must be one timestep, or one per image of the {like.shape[0]} in the batch, got {t.numel()}'
        )
    return t.expand(like.shape[0])
