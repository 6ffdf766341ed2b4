"""What a photographer sets after the model has run: strength, exposure and protection of highlights.

The controls need the input and the model's result only, so changing them needs no new evaluation of the network.
"""

from dataclasses import dataclass

import torch

from basicsr_entropy._checks import check_number

KNEE = 0.5  # value above which highlights are protected
LARGEST_EXPOSURE = 5.0  # stops


@dataclass(frozen=True)
class Controls:
    """How the result of a model is combined with its input.

    The steps, in this order:

    1. `exposure` multiplies the model's result in linear light (sRGB transfer function) by 2^exposure.
    2. `protect_highlights` = p compresses values y above the knee k = 0.5, the more the darker the input x was there:
       y - p (1 - k)/2 (1 - x) e^2 with e = (y - k)/(1 - k). Where the result is clipped (y = 1), the tones of the input
       return, as 1 - p (1 - x)/4, instead of a flat patch. The curve rises with y and with x, so brighter stays
       brighter; it acts on each channel, so that the color of what was bright returns as well.
    3. `strength` = s blends with the input: x + s (y - x).

    Attributes:
        strength: From 0, the input, to 1, the result.
        exposure: Stops to add, -5 to 5.
        protect_highlights: From 0, off, to 1. Above 0 nothing is clipped but what was clipped in the input; the higher,
            the darker and the more like the input.

    Raises:
        ValueError: If a value is out of its range; the message begins with its name.

    Example:
        >>> image, enhanced = torch.full((1, 3, 2, 2), 0.6), torch.ones(1, 3, 2, 2)
        >>> Controls(protect_highlights=1)(image, enhanced)[0, 0, 0, 0]
        tensor(0.9000)
        >>> torch.equal(Controls(strength=0, exposure=1)(image, enhanced), image)
        True
    """

    strength: float = 1.0
    exposure: float = 0.0
    protect_highlights: float = 0.5

    def __post_init__(self) -> None:
        check_number('strength', self.strength, 0, 1)
        check_number('exposure', self.exposure, -LARGEST_EXPOSURE, LARGEST_EXPOSURE)
        check_number('protect_highlights', self.protect_highlights, 0, 1)

    def __call__(self, image: torch.Tensor, enhanced: torch.Tensor) -> torch.Tensor:
        """Combines images with what a model made of them.

        Args:
            image: Input of the model, shape (N, 3, H, W), range [0, 1].
            enhanced: Its result, same shape; values outside [0, 1] are clamped.

        Returns:
            Images of the same shape, range [0, 1].
        """
        result = enhanced.clamp(0, 1)
        if self.exposure:
            result = _to_srgb(_to_linear(result).mul_(2**self.exposure)).clamp_(max=1)
        if self.protect_highlights:
            excess = ((result - KNEE) / (1 - KNEE)).clamp_(min=0)
            result = result - (1 - image).mul_(self.protect_highlights * (1 - KNEE) / 2).mul_(excess.square_())
        return result if self.strength == 1 else torch.lerp(image, result, self.strength)


def _to_linear(values: torch.Tensor) -> torch.Tensor:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """sRGB values of linear light: the inverse of `_to_linear`."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
