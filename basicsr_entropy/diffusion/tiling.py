"""Sampling of large images: network evaluation on tiles in every sampling step, or sampling at a reduced size.

Restoring tiles independently and joining the results fails on low-light images, because each tile gets a brightness of
its own. Here there is one diffusion state for the whole image, and only the network is evaluated on tiles; or a reduced
image is sampled, and its change is transferred to the full size.
"""

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch.nn import functional as F
from tqdm import tqdm

from basicsr_entropy._checks import check_choice, check_integer
from basicsr_entropy.diffusion.ensemble import SelfEnsemble
from basicsr_entropy.diffusion.process import MeanRevertingSDE
from basicsr_entropy.diffusion.samplers import Callback, Generators, Network, Sampler, StepAware, sample

Mode = Literal['per_step', 'interlace', 'downscale']

MODES: tuple[Mode, ...] = get_args(Mode)
SHIFTS = (0.5, 0.25, 0.75, 0.0)  # shift of the interlaced tiles in successive steps, as a fraction of a tile
FIRST_PASS_TILES = 32  # number of tiles from which global statistics are first estimated
GUIDE_RADIUS = 4  # radius of the guided filter's windows, in pixels of the reduced image
GUIDE_EPS = 1e-2  # a window whose variance is below this fraction of the reduced image's counts as flat


@dataclass(frozen=True)
class Tiling:
    """How an image larger than a tile is sampled; smaller images are sampled whole.

    Attributes:
        size: Side length of a tile in pixels, at least 1. For `downscale`, the longer side of the reduced image.
        overlap: Minimum overlap of neighboring tiles in pixels, at least 0 and smaller than `size`. Used by
            `per_step`, and by `interlace` in the last step.
        mode: How tiles are combined: `per_step` blends the predictions of overlapping tiles in every sampling step;
            `interlace` uses tiles without overlap that move from step to step, and blends overlapping tiles in the last
            step only, which is faster; `downscale` samples a reduced image and transfers the change to the full size.

    Raises:
        ValueError: If a value is unknown or out of range; the message begins with the name of the attribute.

    Example:
        >>> Tiling(size=512, overlap=512)
        Traceback (most recent call last):
        ValueError: overlap: must be smaller than size=512, got 512
    """

    size: int = 1024
    overlap: int = 64
    mode: Mode = 'per_step'

    def __post_init__(self) -> None:
        check_integer('size', self.size, 1)
        check_integer('overlap', self.overlap, 0)
        if self.overlap >= self.size:
            raise ValueError(f'overlap: must be smaller than size={self.size}, got {self.overlap}')
        check_choice('mode', self.mode, MODES)

    def check_multiple(self, multiple: int) -> None:
        """Raises a ValueError that begins with `size:` if tiles are smaller than what a network pads to, in pixels."""
        if self.mode != 'downscale' and self.size < multiple:
            raise ValueError(f'size: must be at least {multiple}, to which the network pads, got {self.size}')


class GlobalStatistics(Protocol):
    """Statistics of the whole image inside a network, such as global means, when it is evaluated on tiles."""

    def accumulate(self, row_weights: torch.Tensor, column_weights: torch.Tensor) -> None:
        """Makes the next evaluation, on a tile, add its contribution to the statistics of the whole image.

        Args:
            row_weights: Weight of each row of the tile, including rows that the network pads.
            column_weights: Weight of each column; the products of both sum to 1 over all tiles.
        """

    def use_accumulated(self) -> None:
        """Makes later evaluations use the accumulated statistics instead of their tile's, and resets the sums."""


# Opens a context for one evaluation of the network on the whole image; its value is None for a network without global
# statistics.
GlobalStatisticsContext = Callable[[], AbstractContextManager[GlobalStatistics | None]]


def no_global_statistics() -> AbstractContextManager[None]:
    """The `GlobalStatisticsContext` of networks that compute no statistics of the whole image."""
    return nullcontext()


