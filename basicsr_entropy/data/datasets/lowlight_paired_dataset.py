"""Pairs of low-light and normal-light photographs, from published folders, LMDB stores or mmengine's file backends."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import bgr2ycbcr
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from basicsr_entropy._images import size_of, to_float
from basicsr_entropy.data.datasets.options import LowLightDataset, PairedOptions, option_path
from basicsr_entropy.data.datasets.transforms import Augmentation
from basicsr_entropy.data.sets.sources import find_source


class LowLightPairedDataset(Dataset):
    """Paired dataset for low-light enhancement; understands the options of BasicSR's PairedImageDataset.

    Options:
        dataroot: Folder of a published set, or one that `basicsr-entropy prepare` wrote.
        layout: Layout of the published set: lolv1, lolv2_real, lolv2_synthetic, ntire2024, or auto (default).
        split: train, val or test; by default train when training, else test or, where there is none, val.
        dataroot_lq, dataroot_gt: Folders (or, for LMDB, stores) instead of dataroot.
        io_backend: {type: disk}, {type: lmdb}, or {type: mmengine, ...} with the arguments of one of mmengine's
            backends (backend: local, http, petrel ...); by default what lies there.
        meta_info_file, filename_tmpl: As in PairedImageDataset, with dataroot_lq and dataroot_gt; a line of
            meta_info_file may name two files as well, lq and gt.
        exclude: File of pairs to leave out, a key or split/key a line; what follows a tab is a remark.
        gt_size: Side of a training crop in pixels; gt_sizes is the schedule of a model, see `BatchSchedule`.
        use_hflip, use_rot: Random flips and quarter turns in training.
        rescale, exposure_jitter, mixup: Further changes in training; see `Augmentation`.
        mean, std, color, scale: As in PairedImageDataset; scale is 1 by default.

    Items are dicts: lq and gt, float32 RGB tensors (3, H, W) of range [0, 1] (before mean and std), and lq_path and
    gt_path. Images of 16 bits keep their depth.

    Raises:
        KeyError: If an option is unknown or missing.
        FileNotFoundError: If a folder or store is missing or empty.
        ValueError: If images do not pair, or an option is out of its range; reading an item raises it for images that
            differ in size, cannot be read or are smaller than the crop, and an OSError for a backend that fails.
    """

    OPTIONS = PairedOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.where = option_path(opt)
        self.options = PairedOptions.read(opt, self.where)
        self.scale, self.crop_size = self.options.scale, self.options.crop_size
        self.augmentation = Augmentation(self.options)
        try:
            source = find_source(opt)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{self.where}: {error}') from error
        self.pairs, self._open_lq, self._open_gt = source.pairs, source.open_lq, source.open_gt

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        pair, images = self.pairs[index], self._images(index)
        # mixed here and not in the model: it serves every model, and draws from what BasicSR seeds in the worker
        images = self.augmentation.mix(images, lambda: self._images(random.randrange(len(self))))
        lq, gt = to_tensors(list(images), self.options)
        return {'lq': lq, 'gt': gt, 'lq_path': pair.lq, 'gt_path': pair.gt}

    def _images(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """lq and gt of a pair, (H, W, 3), of the files' depth or float32; whole, or in training cropped and turned."""
        pair = self.pairs[index]
        with self._open_lq(pair.lq) as lq, self._open_gt(pair.gt) as gt:
            if gt.shape[:2] != (lq.shape[0] * self.scale, lq.shape[1] * self.scale):
                times = '' if self.scale == 1 else f' at scale {self.scale}'
                raise ValueError(
                    f'{self.where}: sizes do not fit{times}: {pair.lq} is {size_of(lq)}, {pair.gt} is {size_of(gt)}'
                )
            if self.crop_size is not None:
                whole = gt.shape
                lq, gt = self.augmentation.rescale(lq, gt)
                check_crop(gt, self.crop_size, pair.gt, self.where, rescaled=gt.shape != whole)
                gt, lq = paired_random_crop(gt, lq, self.crop_size, self.scale)
            lq, gt = lq.copy(), gt.copy()  # of the crop alone; what was opened ends here
        if self.crop_size is not None:
            gt, lq = augment([gt, lq], self.options.use_hflip, self.options.use_rot)
            lq = self.augmentation.expose(lq)
        return lq, gt


def check_crop(image: np.ndarray, size: int, name: str, where: str, rescaled: bool = False) -> None:
    """Raises a ValueError if an image (H, W, C) is smaller than the crop."""
    if size > min(image.shape[:2]):
        now = ' (rescaled)' if rescaled else ''
        raise ValueError(f'{where}.gt_size: a crop of {size} is larger than {name}, which is {size_of(image)}{now}')


def to_tensors(images: list[np.ndarray], options: LowLightDataset) -> list[torch.Tensor]:
    """BGR images (H, W, 3) to RGB tensors (3, H, W), or Y tensors (1, H, W) for `color: y`; then mean and std."""
    if options.color == 'y':
        planes = [bgr2ycbcr(to_float(image), y_only=True)[None] for image in images]
    else:  # planes are split before they are floats, and contiguous, since batches copy them again
        planes = [to_float(np.ascontiguousarray(image.transpose(2, 0, 1)[::-1])) for image in images]
    tensors = [torch.from_numpy(each) for each in planes]
    if options.mean is not None:
        for tensor in tensors:
            normalize(tensor, options.mean, options.std, inplace=True)
    return tensors
