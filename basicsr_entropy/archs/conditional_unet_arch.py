"""The network of IR-SDE: a U-Net with linear attention, conditioned on the degraded image and the timestep."""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from basicsr_entropy._checks import check_integer
from basicsr_entropy.archs.layers import (
    ChannelLayerNorm,
    SinusoidalTimeEmbedding,
    batch_of_timesteps,
    check_embedding_size,
)


class ConvAct(nn.Module):
    """3x3 convolution, optional scale and shift, SiLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor, scale_shift: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        x = self.proj(x)
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return F.silu(x)


class TimeResBlock(nn.Module):
    """Residual block; the time embedding shifts and scales its first convolution.

    Args:
        in_channels: Channels of the input (N, in_channels, H, W).
        out_channels: Channels of the output.
        time_dim: Size of the time embedding (N, time_dim).
    """

    def __init__(self, in_channels: int, out_channels: int, time_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * out_channels))
        self.block1 = ConvAct(in_channels, out_channels)
        self.block2 = ConvAct(out_channels, out_channels)
        same = in_channels == out_channels
        self.res_conv = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        scale_shift = rearrange(self.mlp(time), 'n c -> n c 1 1').chunk(2, dim=1)
        return self.block2(self.block1(x, scale_shift)) + self.res_conv(x)


class LinearAttention(nn.Module):
    """Attention with a cost linear in the number of pixels (Shen et al., *Efficient Attention*, WACV 2021).

    Args:
        channels: Channels C of the (N, C, H, W) input and output.
        heads: Number of heads.
        dim_head: Channels per head.
    """

    def __init__(self, channels: int, heads: int = 4, dim_head: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim_head**-0.5
        self.to_qkv = nn.Conv2d(channels, 3 * heads * dim_head, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * dim_head, channels, 1), ChannelLayerNorm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        q, k, v = rearrange(self.to_qkv(x), 'n (three h d) y x -> three n h d (y x)', three=3, h=self.heads)
        q = q.softmax(dim=-2) * self.scale
        k = k.softmax(dim=-1)
        context = k @ v.transpose(-1, -2) / (height * width)
        out = context.transpose(-1, -2) @ q
        return self.to_out(rearrange(out, 'n h d (y x) -> n (h d) y x', y=height))


class PreNorm(nn.Module):
    """Layer normalization followed by fn."""

    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    """fn(x) + x."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(x) + x


def attention(channels: int) -> nn.Module:
    """Residual linear attention with layer normalization before it."""
    return Residual(PreNorm(channels, LinearAttention(channels)))


class ConditionalUNet(nn.Module):
    """U-Net conditioned on the degraded image and the timestep.

    Luo et al., *Image Restoration with Mean-Reverting Stochastic Differential Equations*, ICML 2023. Parameter names
    and shapes are those of the published weights, so that these load unchanged.

    Args:
        in_nc: Number of channels C of the state and of the degraded image.
        out_nc: Number of channels of the prediction, equal to in_nc.
        nf: Number of feature channels at full resolution, doubled at each lower level; even, at least 4.
        depth: Number of resolution levels, at least 1.

    Raises:
        ValueError: If an argument is out of range; the message begins with its name.

    Example:
        >>> network = ConditionalUNet(nf=8, depth=2)
        >>> x_t, mu = torch.rand(2, 1, 3, 13, 18)
        >>> network(x_t, mu, t=50).shape
        torch.Size([1, 3, 13, 18])
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nf: int = 64, depth: int = 4) -> None:
        super().__init__()
        check_integer('in_nc', in_nc, 1)
        if out_nc != in_nc:
            raise ValueError(f'out_nc: must be in_nc, {in_nc}, the channels of the images, got {out_nc}')
        check_integer('depth', depth, 1)
        check_embedding_size('nf', nf)
        time_dim = 4 * nf
        self.init_conv = nn.Conv2d(2 * in_nc, nf, 7, padding=3, bias=False)
        self.time_mlp = nn.Sequential(
            SinusoidalTimeEmbedding(nf), nn.Linear(nf, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim)
        )
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            inner, outer = nf * 2**level, nf * 2 ** (level + 1)
            bottom, top = level == depth - 1, level == 0
            self.downs.append(
                nn.ModuleList(
                    [
                        TimeResBlock(inner, inner, time_dim),
                        TimeResBlock(inner, inner, time_dim),
                        attention(inner),
                        nn.Conv2d(inner, outer, 3, padding=1, bias=False)
                        if bottom
                        else nn.Conv2d(inner, outer, 4, stride=2, padding=1),
                    ]
                )
            )
            self.ups.insert(
                0,
                nn.ModuleList(
                    [
                        TimeResBlock(outer + inner, outer, time_dim),
                        TimeResBlock(outer + inner, outer, time_dim),
                        attention(outer),
                        nn.Conv2d(outer, inner, 3, padding=1, bias=False)
                        if top
                        else nn.Sequential(
                            nn.Upsample(scale_factor=2, mode='nearest'), nn.Conv2d(outer, inner, 3, padding=1)
                        ),
                    ]
                ),
            )
        middle = nf * 2**depth
        self.mid_block1 = TimeResBlock(middle, middle, time_dim)
        self.mid_attn = attention(middle)
        self.mid_block2 = TimeResBlock(middle, middle, time_dim)
        self.final_res_block = TimeResBlock(2 * nf, nf, time_dim)
        self.final_conv = nn.Conv2d(nf, out_nc, 3, padding=1)
        self.size_multiple = 2**depth

    def forward(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
        """Predicts the noise, x0 or the residual, whichever `MeanRevertingSDE.prediction` names, from the state x_t.

        Args:
            x_t: State at timestep t, shape (N, C, H, W), roughly in the range [0, 1].
            mu: Degraded image, same shape, range [0, 1].
            t: Timesteps in 1..T, a scalar or shape (N,); may be fractional.

        Returns:
            Prediction of shape (N, C, H, W). Height and width are arbitrary: the input is padded by reflection at the
            right and the bottom to a multiple of `size_multiple`, and the output is cropped.
        """
        height, width = x_t.shape[-2:]
        time = self.time_mlp(batch_of_timesteps(t, x_t))
        x = torch.cat((x_t - mu, mu), dim=1)
        padding = (0, -width % self.size_multiple, 0, -height % self.size_multiple)
        # reflection needs an image larger than the padding
        reflects = padding[1] < width and padding[3] < height
        x = F.pad(x, padding, mode='reflect' if reflects else 'replicate')

        x = first = self.init_conv(x)
        skips = []
        for level in self.downs:
            block1, block2, attend, down = level.children()
            x = block1(x, time)
            skips.append(x)
            x = attend(block2(x, time))
            skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for level in self.ups:
            block1, block2, attend, up = level.children()
            x = block1(torch.cat((x, skips.pop()), dim=1), time)
            x = block2(torch.cat((x, skips.pop()), dim=1), time)
            x = up(attend(x))
        x = self.final_res_block(torch.cat((x, first), dim=1), time)
        return self.final_conv(x)[..., :height, :width]
