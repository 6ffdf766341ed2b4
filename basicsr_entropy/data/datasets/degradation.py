"""Night from day: a dark, noisy photograph made from a well-lit one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from basicsr_entropy._checks import is_whole

Range = Sequence[float]  # (lowest, highest), drawn from uniformly


@dataclass(frozen=True)
class LowLightDegradation:
    """What a camera would have recorded of the same scene with far less light.

    The image is taken back to linear light, dimmed, given another white balance, the Poisson noise of counted photons
    and the Gaussian noise of the readout, and encoded again.

    Attributes:
        gamma: Exponent of the encoding; linear light is value^gamma.
        exposure: Stops of light taken away; one stop halves it.
        full_well: Photons that a pixel of value 1 counts; fewer are noisier.
        read_noise: Deviation of the readout's noise, in shares of full scale in linear light.
        white_balance: Gains of red and of blue.
        bits: Bits a value is stored in.

    Raises:
        ValueError: If a range is not (lowest, highest), or a value is out of its domain.
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
                raise ValueError(f'{name} must be a list of two numbers, lowest and highest, got {value!r}')
            if not lowest <= value[0] <= value[1]:
                raise ValueError(f'{name} must be two numbers of at least {lowest}, the lower first, got {value!r}')
        if not self.gamma > 0:
            raise ValueError(f'gamma must be positive, got {self.gamma!r}')
        if not is_whole(self.bits, 1) or self.bits > 16:
            raise ValueError(f'bits must be a whole number from 1 to 16, got {self.bits!r}')

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Darkens an image.

        Args:
            image: (H, W, 3), range [0, 1], red and blue first and last in either order.
            rng: Source of all randomness; the same state gives the same result.

        Returns:
            Float32 image of the same shape, range [0, 1].
        """
        light = image.astype(np.float64) ** self.gamma
        gains = np.array([rng.uniform(*self.white_balance), 1.0, rng.uniform(*self.white_balance)])
        light *= gains * 2.0 ** -rng.uniform(*self.exposure)
        full_well = rng.uniform(*self.full_well)
        light = rng.poisson(light * full_well) / full_well
        light += rng.normal(0.0, rng.uniform(*self.read_noise), light.shape)
        steps = 2**self.bits - 1
        value = np.round(np.clip(light, 0, 1) ** (1 / self.gamma) * steps) / steps
        return value.astype(np.float32)
