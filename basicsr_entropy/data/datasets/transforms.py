"""What may be done to training pairs beside crops, flips and turns; off unless asked for.

Everything is drawn from `random`, which BasicSR seeds in every worker; what is off draws nothing.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from basicsr_entropy._images import to_float
from basicsr_entropy._registry import check_keys
from basicsr_entropy.data.datasets.options import option_path


class Augmentation:
    """The options rescale, exposure_jitter and mixup of a training set; outside training it changes nothing.

    Args:
        opt: Options of the dataset: `rescale: {prob: 0.2, scale: 0.8}`, `exposure_jitter: [low, high]`,
            `mixup: {beta: 1.2, prob: 0.5}`.

    Raises:
        KeyError: If a key below an option is unknown or missing.
        ValueError: If a value is out of its range.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.where = option_path(opt)
        trains = opt.get('phase') == 'train'
        self.rescaling = self._numbers(opt, 'rescale', {'prob': 0.2, 'scale': None}) if trains else None
        self.mixing = self._numbers(opt, 'mixup', {'beta': None, 'prob': 0.5}) if trains else None
        self.gains = opt.get('exposure_jitter') if trains else None
        if self.gains is not None and not _is_range(self.gains):
            raise ValueError(
                f'{self.where}.exposure_jitter: must be two positive gains, the lower first, got {self.gains!r}'
            )

    def _numbers(self, opt: Mapping[str, Any], name: str, defaults: Mapping[str, float | None]) -> dict | None:
        """The positive numbers below an option; a default of None must be given."""
        given, path = opt.get(name), f'{self.where}.{name}'
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise ValueError(f'{path}: must be a mapping of {" and ".join(defaults)}, got {given!r}')
        check_keys(given, defaults, path)
        numbers = {**defaults, **given}
        for key, value in numbers.items():
            if value is None:
                raise KeyError(f'{path}.{key}: missing')
            if not _is_number(value) or not 0 < value <= (1 if key == 'prob' else float('inf')):
                allowed = 'above 0 and at most 1' if key == 'prob' else 'a positive number'
                raise ValueError(f'{path}.{key}: must be {allowed}, got {value!r}')
        return numbers

    def rescale(self, *images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Perhaps resizes whole images (H, W, C), all alike; the first may be smaller than the others by a factor.

        Images keep their type; where nothing is drawn they are the same objects, be they views of a store.
        """
        if self.rescaling is None or random.random() >= self.rescaling['prob']:
            return images
        scale, (height, width) = self.rescaling['scale'], images[0].shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # neither overshoots
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        times = [image.shape[0] // height for image in images]
        return tuple(
            cv2.resize(image.copy(), (size[0] * n, size[1] * n), interpolation=interpolation)
            for image, n in zip(images, times)
        )

    def expose(self, lq: np.ndarray) -> np.ndarray:
        """Perhaps changes the exposure of an input, which is then float32: the few levels of the dark stay apart."""
        return lq if self.gains is None else (to_float(lq) * np.float32(random.uniform(*self.gains))).clip(0, 1)

    def mix(self, images: Sequence[np.ndarray], other: Callable[[], Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """Perhaps mixes a pair with another; both sides alike, by a share from a beta distribution.

        Args:
            images: lq and gt.
            other: Draws another pair of the same sizes.

        Returns:
            The images, or mixed ones, float32.
        """
        if self.mixing is None or random.random() >= self.mixing['prob']:
            return images
        share = np.float32(random.betavariate(self.mixing['beta'], self.mixing['beta']))
        return [share * to_float(own) + (1 - share) * to_float(drawn) for own, drawn in zip(images, other())]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_range(value: Any) -> bool:
    """Whether a value is a list of two positive numbers, the lower first."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    return is_list and all(map(_is_number, value)) and 0 < value[0] <= value[1]
