"""What a photographer sets after the model has run: strength, exposure or brightness, and protection of highlights.

The controls need the input and the model's result only, so changing them needs no new evaluation of the network.
"""

from dataclasses import dataclass

import torch

from basicsr_entropy._checks import check_number

KNEE = 0.5  # value above which highlights are protected
LARGEST_EXPOSURE = 5.0  # stops
_BINS = 4096


@dataclass(frozen=True)
class Controls:
    """How the result of a model is combined with its input.

    The steps, in this order:

    1. `exposure` multiplies the model's result in linear light (sRGB transfer function) by 2^exposure. With
       `brightness`, it counts from the exposure, within 5 stops, that gives the result this mean; see `stops_to_mean`.
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
        brightness: Mean that each result gets, from 0 to 1; None leaves its brightness to the model.

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
    brightness: float | None = None

    def __post_init__(self) -> None:
        check_number('strength', self.strength, 0, 1)
        check_number('exposure', self.exposure, -LARGEST_EXPOSURE, LARGEST_EXPOSURE)
        check_number('protect_highlights', self.protect_highlights, 0, 1)
        if self.brightness is not None:
            check_number('brightness', self.brightness, 0, 1)

    def stops(self, enhanced: torch.Tensor) -> torch.Tensor:
        """Stops by which `exposure` and `brightness` change each result.

        Args:
            enhanced: Results of a model, shape (N, 3, H, W).

        Returns:
            Float32 tensor of shape (N,), on the CPU.
        """
        if self.brightness is None:
            return torch.full((len(enhanced),), self.exposure)
        return torch.tensor([stops_to_mean(each, self.brightness) + self.exposure for each in enhanced])

    def __call__(self, image: torch.Tensor, enhanced: torch.Tensor, stops: torch.Tensor | None = None) -> torch.Tensor:
        """Combines images with what a model made of them.

        Args:
            image: Input of the model, shape (N, 3, H, W), range [0, 1].
            enhanced: Its result, same shape; values outside [0, 1] are clamped.
            stops: `self.stops(enhanced)`, or those of the same results at another size.

        Returns:
            Images of the same shape, range [0, 1].
        """
        result = enhanced.clamp(0, 1)
        stops = self.stops(enhanced) if stops is None else stops
        if stops.any():
            gain = torch.exp2(stops).to(result).reshape(-1, 1, 1, 1)
            result = _to_srgb(_to_linear(result).mul_(gain)).clamp_(max=1)
        if self.protect_highlights:
            excess = ((result - KNEE) / (1 - KNEE)).clamp_(min=0)
            result = result - (1 - image).mul_(self.protect_highlights * (1 - KNEE) / 2).mul_(excess.square_())
        return result if self.strength == 1 else torch.lerp(image, result, self.strength)


def stops_to_mean(enhanced: torch.Tensor, mean: float) -> float:
    """Stops of linear light, -5 to 5, after which the values of an image have a mean, by bisection.

    Args:
        enhanced: Image of any shape; values outside [0, 1] are clamped.
        mean: The wanted mean of the sRGB values, 0 to 1. One that no exposure within 5 stops gives is approached.
    """
    # a fine histogram has the same mean as the image, and costs no pass over the image at each step
    counts = torch.histc(enhanced.detach().float().clamp(0, 1), _BINS, 0, 1).double().cpu()
    linear = _to_linear((torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS)
    low, high = -LARGEST_EXPOSURE, LARGEST_EXPOSURE
    for _ in range(20):  # to 1e-5 stops
        middle = (low + high) / 2
        reached = _to_srgb(linear * 2**middle).clamp_(max=1) @ counts / counts.sum()
        low, high = (middle, high) if reached < mean else (low, middle)
    return (low + high) / 2


def _to_linear(values: torch.Tensor) -> torch.Tensor:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """sRGB values of linear light: the inverse of `_to_linear`."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
