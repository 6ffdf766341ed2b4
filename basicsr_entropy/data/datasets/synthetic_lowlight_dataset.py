"""Pairs made from normal-light photographs alone, for people who have no others."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from torch.utils.data import Dataset

from basicsr_entropy._images import image_of_file, images_in, to_float
from basicsr_entropy.config import construct
from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.datasets.lowlight_paired_dataset import check_crop, to_tensors
from basicsr_entropy.data.datasets.options import SyntheticOptions, option_path
from basicsr_entropy.data.datasets.transforms import Augmentation
from basicsr_entropy.data.lmdb.reader import StoreReader


class SyntheticLowLightDataset(Dataset):
    """Normal-light photographs, and dark versions of them that `LowLightDegradation` makes on the fly.

    Training draws a new degradation for each item. Validation and testing give an image the same one every time.

    Options:
        dataroot_gt: Folder of photographs, or an LMDB store of them.
        degradation: Options of `LowLightDegradation`.
        seed: Of validation and testing; 0 by default.
        gt_size, gt_sizes, use_hflip, use_rot, rescale, mixup, mean, std, color: As in LowLightPairedDataset.

    Items are those of LowLightPairedDataset.

    Raises:
        KeyError: If an option is unknown or missing.
        FileNotFoundError: If the folder or store is missing or empty.
        ValueError: If an option is out of its range; reading an item raises it for an image that cannot be read or is
            smaller than the crop.
    """

    OPTIONS = SyntheticOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.where = option_path(opt)
        self.options = SyntheticOptions.read(opt, self.where)
        self.crop_size, self.seed = self.options.crop_size, self.options.seed
        self.augmentation = Augmentation(self.options)
        self.degradation = construct(LowLightDegradation, opt.get('degradation'), f'{self.where}.degradation')
        root = Path(self.options.dataroot_gt).expanduser()
        if root.suffix == '.lmdb':
            store = StoreReader(root)
            self.paths, self._open = sorted(store.shapes), store.image
        else:
            if not root.is_dir():
                raise FileNotFoundError(f'{self.where}.dataroot_gt: no folder {root}')
            self.paths, self._open = [str(path) for path in images_in(root)], image_of_file
        if not self.paths:
            raise FileNotFoundError(f'{self.where}.dataroot_gt: no image in {root}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        path = self.paths[index]
        images = self.augmentation.mix(self._images(index), lambda: self._images(random.randrange(len(self))))
        lq, gt = to_tensors(list(images), self.options)
        return {'lq': lq, 'gt': gt, 'lq_path': path, 'gt_path': path}

    def _images(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A photograph darkened, and itself, (H, W, 3), float32; whole, or in training cropped and turned."""
        path = self.paths[index]
        with self._open(path) as gt:
            if self.crop_size is not None:
                whole = gt.shape
                (gt,) = self.augmentation.rescale(gt)
                check_crop(gt, self.crop_size, path, self.where, rescaled=gt.shape != whole)
                gt, _ = paired_random_crop(gt, gt, self.crop_size, 1)
            gt = to_float(gt)  # a copy, of the crop alone
        if self.crop_size is not None:
            gt = augment(gt, self.options.use_hflip, self.options.use_rot)
            # `random` is what BasicSR seeds in every worker
            rng = np.random.default_rng(random.getrandbits(64))
        else:
            rng = np.random.default_rng([self.seed, index])
        return self.degradation(gt, rng), gt
