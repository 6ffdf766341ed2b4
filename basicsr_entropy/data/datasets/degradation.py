"""Synthetic low-light degradation: turns a well-lit photograph into a dark, noisy one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from basicsr_entropy._checks import is_integer

Range = Sequence[float]  # (lowest, highest) of a uniform distribution


@dataclass(frozen=True)
class LowLightDegradation:
    """Simulates a photograph of the same scene that was taken in far less light.

    The image is linearized, darkened, multiplied by white-balance gains, given Poisson noise (shot noise) and Gaussian
    noise (read noise), gamma-encoded again and quantized. Values of each range are drawn per image.

    Attributes:
        gamma: Exponent of the gamma encoding; linear light is value ** gamma.
        exposure: Range of the darkening in stops; each stop halves the light.
        full_well: Range of the number of photons at value 1; fewer photons mean more noise.
        read_noise: Range of the standard deviation of the read noise, in linear light, as a fraction of full scale.
        white_balance: Range of the gains of the red and the blue channel.
        bits: Bits per channel of the result, 1 to 16.

    Raises:
        ValueError: If a range is not (lowest, highest), or a value is outside its domain.
    """

    gamma: float = 2.2
    exposure: Range = (4.0, 6.0)
    full_well: Range = (2000.0, 8000.0)
    read_noise: Range = (0.0005, 0.002)
    white_balance: Range = (0.9, 1.1)
    bits: int = 8

    def __post_init__(self) -> None:
        for name, lowest in (('exposure', 0), ('full_well', 1), ('read_noise', 0), ('white_balance', 0)):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
                raise ValueError(f'{name}: must be a list of two numbers, lowest and highest, got {value!r}')
            if not lowest <= value[0] <= value[1]:
                raise ValueError(f'{name}: must be two numbers of at least {lowest}, the lower first, got {value!r}')
        if not self.gamma > 0:
            raise ValueError(f'gamma: must be positive, got {self.gamma!r}')
        if not is_integer(self.bits, 1) or self.bits > 16:
            raise ValueError(f'bits: must be an integer from 1 to 16, got {self.bits!r}')

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrades an image.

        Args:
            image: RGB or BGR image (H, W, 3), range [0, 1].
            rng: Random generator; the same state gives the same result.

        Returns:
            Degraded image, float32, of the same shape and channel order, range [0, 1].
        """
        light = image.astype(np.float64) ** self.gamma
        gains = np.array([_draw(rng, self.white_balance), 1.0, _draw(rng, self.white_balance)])
        light *= gains * 2.0 ** -_draw(rng, self.exposure)
        full_well = _draw(rng, self.full_well)
        light = rng.poisson(light * full_well) / full_well
        light += rng.normal(0.0, _draw(rng, self.read_noise), light.shape)
        steps = 2**self.bits - 1
        value = np.round(np.clip(light, 0, 1) ** (1 / self.gamma) * steps) / steps
        return value.astype(np.float32)


def _draw(rng: np.random.Generator, ends: Range) -> float:
    lowest, highest = ends
    return rng.uniform(lowest, highest)
