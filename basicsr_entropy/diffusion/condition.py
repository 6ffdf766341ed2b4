"""What the process starts from: the degraded image, or the degraded image lifted by a gamma curve."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from basicsr_entropy._checks import check_choice, check_positive, is_number
from basicsr_entropy._levels import exponents_for_mean, level_histogram

Lift = Literal['none', 'gamma', 'auto']

LIFTS: tuple[Lift, ...] = get_args(Lift)
STRONGEST_EXPONENT = 0.2  # a stronger curve takes the noise of black areas to mid gray


@dataclass(frozen=True)
class Condition:
    """How a dark image becomes the condition mu, which process and network are given in its place.

    The reverse process starts at mu plus noise. If mu is the dark image itself, a network must first learn its gain; a
    lifted mu lies near the answer.

    Attributes:
        lift: `none`: mu is the image. `gamma`: mu is image ** gamma. `auto`: mu is image ** g, where g gives mu the
            mean `mean`, but lies in 0.2..1. It is chosen for every image as a whole, never for a crop or a tile.
        gamma: Exponent of `gamma`, positive.
        mean: Mean of mu over pixels and channels for `auto`, in (0, 1).

    Raises:
        ValueError: If a value is out of its range; the message begins with its name.

    Example:
        >>> dark = torch.full((1, 3, 4, 4), 0.0625)
        >>> Condition(lift='gamma', gamma=0.5)(dark).unique().item()
        0.25
        >>> round(Condition(lift='auto', mean=0.4)(dark).mean().item(), 2)
        0.4
    """

    lift: Lift = 'none'
    gamma: float = 0.4
    mean: float = 0.35

    def __post_init__(self) -> None:
        check_choice('lift', self.lift, LIFTS)
        check_positive('gamma', self.gamma)
        if not is_number(self.mean) or not 0 < self.mean < 1:
            raise ValueError(f'mean: must lie between 0 and 1, exclusive, got {self.mean!r}')

    def __call__(self, images: torch.Tensor, histograms: torch.Tensor | None = None) -> torch.Tensor:
        """Computes mu.

        Args:
            images: Dark images (N, C, H, W), range [0, 1].
            histograms: `level_histogram` (N, 256) of the whole images, if `images` are crops.

        Returns:
            mu, the same shape and range.
        """
        if self.lift == 'none':
            return images
        if self.lift == 'gamma':
            return images.clamp(min=0) ** self.gamma
        histograms = level_histogram(images) if histograms is None else histograms
        exponents = exponents_for_mean(histograms, self.mean, STRONGEST_EXPONENT, 1)
        return images.clamp(min=0) ** exponents.to(images).view(-1, 1, 1, 1)
