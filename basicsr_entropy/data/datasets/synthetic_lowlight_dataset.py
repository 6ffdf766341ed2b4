"""Synthetic low-light dataset, for training without paired photographs."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from torch.utils.data import Dataset

from basicsr_entropy._images import to_float
from basicsr_entropy.config import construct, dataset_path
from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.datasets.lowlight_paired_dataset import check_crop, to_tensors
from basicsr_entropy.data.datasets.options import SyntheticOptions
from basicsr_entropy.data.datasets.transforms import Augmentation
from basicsr_entropy.data.sets.image_sources import image_source


class SyntheticLowLightDataset(Dataset):
    """Normal-light photographs, paired with dark versions that `LowLightDegradation` makes on the fly.

    Training draws a new degradation for each item. In validation and testing an image is always degraded in the same
    way.

    Options:
        dataroot_gt: Folder or LMDB database of normal-light photographs.
        io_backend: As in LowLightPairedDataset.
        degradation: Options of `LowLightDegradation`.
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
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{self.where}.dataroot_gt: {error}') from error
        if not self.paths:
            raise FileNotFoundError(f'{self.where}.dataroot_gt: no image in {self._source.root}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        path = self.paths[index]
        images = self.augmentation.mix(self._images(index), lambda: self._images(random.randrange(len(self))))
        lq, gt = to_tensors(list(images), self.options)
        return {'lq': lq, 'gt': gt, 'lq_path': path, 'gt_path': path}

    def _images(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A degraded photograph and the original, (H, W, 3), float32; in training cropped and augmented."""
        path = self.paths[index]
        with self._source.open(path) as gt:
            if self.crop_size is not None:
                original = gt.shape
                (gt,) = self.augmentation.rescale(gt)
                check_crop(gt, self.crop_size, path, self.where, rescaled=gt.shape != original)
                gt, _ = paired_random_crop(gt, gt, self.crop_size, 1)
            gt = to_float(gt)  # copies the crop alone
        if self.crop_size is not None:
            gt = augment(gt, self.options.use_hflip, self.options.use_rot)
            # BasicSR seeds `random` in every worker
            rng = np.random.default_rng(random.getrandbits(64))
        else:
            rng = np.random.default_rng([self.seed, index])
        return self.degradation(gt, rng), gt
