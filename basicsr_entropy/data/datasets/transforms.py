"""Data augmentation of training pairs beyond crops, flips and quarter turns; off by default.

Random numbers come from `random`, which the training seeds for each item. Augmentation that is off draws none.
"""

import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from basicsr_entropy._images import to_float
from basicsr_entropy.data.datasets.options import LowLightDataset, Mixup, Rescale


class Augmentation:
    """Augmentation by the options rescale, exposure_jitter and mixup of a dataset; inactive outside training.

    Args:
        options: Options of the dataset.
    """

    def __init__(self, options: LowLightDataset) -> None:
        trains = options.phase == 'train'
        self.rescaling: Rescale | None = options.rescale if trains else None
        self.mixing: Mixup | None = options.mixup if trains else None
        self.gains: Sequence[float] | None = getattr(options, 'exposure_jitter', None) if trains else None

    def rescale(self, *images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Resizes images by the factor `scale`, with probability `prob`.

        Args:
            *images: Images (H, W, C). The others may be larger than the first by an integer factor, which is kept.

        Returns:
            Resized images of the same dtype, or the images themselves.
        """
        if self.rescaling is None or random.random() >= self.rescaling.prob:
            return images
        scale, (height, width) = self.rescaling.scale, images[0].shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # neither of the two overshoots
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        times = [image.shape[0] // height for image in images]
        return tuple(
            cv2.resize(image.copy(), (size[0] * n, size[1] * n), interpolation=interpolation)
            for image, n in zip(images, times)
        )

    def expose(self, *lq: np.ndarray) -> tuple[np.ndarray, ...]:
        """Multiplies lq images by one random gain, if exposure_jitter is on.

        Returns:
            The images as float32, range [0, 1], since 8 bits would merge dark levels; or the images themselves.
        """
        if self.gains is None:
            return lq
        gain = np.float32(random.uniform(*self.gains))
        return tuple((to_float(image) * gain).clip(0, 1) for image in lq)

    def mix(self, images: Sequence[np.ndarray], other: Callable[[], Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """Mixup: blends a pair with another one, with probability `prob`.

        The weight is drawn from Beta(beta, beta), and is the same for lq and gt.

        Args:
            images: lq and gt, and the histogram of lq, which is blended alike.
            other: Draws another pair of the same sizes.

        Returns:
            Blended images, float32, range [0, 1]; or the images themselves.
        """
        if self.mixing is None or random.random() >= self.mixing.prob:
            return images
        weight = np.float32(random.betavariate(self.mixing.beta, self.mixing.beta))
        return [weight * to_float(own) + (1 - weight) * to_float(drawn) for own, drawn in zip(images, other())]
