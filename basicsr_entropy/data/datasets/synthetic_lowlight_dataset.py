"""Synthetic low-light dataset, for training without paired photographs."""

import random
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.transforms import augment
from torch.utils.data import Dataset

from basicsr_entropy._images import to_float
from basicsr_entropy._levels import exponents_for_mean, level_histogram
from basicsr_entropy.config import construct, dataset_path
from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.datasets.lowlight_paired_dataset import (
    check_crop,
    histogram_of,
    make_item,
    overview,
    overview_step,
)
from basicsr_entropy.data.datasets.options import SyntheticOptions
from basicsr_entropy.data.datasets.transforms import Augmentation
from basicsr_entropy.data.sets.exclusion import is_excluded, read_exclusion, warn_of_unknown
from basicsr_entropy.data.sets.image_sources import image_source

GT_EXPONENTS = 0.3, 3.0  # of the gamma curve for gt_mean


class SyntheticLowLightDataset(Dataset):
    """Normal-light photographs, paired with dark versions that `LowLightDegradation` makes on the fly.

    Training draws a new degradation for each item. In validation and testing an image is always degraded in the same
    way.

    Options:
        dataroot_gt: Folder or LMDB database of normal-light photographs.
        io_backend: As in LowLightPairedDataset.
        degradation: Options of `LowLightDegradation`.
        gt_mean: Range of the mean of the ground truth; photographs outside are brought to its nearer end.
        exclude: File of photographs to leave out.
        seed: Seed of the degradation in validation and testing; 0 by default.
        gt_size, gt_sizes, use_hflip, use_rot, rescale, mixup, mean, std, color: As in LowLightPairedDataset.

    Items have the same content as those of LowLightPairedDataset.

    Raises:
        KeyError: If an option is unknown or missing.
        FileNotFoundError: If the folder or database is missing or empty.
        ValueError: If an option is out of range. Reading an item raises it for an image that cannot be decoded or is
            smaller than the crop.
    """

    OPTIONS = SyntheticOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.where = dataset_path(opt)
        self.options = SyntheticOptions.read(opt, self.where)
        self.crop_size, self.seed = self.options.crop_size, self.options.seed
        self.augmentation = Augmentation(self.options)
        self.degradation = construct(LowLightDegradation, opt.get('degradation'), f'{self.where}.degradation')
        try:
            self._source = image_source(self.options.dataroot_gt, self.opt.get('io_backend'))
            self.paths = self._source.names()
            if self.options.exclude is not None:
                left_out = read_exclusion(self.options.exclude)
                keys = {path: self._source.key(path) for path in self.paths}
                warn_of_unknown(self.options.exclude, left_out, keys.values())
                self.paths = [path for path, key in keys.items() if not is_excluded(left_out, key)]
        except (FileNotFoundError, ValueError) as error:
            where = '' if str(error).startswith('exclude: ') else 'dataroot_gt: '
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f'{self.where}.{where}{error}') from error
        if not self.paths:
            raise FileNotFoundError(f'{self.where}.dataroot_gt: no image in {self._source.root}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        path = self.paths[index]
        images = self.augmentation.mix(self._images(index), lambda: self._images(random.randrange(len(self))))
        return make_item(images, self.options, path, path)

    def _images(self, index: int) -> tuple[np.ndarray, ...]:
        """A degraded photograph and the original, (H, W, 3), float32.

        In training they are cropped and augmented, and followed by the histogram of the whole degraded photograph.
        """
        path, size = self.paths[index], self.crop_size
        with self._source.open(path) as photograph:
            gt = self._with_mean(photograph)
            if size is None:
                return self.degradation(gt, np.random.default_rng([self.seed, index])), to_float(gt)
            original = gt.shape
            (gt,) = self.augmentation.rescale(gt)
            check_crop(gt, size, path, self.where, rescaled=gt.shape != original)
            rng = np.random.default_rng(random.getrandbits(64))  # `random` is seeded for each item
            scene, step = self.degradation.scene(gt, rng), overview_step(gt)
            small = scene.render(gt, rng, slice(None, None, step), slice(None, None, step))
            histogram = histogram_of(small, self.options)
            top, left = (random.randint(0, side - size) for side in gt.shape[:2])
            rows, columns = slice(top, top + size), slice(left, left + size)
            lq, gt = scene.render(gt, rng, rows, columns), to_float(gt[rows, columns])
        lq, gt = augment([lq, gt], self.options.use_hflip, self.options.use_rot)
        return lq, gt, histogram

    def _with_mean(self, image: np.ndarray) -> np.ndarray:
        """The image, brought into the range gt_mean of means by a gamma curve."""
        if self.options.gt_mean is None:
            return image
        mean = float(to_float(overview(image)).mean())
        wanted = min(max(mean, self.options.gt_mean[0]), self.options.gt_mean[1])
        if wanted == mean:
            return image
        histogram = level_histogram(torch.from_numpy(to_float(overview(image)))[None])
        exponent = exponents_for_mean(histogram, wanted, *GT_EXPONENTS).item()
        largest = np.iinfo(image.dtype).max
        curve = np.round(largest * np.linspace(0, 1, largest + 1) ** exponent).astype(image.dtype)
        return cv2.LUT(image, curve) if image.dtype == np.uint8 else curve[image]
