"""Paired low-light dataset, read from published folders, LMDB databases or mmengine's file backends."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import bgr2ycbcr
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from basicsr_entropy._images import size_of, to_float
from basicsr_entropy._levels import level_histogram
from basicsr_entropy.config import dataset_path
from basicsr_entropy.data.datasets.options import LowLightDataset, PairedOptions
from basicsr_entropy.data.datasets.transforms import Augmentation
from basicsr_entropy.data.sets.selection import select_split

OVERVIEW_SIZE = 128  # enough pixels for the histogram of an image


class LowLightPairedDataset(Dataset):
    """Paired dataset for low-light enhancement; accepts the options of BasicSR's PairedImageDataset.

    Options:
        dataroot: Folder of a published dataset, or of the LMDB databases that `basicsr-entropy prepare` wrote.
        layout: Layout of the published dataset: lolv1, lolv2_real, lolv2_synthetic, ntire2024, or auto (default).
        split: train, val or test. By default train in the training phase, else test or, if there is none, val.
        dataroot_lq, dataroot_gt: Two folders, LMDB databases or addresses, instead of dataroot.
        io_backend: {type: disk}, {type: lmdb}, or {type: mmengine, ...} with the arguments of one of mmengine's
            backends (backend: local, http, petrel ...). By default databases if there are any, else folders.
        meta_info_file, filename_tmpl: As in PairedImageDataset, with dataroot_lq and dataroot_gt. A line of
            meta_info_file may also name two files, lq and gt.
        exclude: Exclusion list: a file with one key or split/key per line; a remark may follow after a tab.
        gt_size: Side length of training crops in pixels. gt_sizes is the schedule of a model, see `ProgressiveCrop`.
        use_hflip, use_rot: Random flips and quarter turns in training.
        rescale, exposure_jitter, mixup: Further augmentation in training; see `Augmentation`.
        mean, std, color, scale: As in PairedImageDataset; scale is 1 by default.

    Items are dicts with lq and gt, float32 RGB tensors (3, H, W), range [0, 1] before mean and std, and lq_path and
    gt_path, file paths or LMDB keys. 16-bit images keep their precision. In training, lq_histogram is the
    `level_histogram` (256,) of the lq image that was cropped.

    Raises:
        KeyError: If an option is unknown or missing.
        FileNotFoundError: If a folder or database is missing or empty.
        ValueError: If images do not pair, or an option is out of range. Reading an item raises it for images that
            differ in size, cannot be decoded or are smaller than the crop.
        OSError: While reading an item, if a backend fails.
    """

    OPTIONS = PairedOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.where = dataset_path(opt)
        self.options = PairedOptions.read(opt, self.where)
        self.scale, self.crop_size = self.options.scale, self.options.crop_size
        self.augmentation = Augmentation(self.options)
        try:
            self._split = select_split(self.options.model_dump())
            self.pairs = self._split.pairs
        except (FileNotFoundError, ValueError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f'{self.where}: {error}') from error

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        pair = self.pairs[index]
        # mixed here and not in the model: works with every model, and uses the generator that is seeded for each item
        images = self.augmentation.mix(self._images(index), lambda: self._images(random.randrange(len(self))))
        return make_item(images, self.options, pair.lq, pair.gt)

    def _images(self, index: int) -> tuple[np.ndarray, ...]:
        """lq and gt of a pair, (H, W, 3), with the files' dtype or float32.

        In training they are cropped and augmented, and followed by the histogram of the whole lq image.
        """
        pair = self.pairs[index]
        with self._split.open('lq', pair.lq) as lq, self._split.open('gt', pair.gt) as gt:
            if gt.shape[:2] != (lq.shape[0] * self.scale, lq.shape[1] * self.scale):
                times = '' if self.scale == 1 else f' at scale {self.scale}'
                raise ValueError(
                    f'{self.where}: sizes do not fit{times}: {pair.lq} is {size_of(lq)}, {pair.gt} is {size_of(gt)}'
                )
            if self.crop_size is not None:
                small, original = overview(lq).copy(), gt.shape
                lq, gt = self.augmentation.rescale(lq, gt)
                check_crop(gt, self.crop_size, pair.gt, self.where, rescaled=gt.shape != original)
                gt, lq = paired_random_crop(gt, lq, self.crop_size, self.scale)
            lq, gt = lq.copy(), gt.copy()  # copies the crop alone; views end with the context
        if self.crop_size is None:
            return lq, gt
        gt, lq = augment([gt, lq], self.options.use_hflip, self.options.use_rot)
        lq, small = self.augmentation.expose(lq, small)
        return lq, gt, histogram_of(small, self.options)


def check_crop(image: np.ndarray, size: int, name: str, where: str, rescaled: bool = False) -> None:
    """Checks that an image (H, W, C) is at least as large as the crop.

    Args:
        image: The image.
        size: Side length of the crop in pixels.
        name: Name of the image, for the error message.
        where: Path of the dataset's options, for the error message.
        rescaled: Whether the image has been rescaled.

    Raises:
        ValueError: If it is smaller.
    """
    if size > min(image.shape[:2]):
        now = ' (rescaled)' if rescaled else ''
        raise ValueError(f'{where}.gt_size: a crop of {size} is larger than {name}, which is {size_of(image)}{now}')


def overview_step(image: np.ndarray) -> int:
    """The n for which every n-th row and column of an image (H, W, C) are at most OVERVIEW_SIZE."""
    return -(-max(image.shape[:2]) // OVERVIEW_SIZE)


def overview(image: np.ndarray) -> np.ndarray:
    """Every n-th row and column of an image (H, W, C), a view."""
    step = overview_step(image)
    return image[::step, ::step]


def histogram_of(image: np.ndarray, options: LowLightDataset) -> np.ndarray:
    """`level_histogram` of one image (H, W, 3), in the form in which models see it, as an array (256,)."""
    (tensor,) = to_tensors([image], options)
    return level_histogram(tensor[None])[0].numpy()


def make_item(
    images: Sequence[np.ndarray], options: LowLightDataset, lq_path: str, gt_path: str
) -> dict[str, torch.Tensor | str]:
    """The item of a dataset: lq, gt, and in training the histogram of lq."""
    lq, gt = to_tensors(list(images[:2]), options)
    item: dict[str, torch.Tensor | str] = {'lq': lq, 'gt': gt, 'lq_path': lq_path, 'gt_path': gt_path}
    if len(images) > 2:
        item['lq_histogram'] = torch.from_numpy(images[2])
    return item


def to_tensors(images: list[np.ndarray], options: LowLightDataset) -> list[torch.Tensor]:
    """Converts BGR images (H, W, 3) to tensors, and normalizes them by the options mean and std.

    Returns:
        RGB tensors (3, H, W), or with `color: y` Y tensors (1, H, W); float32, range [0, 1] without mean and std.
    """
    if options.color == 'y':
        planes = [bgr2ycbcr(to_float(image), y_only=True)[None] for image in images]
    else:  # transposed as integers, which is less to copy, and contiguous for collation
        planes = [to_float(np.ascontiguousarray(image.transpose(2, 0, 1)[::-1])) for image in images]
    tensors = [torch.from_numpy(each) for each in planes]
    if options.mean is not None:
        for tensor in tensors:
            normalize(tensor, options.mean, options.std, inplace=True)
    return tensors
