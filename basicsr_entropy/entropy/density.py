"""Options of the joint density estimate, shared by every function and backend of this package."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch

from basicsr_entropy._checks import are_integers, check_choice, is_integer, is_number
from basicsr_entropy.entropy.kernels import KERNELS, KernelName

NeighborNorm = Literal['channel', 'published']
ClampGrad = Literal['zero', 'straight_through']

MAX_LEVELS = 1024
MAX_WINDOW = 31  # pixels; the cost of windows grows with their area
MIN_BANDWIDTH, MAX_BANDWIDTH = 1e-3, 1e3  # levels; beyond, densities leave the range of float32


@dataclass(frozen=True)
class DensityOptions:
    """How the joint density of pixel value and neighbor value is estimated (kernel density estimate, KDE).

    Attributes:
        levels: Number of intensity levels L per axis of the joint density, an integer from 2 to 1024, or a list of such
            integers over which the divergence is averaged. With few levels the divergence has gradients towards
            distant values, with many it resolves fine differences; (4, 8, 16) combines both. The direct formula costs
            L^2.
        kernel: Kernel of the density estimate: `logistic`, `sech` or `gaussian`.
        bandwidth: Bandwidth h of the kernel in levels, from 0.001 to 1000, or `silverman`: Silverman's rule for two
            dimensions for each image plane of the target, divided by the kernel's standard deviation, and at least 0.5
            levels.
        windows: Odd side lengths in pixels, up to 31, of the local windows over which densities are averaged, or
            `global` for one histogram per image.
        neighbor_norm: Normalization: `channel` divides the neighbor weights by their sum, and densities by h^2.
            `published` follows the published program: weights are divided by their sum over all channels, and
            densities by 0.5 h.
        value_range: Two pixel values, those of the first and the last level; images are clamped to this range.
        gray: Use the BT.601 luma of RGB images instead of their channels.
        unit_mass: Normalize the density of each pixel over the levels to a sum of 1. Without it, values at the ends of
            the range lose up to a quarter of their mass with the default kernel, which attracts predictions far from
            the target to these ends.
        clamp_grad: Gradient at values outside `value_range`: `zero`, or `straight_through` for the gradient at the
            nearest end of the range.

    Raises:
        ValueError: If an option is out of range; the message begins with its name.

    Example:
        >>> DensityOptions(windows=(1, 5)).radii
        (0, 2)
        >>> DensityOptions(windows=(2, 4))
        Traceback (most recent call last):
        ValueError: windows: must be 'global' or different odd side lengths such as [1, 3, 5], got (2, 4)
    """

    levels: int | Sequence[int] = 32
    kernel: KernelName = 'logistic'
    bandwidth: float | Literal['silverman'] = 0.5
    windows: Sequence[int] | Literal['global'] = (1, 3, 5)
    neighbor_norm: NeighborNorm = 'channel'
    value_range: Sequence[float] = (0.0, 1.0)
    gray: bool = False
    unit_mass: bool = False
    clamp_grad: ClampGrad = 'zero'
    # built once, because torch.compile can build no options in a graph
    _resolutions: tuple['DensityOptions', ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice('kernel', self.kernel, KERNELS)
        check_choice('neighbor_norm', self.neighbor_norm, get_args(NeighborNorm))
        check_choice('clamp_grad', self.clamp_grad, get_args(ClampGrad))
        is_list = not isinstance(self.levels, int) and isinstance(self.levels, Sequence)
        if is_list and not self.levels:
            raise ValueError('levels: must not be an empty list')
        counts = self.levels if isinstance(self.levels, Sequence) else [self.levels]
        if not are_integers(counts, 2) or max(counts) > MAX_LEVELS:
            raise ValueError(
                f'levels: must be an integer from 2 to {MAX_LEVELS}, or a list of such integers, got {self.levels!r}'
            )
        if self.bandwidth != 'silverman' and (
            not is_number(self.bandwidth) or not MIN_BANDWIDTH <= self.bandwidth <= MAX_BANDWIDTH
        ):
            raise ValueError(
                f'bandwidth: must be a number of levels from {MIN_BANDWIDTH:g} to {MAX_BANDWIDTH:g}, or '
                f"'silverman', got {self.bandwidth!r}"
            )
        if not self.is_global and (
            isinstance(self.windows, str)
            or not isinstance(self.windows, Sequence)
            or not self.windows
            or not all(is_integer(side, 1) and side % 2 for side in self.windows)
            or len(set(self.windows)) != len(self.windows)
        ):
            raise ValueError(
                f"windows: must be 'global' or different odd side lengths such as [1, 3, 5], got {self.windows!r}"
            )
        if not isinstance(self.windows, str) and max(self.windows) > MAX_WINDOW:
            raise ValueError(
                f"windows: must be at most {MAX_WINDOW} pixels wide, got {self.windows!r}; use 'global' for the "
                'densities of whole images'
            )
        if (
            not isinstance(self.value_range, Sequence)
            or len(self.value_range) != 2
            or not all(map(is_number, self.value_range))
            or not self.value_range[0] < self.value_range[1]
        ):
            raise ValueError(f'value_range: must be two numbers, the lower first, got {self.value_range!r}')
        if not isinstance(self.levels, int):
            object.__setattr__(self, '_resolutions', tuple(replace(self, levels=one) for one in self.levels))

    @property
    def resolutions(self) -> tuple['DensityOptions', ...]:
        """The same options for each number of levels."""
        return self._resolutions or (self,)

    @property
    def level_count(self) -> int:
        """The number of levels, for options with a single one, as in `resolutions`."""
        if not isinstance(self.levels, int):
            raise TypeError(f'levels: has several values, {self.levels!r}; use one of `resolutions`')
        return self.levels

    @property
    def is_global(self) -> bool:
        """Whether there is one histogram per image instead of local windows."""
        return self.windows == 'global'

    @property
    def published(self) -> bool:
        """Whether the conventions of the published program apply."""
        return self.neighbor_norm == 'published'

    @property
    def radii(self) -> tuple[int, ...]:
        """Radii r of the local windows in pixels, ascending; the side length is 2 r + 1. Empty for global windows."""
        return () if isinstance(self.windows, str) else tuple(side // 2 for side in sorted(self.windows))

    def scale(self, bandwidth: torch.Tensor) -> torch.Tensor:
        """Factor of the product of a value's and a neighbor's kernel density, for bandwidths in levels."""
        if self.unit_mass:
            return torch.ones_like(bandwidth)
        return 1 / (0.5 * bandwidth) if self.published else 1 / bandwidth**2


DEFAULT_OPTIONS = DensityOptions()
