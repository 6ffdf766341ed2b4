"""How joint densities are made of an image: the options that every function and backend shares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from basicsr_entropy._checks import check_choice, is_whole
from basicsr_entropy.entropy.kernels import KERNELS

Windows = Sequence[int] | str  # side lengths, or 'global'


@dataclass(frozen=True)
class DensityOptions:
    """How the joint density of a pixel's value and its neighbours' is estimated.

    Attributes:
        levels: Number of intensity levels L, at least 2, or several such numbers whose results are averaged. Few levels
            reach far, many see fine differences: (8, 16, 32) does both.
        kernel: 'logistic', 'sech' or 'gaussian'.
        bandwidth: Of the kernel in levels, or 'silverman': Silverman's rule for two dimensions, from each plane of the
            target, divided by the kernel's standard deviation and never below 0.5 levels.
        windows: Odd side lengths of the windows, or 'global' for one histogram an image.
        neighbor_norm: 'channel', or 'published' for the published conventions: neighbour weights divided by their sum
            over all channels, densities scaled by 1/(0.5 h) instead of 1/h^2.
        value_range: Values that the first and the last level stand for; images are clamped to them.
        gray: Take the BT.601 luma of RGB images instead of their channels.
        unit_mass: Normalise each pixel's densities over the levels. Without it values at the ends of the range lose
            up to a quarter of their mass with the default kernel, and predictions far from the target are drawn there.
        clamp_grad: 'zero', or 'straight_through' to pass gradients to values beyond the range as if at its end.

    Raises:
        ValueError: If an option is out of its range; the message begins with its name.
    """

    levels: int | Sequence[int] = 32
    kernel: str = 'logistic'
    bandwidth: float | str = 0.5
    windows: Windows = (1, 3, 5)
    neighbor_norm: str = 'channel'
    value_range: Sequence[float] = (0.0, 1.0)
    gray: bool = False
    unit_mass: bool = False
    clamp_grad: str = 'zero'

    def __post_init__(self) -> None:
        check_choice('kernel', self.kernel, KERNELS)
        check_choice('neighbor_norm', self.neighbor_norm, ('channel', 'published'))
        check_choice('clamp_grad', self.clamp_grad, ('zero', 'straight_through'))
        several = not isinstance(self.levels, int) and isinstance(self.levels, Sequence)
        if several and not self.levels:
            raise ValueError('levels must not be an empty list')
        for levels in self.levels if several else (self.levels,):
            if not is_whole(levels, 2):
                raise ValueError(f'levels must be a whole number of at least 2, or a list of such, got {self.levels!r}')
        if self.bandwidth != 'silverman' and (isinstance(self.bandwidth, (str, bool)) or not self.bandwidth > 0):
            raise ValueError(f"bandwidth must be a positive number of levels or 'silverman', got {self.bandwidth!r}")
        if not self.is_global and (
            isinstance(self.windows, str)
            or not isinstance(self.windows, Sequence)
            or not self.windows
            or not all(is_whole(side, 1) and side % 2 for side in self.windows)
            or len(set(self.windows)) != len(self.windows)
        ):
            raise ValueError(
                f"windows must be 'global' or different odd side lengths such as [1, 3, 5], got {self.windows!r}"
            )
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise ValueError(f'value_range must be two numbers, the lower first, got {self.value_range!r}')

    @cached_property
    def resolutions(self) -> tuple['DensityOptions', ...]:
        """These options with one number of levels each."""
        return (self,) if isinstance(self.levels, int) else tuple(replace(self, levels=one) for one in self.levels)

    @property
    def is_global(self) -> bool:
        """Whether there is one histogram an image instead of local windows."""
        return self.windows == 'global'

    @property
    def published(self) -> bool:
        """Whether the published conventions hold."""
        return self.neighbor_norm == 'published'

    @property
    def radii(self) -> tuple[int, ...]:
        """Radii of the local windows, ascending: side 2 r + 1."""
        return tuple(side // 2 for side in sorted(self.windows))

    @property
    def areas(self) -> tuple[int, ...]:
        """Pixels of each local window, ascending."""
        return tuple((2 * radius + 1) ** 2 for radius in self.radii)

    def scale(self, bandwidth: torch.Tensor) -> torch.Tensor:
        """Factor of a product of densities at bandwidths in levels. Densities of unit mass need none."""
        if self.unit_mass:
            return torch.ones_like(bandwidth)
        return 1 / (0.5 * bandwidth) if self.published else 1 / bandwidth**2


DEFAULT_OPTIONS = DensityOptions()
