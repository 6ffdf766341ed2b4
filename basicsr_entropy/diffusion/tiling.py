"""Images too large for one network evaluation: tiles inside every sampling step, or sampling at a reduced size.

Enhancing tiles apart and joining them harms low light: each tile would choose its own brightness. Here the state stays
one whole image, and only the network sees tiles; or a small copy is sampled, and its change brought to the image.
"""

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch.nn import functional as F
from tqdm import tqdm

from basicsr_entropy._checks import check_choice, check_whole
from basicsr_entropy.diffusion.ensemble import self_ensembled
from basicsr_entropy.diffusion.process import MeanRevertingSDE
from basicsr_entropy.diffusion.samplers import Network, Sampler, sample

Mode = Literal['per_step', 'interlace', 'downscale']

MODES: tuple[Mode, ...] = get_args(Mode)
SHIFTS = (0.0, 0.5, 0.25, 0.75)  # of a cell, from one interlaced evaluation to the next
FIRST_LOOK = 32  # tiles that a first guess of an image's statistics is made of
GUIDE_RADIUS = 4  # pixels of the reduced image
GUIDE_EPS = 1e-2  # of the reduced image's variance, below which a window counts as flat


class Tile(NamedTuple):
    """Where a tile lies, and its weights, whose products sum to 1 over the tiles at each pixel."""

    rows: slice
    row_weights: torch.Tensor
    columns: slice
    column_weights: torch.Tensor

    def of(self, image: torch.Tensor) -> torch.Tensor:
        return image[..., self.rows, self.columns]