def sample_tiled(
    process: MeanRevertingSDE,
    network: Network,
    mu: torch.Tensor,
    tiling: Tiling | None,
    sampler: Sampler = Sampler(),  # noqa: B008  (it is frozen)
    *,
    multiple: int = 1,
    global_statistics: GlobalStatisticsContext = no_global_statistics,
    self_ensemble: bool = False,
    generator: Generators | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """`sample` with a memory use of the network that is bounded by the size of a tile.

    Args:
        process: The SDE.
        network: As in `sample`.
        mu: Degraded image, shape (N, C, H, W), range [0, 1].
        tiling: Size, overlap and mode of the tiles. Images that fit into one tile are sampled whole, and all images if
            this is None.
        sampler: Type of the sampler, number of steps and timestep spacing.
        multiple: Tiles start at multiples of this number of pixels, and their sides are multiples of it except at the
            right and bottom border. Pass the multiple that the network pads to, so that its downsampling grid is the
            same on a tile as on the whole image.
        global_statistics: Access to the network's statistics of the whole image; see `TiledNetwork`.
        self_ensemble: x8 test-time augmentation: average predictions over eight flipped and rotated views.
        generator: As in `sample`.
        callback: As in `sample`.
        progress: Show a progress bar over the steps, and one over the tiles of each step.

    Returns:
        Restored image, shape of mu, not clamped.

    Raises:
        ValueError: As in `sample`, and if the image is larger than a tile and tiles are smaller than `multiple`.

    Example:
        >>> process, mu = MeanRevertingSDE(prediction='residual'), torch.rand(1, 3, 40, 60)
        >>> network = lambda x_t, mu, t: 2 * mu
        >>> restored = sample_tiled(process, network, mu, Tiling(size=32, overlap=8), Sampler(steps=4))
        >>> torch.allclose(restored, 3 * mu)
        True
    """
    evaluated: Network | StepAware = network
    degraded = mu
    if tiling is not None and max(mu.shape[-2:]) > tiling.size:
        if tiling.mode == 'downscale':
            degraded = _reduced(mu, tiling.size)
        else:
            evaluated = TiledNetwork(network, tiling, multiple, global_statistics, progress)
    if self_ensemble:
        evaluated = SelfEnsemble(evaluated)
    restored = sample(process, evaluated, degraded, sampler, generator=generator, callback=callback, progress=progress)
    return restored if degraded is mu else transfer(mu, degraded, restored)


class Tile(NamedTuple):
    """Position of a tile, and its blending weights, whose products sum to 1 over the tiles at each pixel."""

    rows: slice
    columns: slice
    row_weights: torch.Tensor
    column_weights: torch.Tensor

    def of(self, image: torch.Tensor) -> torch.Tensor:
        """The tile's part (N, C, h, w) of an image (N, C, H, W), as a view."""
        return image[..., self.rows, self.columns]


class TiledNetwork:
    """A network that is evaluated on tiles, and whose predictions for them are blended; step-aware.

    A network with statistics of the whole image, such as global means, is evaluated in three passes:

    1. on some of the overlapping tiles, each with its own statistics; their weighted mean is a first estimate;
    2. on all overlapping tiles with this estimate; the weighted mean of the tiles' statistics is the refined one;
    3. on the tiles that are blended, with the refined statistics.

    Args:
        network: Called with tiles (N, C, h, w), h and w at most the tile size.
        tiling: Size, overlap and mode, 'per_step' or 'interlace', of the tiles.
        multiple: As in `sample_tiled`.
        global_statistics: Opens a context for an evaluation of the whole image, whose value accumulates the network's
            statistics, or is None if there are none.
        progress: Show a progress bar over the tiles of each step.

    Raises:
        ValueError: If tiles are smaller than `multiple`; the message begins with `size:`.
    """

    def __init__(
        self,
        network: Network,
        tiling: Tiling,
        multiple: int = 1,
        global_statistics: GlobalStatisticsContext = no_global_statistics,
        progress: bool = False,
    ) -> None:
        self.network, self.mode, self.multiple = network, tiling.mode, multiple
        self.global_statistics, self.progress = global_statistics, progress
        tiling.check_multiple(multiple)
        # in units of `multiple` pixels
        self.size = tiling.size // multiple
        self.overlap = min(math.ceil(tiling.overlap / multiple), self.size - 1)

    def at_step(self, index: int, total: int) -> Network:
        """The network for step `index` of `total`; tiles overlap in mode 'per_step' and in the last step."""
        overlaps = self.mode == 'per_step' or index == total - 1
        return partial(self._evaluate, shift=None if overlaps else SHIFTS[index % len(SHIFTS)])

    def _evaluate(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, shift: float | None) -> torch.Tensor:
        overlapping = self._tiles(x_t, None)
        tiles = overlapping if shift is None else self._tiles(x_t, shift)
        blended = torch.zeros_like(x_t)
        with (
            self.global_statistics() as statistics,
            tqdm(desc='tiles', unit='tile', leave=False, disable=not self.progress) as bar,
        ):
            if statistics is None:
                bar.reset(len(tiles))
            else:
                passes = _spread_out(overlapping, FIRST_PASS_TILES), overlapping
                bar.reset(len(tiles) + sum(map(len, passes)))
                for each in passes:
                    for tile, weights in zip(each, self._statistics_weights(each)):
                        statistics.accumulate(*weights)
                        self.network(tile.of(x_t), tile.of(mu), t)
                        bar.update()
                    statistics.use_accumulated()
            for tile in tiles:
                prediction = self.network(tile.of(x_t), tile.of(mu), t)
                tile.of(blended).add_(prediction * tile.row_weights[:, None] * tile.column_weights)
                bar.update()
        return blended

    def _tiles(self, image: torch.Tensor, shift: float | None) -> list[Tile]:
        """Overlapping tiles, or tiles without overlap that are shifted by a fraction of a tile."""
        axes = []
        for length in image.shape[-2:]:
            units = math.ceil(length / self.multiple)
            spans = _overlapping(units, self.size, self.overlap) if shift is None else _cells(units, self.size, shift)
            slices = [slice(start * self.multiple, min(stop * self.multiple, length)) for start, stop in spans]
            axes.append([(part, weights.to(image)) for part, weights in zip(slices, _blending_weights(slices, length))])
        return [
            Tile(rows, columns, row_weights, column_weights)
            for (rows, row_weights), (columns, column_weights) in itertools.product(*axes)
        ]

    def _statistics_weights(self, tiles: list[Tile]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Row and column weights of each tile, extended over the network's padding; products sum to 1 over all."""
        weights = [(self._padded(tile.row_weights), self._padded(tile.column_weights)) for tile in tiles]
        total = sum(rows.sum() * columns.sum() for rows, columns in weights)
        return [(rows / total, columns) for rows, columns in weights]

    def _padded(self, weights: torch.Tensor) -> torch.Tensor:
        return F.pad(weights[None], (0, -len(weights) % self.multiple), mode='replicate')[0]


def _spread_out(tiles: list[Tile], most: int) -> list[Tile]:
    """At most `most` of the tiles, evenly spread over the image."""
    count = min(len(tiles), most)
    return [tiles[index * len(tiles) // count] for index in range(count)]


def _overlapping(units: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Evenly spaced spans of length `size` that cover 0..units, neighbors overlapping by at least `overlap`."""
    if units <= size:
        return [(0, units)]
    count = math.ceil((units - overlap) / (size - overlap))
    starts = [round(index * (units - size) / (count - 1)) for index in range(count)]
    return [(start, start + size) for start in starts]


def _cells(units: int, size: int, shift: float) -> list[tuple[int, int]]:
    """Adjacent spans of length at most `size` that cover 0..units, their boundaries shifted by a fraction of a span."""
    count = math.ceil(units / size)
    if count == 1:
        return [(0, units)]
    # rounded down: the distance of two boundaries is then at most the span rounded up, which is at most `size`
    boundaries = {math.floor((index + shift) * units / count) for index in range(count)} - {0, units}
    return list(itertools.pairwise([0, *sorted(boundaries), units]))


def _blending_weights(slices: list[slice], length: int) -> list[torch.Tensor]:
    """Raised cosines divided by their sum over the spans: smooth where spans overlap, 1 where there is only one."""
    raised = []
    for part in slices:
        size = part.stop - part.start
        raised.append(torch.sin((torch.arange(size, dtype=torch.float64) + 0.5) * (math.pi / size)) ** 2)
    total = torch.zeros(length, dtype=torch.float64)
    for part, weights in zip(slices, raised):
        total[part] += weights
    return [weights / total[part] for part, weights in zip(slices, raised)]


def _reduced(image: torch.Tensor, longer_side: int) -> torch.Tensor:
    height, width = image.shape[-2:]
    scale = longer_side / max(height, width)
    return F.interpolate(image, size=(max(1, round(height * scale)), max(1, round(width * scale))), mode='area')


def transfer(image: torch.Tensor, reduced: torch.Tensor, enhanced: torch.Tensor) -> torch.Tensor:
    """Applies the change of a reduced image to the full-size image, with a fast guided filter.

    In each window of the reduced image, enhanced = a reduced + b by least squares (He and Sun, *Fast Guided Filter*,
    2015). The smooth coefficients a and b are upsampled instead of the pixels, so that the full-size image keeps its
    detail. In flat windows a is regularized towards the ratio of the means instead of zero, which keeps fine texture.

    Args:
        image: Full-size image, shape (N, C, H, W).
        reduced: The image at a reduced size, shape (N, C, h, w).
        enhanced: The reduced image after the change, same shape.

    Returns:
        The changed full-size image, shape (N, C, H, W).
    """
    mean, mean_enhanced = _smoothed(reduced), _smoothed(enhanced)
    variance = (_smoothed(reduced * reduced) - mean * mean).clamp_min(0)
    covariance = _smoothed(reduced * enhanced) - mean * mean_enhanced
    eps = GUIDE_EPS * reduced.var(dim=(-2, -1), correction=0, keepdim=True) + 1e-8
    ratio = mean_enhanced.clamp_min(0) / (mean + 1 / 255)
    gain = (covariance + eps * ratio) / (variance + eps)
    offset = _smoothed(mean_enhanced - gain * mean)
    gain = _smoothed(gain)
    # in place, so that few full-size maps exist at a time
    result = F.interpolate(gain, size=image.shape[-2:], mode='bilinear', align_corners=False).mul_(image)
    return result.add_(F.interpolate(offset, size=image.shape[-2:], mode='bilinear', align_corners=False))


def _smoothed(values: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(values, 2 * GUIDE_RADIUS + 1, 1, GUIDE_RADIUS, count_include_pad=False)
