"""Layers that both conditional networks share."""

import math

import torch
from torch import nn


class SinusoidalTimeEmbedding(nn.Module):
    """Sines and cosines of the time at geometrically spaced frequencies (Vaswani et al., 2017, section 3.5).

    Args:
        dim: Size of the embedding; even, at least 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 4 or dim % 2:
            raise ValueError(f'the time embedding needs an even size of at least 4, got {dim}')
        half = dim // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer('frequencies', frequencies, persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embeds times t of shape (N,) as (N, dim)."""
        angles = t[:, None] * self.frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, with a gain and no bias.

    Args:
        channels: Number of channels C of the (N, C, H, W) input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(
        self, x: torch.Tensor, scale: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalises x; with scale and shift, of shape (N, C, 1, 1), times 1 + scale, plus shift."""
        dtype, eps = x.dtype, 1e-5
        if dtype not in (torch.float32, torch.float64):
            # 1e-5 is lost beside a half-precision variance, and squares overflow
            x, eps = x.float(), 1e-3
        # on CPUs var_mean over channels takes ten times as long
        centred = x - x.mean(dim=1, keepdim=True)
        normalised = centred * ((centred * centred).mean(dim=1, keepdim=True) + eps).rsqrt()
        if scale is None:
            return (normalised * self.g).to(dtype)
        return torch.addcmul(shift.to(x.dtype), normalised, (self.g * (scale + 1)).to(x.dtype)).to(dtype)


def as_batch_of_times(t: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """Brings a scalar, (1,), (N,) or (N, 1, 1, 1) time to shape (N,) on the device and in the dtype of `like`.

    Raises:
        ValueError: If t has neither one element nor one an image.
    """
    t = torch.as_tensor(t, dtype=like.dtype, device=like.device).flatten()
    if t.numel() not in (1, like.shape[0]):
        raise ValueError(f'got {t.numel()} times for a batch of {like.shape[0]} images')
    return t.expand(like.shape[0])