class Statistics(Protocol):
    """What a network takes from the whole image, such as global means, of which it sees no more than tiles."""

    def gather(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """The next evaluation is of a tile; the products of its rows' and columns' weights sum to 1 over all tiles."""

    def hold(self) -> None:
        """Evaluations from here on take what was gathered, and gather anew."""


# opens a context for an evaluation; gives None if the network takes nothing from the whole image
Share = Callable[[], AbstractContextManager[Statistics | None]]


@dataclass(frozen=True)
class Tiling:
    """How an image larger than a tile is sampled; smaller images are sampled whole.

    Attributes:
        size: Side length of a tile in pixels, at least 1. For `downscale`, the longer side of the reduced image.
        overlap: Minimum overlap of neighbouring tiles in pixels, at least 0 and smaller than `size`. Used by
            `per_step`, and by `interlace` in the last step.
        mode: How tiles are combined: `per_step` blends the predictions of overlapping tiles in every sampling step;
            `interlace` uses tiles without overlap that move from step to step, and blends overlapping tiles in the last
            step only, which is faster; `downscale` samples a reduced image and transfers the change to the full size.

    Raises:
        ValueError: If a value is unknown or out of range; the message begins with the name of the attribute.

    Example:
        >>> Tiling(size=512, overlap=512)
        Traceback (most recent call last):
        ValueError: overlap: must be smaller than the size 512, got 512
    """

    size: int = 1024
    overlap: int = 64
    mode: Mode = 'per_step'

    def __post_init__(self) -> None:
        check_whole('size', self.size, 1)
        check_whole('overlap', self.overlap, 0)
        if self.overlap >= self.size:
            raise ValueError(f'overlap: must be smaller than size={self.size}, got {self.overlap}')
        check_choice('mode', self.mode, MODES)


def no_statistics() -> AbstractContextManager[None]:
    """For networks that take no statistics of the whole image."""
    return nullcontext()


def sample_tiled(
    process: MeanRevertingSDE,
    network: Network,
    mu: torch.Tensor,
    tiling: Tiling | None,
    *,
    sampler: Sampler = Sampler(),  # noqa: B008  (it is frozen)
    multiple: int = 1,
    share: Share = no_statistics,
    self_ensemble: bool = False,
    progress: bool = False,
    **options: Any,
) -> torch.Tensor:
    """`sample`, with the network's memory bounded by the size of a tile.

    Args:
        process: The SDE.
        network: As in `sample`.
        mu: Degraded image, shape (N, C, H, W), range [0, 1].
        tiling: None samples the image whole, as do tiles that it fits into.
        sampler: See `sample`.
        multiple: Tiles begin at multiples of this and have such sides, but for the last ones. With the multiple that a
            network pads to, its inner grid lies on a tile as on the whole image.
        share: See `tiled_network`.
        self_ensemble: Average predictions over eight views; see `self_ensembled`.
        progress: Show a progress bar over the steps, and one over the tiles of each.
        **options: More of `sample`'s.

    Returns:
        Restored image, shape of mu, not clamped.
    """
    large = tiling is not None and max(mu.shape[-2:]) > tiling.size
    degraded = _reduce(mu, tiling.size) if large and tiling.mode == 'downscale' else mu
    if large and degraded is mu:
        evaluations = process.timesteps if sampler.steps is None else sampler.steps
        network = tiled_network(network, tiling, evaluations, multiple, share, progress)
    if self_ensemble:
        network = self_ensembled(network)
    restored = sample(process, network, degraded, sampler, progress=progress, **options)
    return restored if degraded is mu else transfer(mu, degraded, restored)


def tiled_network(
    network: Network,
    tiling: Tiling,
    evaluations: int,
    multiple: int = 1,
    share: Share = no_statistics,
    progress: bool = False,
) -> Network:
    """A network that hands the given one tiles, and joins what it predicts for them.

    Args:
        network: Sees (N, C, h, w) with h, w <= size.
        tiling: Mode 'per_step' or 'interlace'.
        evaluations: Number of times it is evaluated at. The last is blended in both modes: it makes the image.
        multiple: As in `sample_tiled`.
        share: Opens a context for an evaluation. Where it gives `Statistics`, the network sees the image three times,
            so that they come to what they are of the whole image: overlapping tiles, each with its own statistics;
            the same with those gathered, which are gathered anew; and with these the tiles that are joined.
        progress: Show a progress bar over the tiles of each evaluation.
    """
    size = max(1, tiling.size // multiple)  # from here on in multiples
    overlap = min(math.ceil(tiling.overlap / multiple), size - 1)
    seen: list[torch.Tensor] = []  # the times

    def cut(image: torch.Tensor, blended: bool) -> list[Tile]:
        axes = []
        for length in image.shape[-2:]:
            units, shift = math.ceil(length / multiple), SHIFTS[len(seen) % len(SHIFTS)]
            spans = _overlapping(units, size, overlap) if blended else _cells(units, size, shift)
            slices = [slice(start * multiple, min(stop * multiple, length)) for start, stop in spans]
            axes.append([(part, weight.to(image)) for part, weight in zip(slices, _weights(slices, length))])
        return [Tile(*row, *column) for row, column in itertools.product(*axes)]

    def tiled(x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if not seen or not torch.equal(seen[-1], t):
            seen.append(t)
        overlapping = cut(x_t, blended=True)
        blended = tiling.mode == 'per_step' or len(seen) >= evaluations
        tiles, joined = overlapping if blended else cut(x_t, blended=False), torch.zeros_like(x_t)
        with share() as statistics, tqdm(desc='tiles', unit='tile', leave=False, disable=not progress) as bar:

            def see(tile: Tile) -> torch.Tensor:
                bar.update()
                return network(tile.of(x_t), tile.of(mu), t)

            gathered = [] if statistics is None else _gathered(overlapping)
            bar.reset(len(tiles) + sum(map(len, gathered)))
            for each in gathered:
                for tile, (rows, columns) in zip(each, _shares(each, multiple)):
                    statistics.gather(rows, columns)
                    see(tile)
                statistics.hold()
            for tile in tiles:
                tile.of(joined).add_(see(tile) * tile.row_weights[:, None] * tile.column_weights)
        return joined

    return tiled


def _gathered(tiles: list[Tile]) -> tuple[list[Tile], list[Tile]]:
    """What statistics are gathered from: for a first guess a number of tiles spread over the image, then all."""
    count = min(len(tiles), FIRST_LOOK)
    return [tiles[index * len(tiles) // count] for index in range(count)], tiles


def _shares(tiles: list[Tile], multiple: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights of each tile's rows and columns, and of what the network pads them with; products sum to 1 over all."""

    def pad(weights: torch.Tensor) -> torch.Tensor:
        return F.pad(weights[None], (0, -len(weights) % multiple), mode='replicate')[0]

    shares = [(pad(tile.row_weights), pad(tile.column_weights)) for tile in tiles]
    total = sum(rows.sum() * columns.sum() for rows, columns in shares)
    return [(rows / total, columns) for rows, columns in shares]


def _overlapping(units: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Spans of one size that cover 0..units evenly, sharing `overlap` at least."""
    if units <= size:
        return [(0, units)]
    count = math.ceil((units - overlap) / (size - overlap))
    starts = [round(index * (units - size) / (count - 1)) for index in range(count)]
    return [(start, start + size) for start in starts]


def _cells(units: int, size: int, shift: float) -> list[tuple[int, int]]:
    """Spans of at most `size` side by side, cut `shift` of a span further on."""
    count = math.ceil(units / size)
    if count == 1:
        return [(0, units)]
    cuts = {round((index + shift) * units / count) for index in range(count)} - {0, units}
    return list(itertools.pairwise([0, *sorted(cuts), units]))


def _weights(slices: list[slice], length: int) -> list[torch.Tensor]:
    """Raised cosines divided by their sum over the spans: smooth where spans overlap, 1 where one is alone."""
    raised = []
    for part in slices:
        size = part.stop - part.start
        raised.append(torch.sin((torch.arange(size, dtype=torch.float64) + 0.5) * (math.pi / size)) ** 2)
    total = torch.zeros(length, dtype=torch.float64)
    for part, weight in zip(slices, raised):
        total[part] += weight
    return [weight / total[part] for part, weight in zip(slices, raised)]


def _reduce(image: torch.Tensor, longest: int) -> torch.Tensor:
    height, width = image.shape[-2:]
    scale = longest / max(height, width)
    return F.interpolate(image, size=(max(1, round(height * scale)), max(1, round(width * scale))), mode='area')


def transfer(image: torch.Tensor, reduced: torch.Tensor, enhanced: torch.Tensor) -> torch.Tensor:
    """Brings what happened to a reduced image to the whole one: a local gain and offset, by a fast guided filter.

    In each window of the reduced image, enhanced = a reduced + b by least squares (He and Sun, *Fast Guided Filter*,
    2015); a and b vary smoothly, and are enlarged instead of the pixels, so that the image keeps its own detail. Where
    a window is flat, a tends to the ratio of the means instead of zero, which keeps fine texture.

    Args:
        image: Shape (N, C, H, W).
        reduced: The image at a reduced size, shape (N, C, h, w).
        enhanced: What became of it, same shape.

    Returns:
        Shape of image.
    """

    def smooth(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(values, 2 * GUIDE_RADIUS + 1, 1, GUIDE_RADIUS, count_include_pad=False)

    mean, mean_enhanced = smooth(reduced), smooth(enhanced)
    variance = (smooth(reduced * reduced) - mean * mean).clamp_min(0)
    covariance = smooth(reduced * enhanced) - mean * mean_enhanced
    eps = GUIDE_EPS * reduced.var(dim=(-2, -1), keepdim=True) + 1e-8
    ratio = mean_enhanced.clamp_min(0) / (mean + 1 / 255)
    gain = (covariance + eps * ratio) / (variance + eps)
    offset = smooth(mean_enhanced - gain * mean)
    gain = smooth(gain)
    # one full-size map at a time
    result = F.interpolate(gain, size=image.shape[-2:], mode='bilinear', align_corners=False).mul_(image)
    return result.add_(F.interpolate(offset, size=image.shape[-2:], mode='bilinear', align_corners=False))
