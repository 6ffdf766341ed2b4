"""Data augmentation of training pairs beside crops, flips and turns; off by default.

Everything is drawn from `random`, which BasicSR seeds in every worker; an augmentation that is off draws nothing.
"""

import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from basicsr_entropy._images import to_float
from basicsr_entropy.data.datasets.options import LowLightDataset, Mixup, Rescale


class Augmentation:
    """The options rescale, exposure_jitter and mixup of a training dataset; outside training nothing is changed.

    Args:
        options: Options of the dataset.
    """

    def __init__(self, options: LowLightDataset) -> None:
        trains = options.phase == 'train'
        self.rescaling: Rescale | None = options.rescale if trains else None
        self.mixing: Mixup | None = options.mixup if trains else None
        self.gains: Sequence[float] | None = getattr(options, 'exposure_jitter', None) if trains else None

    def rescale(self, *images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Perhaps resizes whole images (H, W, C), all alike; the first may be smaller than the others by a factor.

        Images keep their type; where nothing is drawn they are the same objects, be they views of a store.
        """
        if self.rescaling is None or random.random() >= self.rescaling.prob:
            return images
        scale, (height, width) = self.rescaling.scale, images[0].shape[:2]
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
        if self.mixing is None or random.random() >= self.mixing.prob:
            return images
        share = np.float32(random.betavariate(self.mixing.beta, self.mixing.beta))
        return [share * to_float(own) + (1 - share) * to_float(drawn) for own, drawn in zip(images, other())]
