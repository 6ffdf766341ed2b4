"""The network of Refusion: a NAFNet conditioned on the degraded image and the timestep."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from basicsr_entropy._checks import check_integer
from basicsr_entropy.archs.global_mean import GlobalMean
from basicsr_entropy.archs.layers import (
    ChannelLayerNorm,
    SinusoidalTimeEmbedding,
    batch_of_timesteps,
    check_embedding_size,
)


class SimpleGate(nn.Module):
    """Product of the first and the second half of the channels (Chen et al., *NAFNet*, ECCV 2022, equation 4)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class TimeNAFBlock(nn.Module):
    """NAFNet block; the time embedding shifts and scales its two normalization layers.

    Args:
        channels: Number of channels C; input and output are (N, C, H, W).
        time_dim: Size of the time embedding (N, time_dim).
    """

    def __init__(self, channels: int, time_dim: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.mlp = nn.Sequential(SimpleGate(), nn.Linear(time_dim // 2, 4 * channels))
        self.norm1 = ChannelLayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.sca = nn.Sequential(GlobalMean(), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelLayerNorm(channels)
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.gate = SimpleGate()
        # zero initialization: an untrained block is the identity
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        modulation = rearrange(self.mlp(time), 'n c -> n c 1 1')
        shift_spatial, scale_spatial, shift_channel, scale_channel = modulation.chunk(4, dim=1)

        y = self.norm1(x, scale_spatial, shift_spatial)
        y = self.gate(self.conv2(self.conv1(y)))
        x = torch.addcmul(x, self.conv3(y * self.sca(y)), self.beta)

        y = self.norm2(x, scale_channel, shift_channel)
        return torch.addcmul(x, self.conv5(self.gate(self.conv4(y))), self.gamma)


class ConditionalNAFNet(nn.Module):
    """U-shaped NAFNet conditioned on the degraded image and the timestep.

    Luo et al., *Refusion: Enabling Large-Size Realistic Image Restoration with Latent-Space Diffusion Models*,
    CVPRW 2023. Parameter names and shapes are those of the published weights, so that these load unchanged.

    Args:
        img_channel: Number of image channels C.
        width: Number of feature channels at full resolution, doubled at each lower level; even, at least 4.
        middle_blk_num: Number of blocks at the lowest resolution, between encoder and decoder.
        enc_blk_nums: Number of blocks of each encoder level, from the highest resolution down. [1, 1, 1, 1, 28] in the
            published network.
        dec_blk_nums: Number of blocks of each decoder level, from the lowest resolution up; as many levels as
            `enc_blk_nums`.

    Raises:
        ValueError: If an argument is out of range; the message begins with its name.

    Example:
        >>> network = ConditionalNAFNet(width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
        >>> x_t, mu = torch.rand(2, 1, 3, 13, 18)
        >>> network(x_t, mu, t=50).shape
        torch.Size([1, 3, 13, 18])
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 64,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (1, 1, 1, 1, 28),
        dec_blk_nums: Sequence[int] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        if len(enc_blk_nums) != len(dec_blk_nums):
            raise ValueError(
                f'dec_blk_nums: must have as many levels as enc_blk_nums {list(enc_blk_nums)}, got {list(dec_blk_nums)}'
            )
        check_integer('img_channel', img_channel, 1)
        check_integer('middle_blk_num', middle_blk_num, 0)
        for name, counts in (('enc_blk_nums', enc_blk_nums), ('dec_blk_nums', dec_blk_nums)):
            for count in counts:
                check_integer(name, count, 0)
        check_embedding_size('width', width)
        time_dim = 4 * width
        self.time_mlp = nn.Sequential(
            SinusoidalTimeEmbedding(width), nn.Linear(width, 2 * time_dim), SimpleGate(), nn.Linear(time_dim, time_dim)
        )
        self.intro = nn.Conv2d(2 * img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)

        def blocks(count: int, channels: int) -> nn.ModuleList:
            return nn.ModuleList(TimeNAFBlock(channels, time_dim) for _ in range(count))

        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        channels = width
        for count in enc_blk_nums:
            self.encoders.append(blocks(count, channels))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle_blks = blocks(middle_blk_num, channels)
        for count in dec_blk_nums:
            self.ups.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(blocks(count, channels))
        self.size_multiple = 2 ** len(enc_blk_nums)

    def forward(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
        """Predicts the noise, x0 or the residual, whichever `MeanRevertingSDE.prediction` names, from the state x_t.

        Args:
            x_t: State at timestep t, shape (N, C, H, W), roughly in the range [0, 1].
            mu: Degraded image, same shape, range [0, 1].
            t: Timesteps in 1..T, a scalar or shape (N,); may be fractional.

        Returns:
            Prediction of shape (N, C, H, W). Height and width are arbitrary: the input is zero-padded at the right and
            the bottom to a multiple of `size_multiple`, and the output is cropped.
        """
        height, width = x_t.shape[-2:]
        time = self.time_mlp(batch_of_timesteps(t, x_t))
        x = torch.cat((x_t - mu, mu), dim=1)
        x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple))

        x = self.intro(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs):
            for block in encoder.children():
                x = block(x, time)
            skips.append(x)
            x = down(x)
        for block in self.middle_blks:
            x = block(x, time)
        for decoder, up in zip(self.decoders, self.ups):
            x = up(x) + skips.pop()
            for block in decoder.children():
                x = block(x, time)
        return self.ending(x)[..., :height, :width]
