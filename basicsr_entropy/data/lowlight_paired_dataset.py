"""Pairs of low-light and normal-light photographs, from published folders or from LMDB stores."""

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_util import paired_paths_from_folder, paired_paths_from_meta_info_file
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import bgr2ycbcr, img2tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from basicsr_entropy._registry import check_keys
from basicsr_entropy.data.augmentation import Augmentation
from basicsr_entropy.data.exclusion import is_excluded, read_exclusion
from basicsr_entropy.data.images import decode_float, read_file
from basicsr_entropy.data.layouts import SPLITS, Pair, find_splits, pair_folders
from basicsr_entropy.data.lmdb_store import StoreReader, store_keys
from basicsr_entropy.data.options import IMAGE_KEYS, LOADER_KEYS, crop_size, option_path
from basicsr_entropy.data.prepare import store_path


class LowLightPairedDataset(Dataset):
    """Paired dataset for low-light enhancement; understands the options of BasicSR's PairedImageDataset.

    Options:
        dataroot: Folder of a published set, or one that `basicsr-entropy prepare` wrote.
        layout: Layout of the published set: lolv1, lolv2_real, lolv2_synthetic, ntire2024, or auto (default).
        split: train, val or test; by default train when training, else test or, where there is none, val.
        dataroot_lq, dataroot_gt: Folders (or, for LMDB, stores) instead of dataroot.
        io_backend: {type: disk} or {type: lmdb}; by default what lies there.
        meta_info_file, filename_tmpl: As in PairedImageDataset, with dataroot_lq and dataroot_gt.
        exclude: File of pairs to leave out, a key or split/key a line; what follows a tab is a remark.
        gt_size: Side of a training crop in pixels; gt_sizes is the schedule of a model, see `BatchSchedule`.
        use_hflip, use_rot: Random flips and quarter turns in training.
        rescale, exposure_jitter, mixup: Further changes in training; see `Augmentation`.
        mean, std, color, scale: As in PairedImageDataset; scale is 1 by default.

    Items are dicts: lq and gt, float32 RGB tensors (3, H, W) of range [0, 1] (before mean and std), and lq_path and
    gt_path.

    Raises:
        KeyError: If an option is unknown or missing.
        FileNotFoundError: If a folder or store is missing or empty.
        ValueError: If images do not pair, or an option is out of its range; reading an item raises it for images that
            differ in size, cannot be read or are smaller than the crop.
    """

    KEYS = (
        'dataroot',
        'layout',
        'split',
        'dataroot_lq',
        'dataroot_gt',
        'io_backend',
        'meta_info_file',
        'filename_tmpl',
        'exclude',
        'exposure_jitter',
    )

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.where = option_path(opt)
        check_keys(opt, (*self.KEYS, *IMAGE_KEYS, *LOADER_KEYS), self.where)
        self.scale, self.crop_size, self.augmentation = opt.get('scale', 1), crop_size(opt), Augmentation(opt)
        try:
            self.excluded = read_exclusion(opt['exclude']) if opt.get('exclude') else frozenset()
            self.pairs, self._read_lq, self._read_gt = self._find()
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{self.where}: {error}') from error
        if not self.pairs and self.excluded:
            raise ValueError(f'{self.where}: exclude: {opt["exclude"]} leaves no pair')

    def _find(self) -> tuple[list[Pair], Callable[[str], bytes], Callable[[str], bytes]]:
        """The pairs, and how the bytes of either side are read."""
        opt = self.opt
        backend = (opt.get('io_backend') or {}).get('type')
        if backend not in (None, 'disk', 'lmdb'):
            raise ValueError(f"io_backend.type: must be disk or lmdb, got '{backend}'")
        if opt.get('dataroot') is not None:
            if opt.get('dataroot_lq') or opt.get('dataroot_gt'):
                raise ValueError('give either dataroot, or dataroot_lq and dataroot_gt, not both')
            root = Path(opt['dataroot']).expanduser()
            if backend == 'lmdb' or (backend is None and any(root.glob('*_lq.lmdb'))):
                split = self._split({path.name.removesuffix('_lq.lmdb') for path in root.glob('*_lq.lmdb')}, root)
                return self._stores(store_path(root, split, 'lq'), store_path(root, split, 'gt'), split)
            found = {each.split: each for each in find_splits(root, opt.get('layout') or 'auto')}
            split = found[self._split(set(found), root)]
            where, excluded = f"split '{split.split}'", self._excluded(split.split)
            return pair_folders(split.lq_folder, split.gt_folder, where, excluded), read_file, read_file
        if not (opt.get('dataroot_lq') and opt.get('dataroot_gt')):
            raise ValueError('give dataroot, or dataroot_lq and dataroot_gt')
        lq_root, gt_root = (Path(opt[key]).expanduser() for key in ('dataroot_lq', 'dataroot_gt'))
        if backend == 'lmdb' or (backend is None and lq_root.suffix == '.lmdb'):
            return self._stores(lq_root, gt_root)
        return self._folders(lq_root, gt_root), read_file, read_file

    def _split(self, there: set[str], root: Path) -> str:
        asked = self.opt.get('split')
        if asked is not None and asked not in SPLITS:
            raise ValueError(f"split: must be one of {', '.join(SPLITS)}, got '{asked}'")
        wanted = [asked] if asked else ['train'] if self.opt.get('phase') == 'train' else ['test', 'val']
        for split in wanted:
            if split in there:
                return split
        listed = ', '.join(sorted(there)) or 'none'
        raise FileNotFoundError(f"split: no '{wanted[0]}' under {root}; splits there: {listed}")

    def _excluded(self, split: str | None = None) -> Callable[[str], bool]:
        """Whether the option exclude names a key."""
        root = Path(self.opt['dataroot']).expanduser().resolve().name if split else None
        return lambda key: is_excluded(self.excluded, key, split, root)

    def _stores(
        self, lq_root: Path, gt_root: Path, split: str | None = None
    ) -> tuple[list[Pair], Callable[[str], bytes], Callable[[str], bytes]]:
        excluded = self._excluded(split)
        lq_keys, gt_keys = ({key for key in store_keys(root) if not excluded(key)} for root in (lq_root, gt_root))
        odd = sorted(lq_keys ^ gt_keys)
        if odd:
            raise ValueError(f"{lq_root} and {gt_root} do not hold the same keys; the first odd one is '{odd[0]}'")
        if not lq_keys and not self.excluded:
            raise FileNotFoundError(f'{lq_root} holds no image')
        return [Pair(key, key, key) for key in sorted(lq_keys)], StoreReader(lq_root).get, StoreReader(gt_root).get

    def _folders(self, lq_root: Path, gt_root: Path) -> list[Pair]:
        template, meta_info = self.opt.get('filename_tmpl', '{}'), self.opt.get('meta_info_file')
        folders, keys = [str(lq_root), str(gt_root)], ['lq', 'gt']
        if meta_info is not None:
            paths = paired_paths_from_meta_info_file(folders, keys, str(Path(meta_info).expanduser()), template)
        elif template != '{}':
            try:
                paths = paired_paths_from_folder(folders, keys, template)
            except AssertionError as error:
                raise ValueError(f'filename_tmpl: {error}') from error
        else:
            return pair_folders(lq_root, gt_root, 'dataroot_lq and dataroot_gt', self._excluded())
        keys = [Path(os.path.relpath(path['gt_path'], gt_root)).with_suffix('').as_posix() for path in paths]
        pairs = [Pair(key, path['lq_path'], path['gt_path']) for key, path in zip(keys, paths)]
        return [pair for pair in pairs if not self._excluded()(pair.key)]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        pair, images = self.pairs[index], self._images(index)
        # mixed here and not in the model: it serves every model, and draws from what BasicSR seeds in the worker
        images = self.augmentation.mix(images, lambda: self._images(random.randrange(len(self))))
        lq, gt = to_tensors(list(images), self.opt)
        return {'lq': lq, 'gt': gt, 'lq_path': pair.lq, 'gt_path': pair.gt}

    def _images(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """lq and gt of a pair, whole, or in training cropped and turned."""
        pair = self.pairs[index]
        lq = decode_float(self._read_lq(pair.lq), pair.lq)
        gt = decode_float(self._read_gt(pair.gt), pair.gt)
        if gt.shape[:2] != (lq.shape[0] * self.scale, lq.shape[1] * self.scale):
            times = '' if self.scale == 1 else f' at scale {self.scale}'
            raise ValueError(
                f'{self.where}: sizes do not fit{times}: {pair.lq} is {lq.shape[1]}x{lq.shape[0]}, '
                f'{pair.gt} is {gt.shape[1]}x{gt.shape[0]}'
            )
        if self.crop_size is not None:
            whole = gt.shape
            lq, gt = self.augmentation.rescale(lq, gt)
            check_crop(gt, self.crop_size, pair.gt, self.where, rescaled=gt.shape != whole)
            gt, lq = paired_random_crop(gt, lq, self.crop_size, self.scale)
            gt, lq = augment([gt, lq], self.opt.get('use_hflip', False), self.opt.get('use_rot', False))
            lq = self.augmentation.expose(lq)
        return lq, gt


def check_crop(image: np.ndarray, size: int, name: str, where: str, rescaled: bool = False) -> None:
    """Raises a ValueError if an image (H, W, C) is smaller than the crop."""
    height, width = image.shape[:2]
    if size > min(height, width):
        now = ' (rescaled)' if rescaled else ''
        raise ValueError(f'{where}.gt_size: a crop of {size} is larger than {name}, which is {width}x{height}{now}')


def to_tensors(images: list[np.ndarray], opt: Mapping[str, Any]) -> list[torch.Tensor]:
    """BGR images (H, W, 3) to RGB tensors (3, H, W), or Y tensors (1, H, W) for `color: y`; then mean and std."""
    if opt.get('color') == 'y':
        images = [bgr2ycbcr(image, y_only=True)[..., None] for image in images]
    tensors = img2tensor(images, bgr2rgb=True, float32=True)
    if opt.get('mean') is not None or opt.get('std') is not None:
        for tensor in tensors:
            normalize(tensor, opt['mean'], opt['std'], inplace=True)
    return tensors
