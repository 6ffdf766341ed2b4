"""Measures every pair of a dataset in one pass; `check` turns the measurements into findings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset
from tqdm import tqdm

from basicsr_entropy._images import jpeg_damage, of_any_size, to_float, verifies_jpeg
from basicsr_entropy.data.checks import scenes
from basicsr_entropy.data.sets.pairing import ROLES, Pair
from basicsr_entropy.data.sets.splits import Split
from basicsr_entropy.data.workers import in_workers


@dataclass(frozen=True)
class MeasuredImage:
    """Measurements of one image; an unreadable one has an error only.

    Attributes:
        error: Why the image cannot be read; None if it can.
        size: (width, height) in pixels.
        bits: Bits per channel.
        channels: Channels of the file: 1 for gray, 3 for color, 4 with alpha; 3 for raw LMDB databases.
        digest: Hash of the pixels as the dataset classes read them.
        luma: Mean luma, range [0, 1].
        highlight: 99th percentile of luma, range [0, 1].
        damage: What the decoder of a JPEG file reports, see `jpeg_damage`; None if it reports nothing.
    """

    error: str | None
    size: tuple[int, int] = (0, 0)
    bits: int = 8
    channels: int = 3
    digest: bytes = b''
    luma: float = 0.0
    highlight: float = 0.0
    damage: str | None = None


@dataclass(frozen=True)
class MeasuredPair:
    """Measurements of one pair; the last four need two readable images of the same size.

    Attributes:
        split: The split of the pair.
        pair: Its key and image names.
        lq, gt: Measurements of its images.
        thumbnail: Thumbnail of the gt image, see `scenes.thumbnail`; None if the image cannot be read.
        difference: Mean absolute difference of luma, range [0, 1]; None if it cannot be computed.
        shift: Displacement (dx, dy) of the gt image w.r.t. the lq image in pixels.
        response: Reliability of the shift, 0 to 1; see `scenes.shift`.
        similarity: Structural similarity of the two images, -1 to 1; see `scenes.similarity`.
    """

    split: Split
    pair: Pair
    lq: MeasuredImage
    gt: MeasuredImage
    thumbnail: np.ndarray | None = field(default=None, compare=False)
    difference: float | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    response: float = 1.0
    similarity: float = 1.0

    def image(self, role: str) -> MeasuredImage:
        """Measurements of the 'lq' or the 'gt' image."""
        return {'lq': self.lq, 'gt': self.gt}[role]

    def name(self, role: str) -> str:
        """Name of the 'lq' or the 'gt' image, as `Split.open` takes it."""
        return {'lq': self.pair.lq, 'gt': self.pair.gt}[role]


def measure_all(splits: Sequence[Split], workers: int = 0) -> list[MeasuredPair]:
    """Reads and measures every pair once, with a progress bar.

    Args:
        splits: The splits to measure.
        workers: Number of processes that read; 0 reads in this process.
    """
    tasks = [(split, pair) for split in splits for pair in split.pairing.pairs]
    measurements = in_workers(_Measurements(tasks), workers)
    try:
        found = list(tqdm(measurements, total=len(tasks), desc='check', unit='pair'))
    finally:
        del measurements  # ends the workers now; the traceback of an error would keep them alive
    return [MeasuredPair(split, pair, **fields) for (split, pair), fields in zip(tasks, found)]


class _Measurements(Dataset):
    """Fields of `MeasuredPair` beyond split and pair, by index of the task."""

    def __init__(self, tasks: Sequence[tuple[Split, Pair]]) -> None:
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        split, pair = self.tasks[index]
        (lq, lq_luma), (gt, gt_luma) = (_measure(split, role, getattr(pair, role)) for role in ROLES)
        fields: dict[str, Any] = {'lq': lq, 'gt': gt}
        if gt_luma is not None:
            fields['thumbnail'] = scenes.thumbnail(gt_luma)
        if lq_luma is not None and gt_luma is not None and lq.size == gt.size:
            dx, dy, response = scenes.shift(lq_luma, gt_luma)
            fields |= {'difference': float(cv2.norm(lq_luma, gt_luma, cv2.NORM_L1)) / gt_luma.size}
            fields |= {'shift': (dx, dy), 'response': response}
            fields |= {'similarity': scenes.similarity(scenes.thumbnail(lq_luma), fields['thumbnail'])}
        return fields


def _measure(split: Split, role: str, name: str) -> tuple[MeasuredImage, np.ndarray | None]:
    """Measures an image; also returns its luma (H, W), float32, range [0, 1], or None if it cannot be read."""
    try:
        with split.open(role, name) as pixels:
            luma = to_float(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
            digest = hashlib.blake2b(f'{pixels.shape} {pixels.dtype}'.encode(), digest_size=16)
            digest.update(np.ascontiguousarray(pixels).data)
            size, bits = (pixels.shape[1], pixels.shape[0]), 8 * pixels.dtype.itemsize
        channels, damage = _of_file(split, role, name)
    except (OSError, KeyError, ValueError) as error:
        # reports name the image themselves
        return MeasuredImage(str(error).removeprefix(f'{split.path(role, name)} ')), None
    highlight = float(np.percentile(luma, 99))
    return MeasuredImage(None, size, bits, channels, digest.digest(), float(luma.mean()), highlight, damage), luma


def _of_file(split: Split, role: str, name: str) -> tuple[int, str | None]:
    """Channels by the header of an image's file, and its damage.

    Stored pixels, and formats that only OpenCV reads, count as 3 channels without damage.
    """
    file = split.source(role).open_file(name)
    if file is None:
        return 3, None
    with file:
        try:
            with of_any_size(), Image.open(file) as header:
                gray = Image.getmodebase(header.mode) == 'L'
                channels = 4 if header.has_transparency_data else 1 if gray else 3
        except UnidentifiedImageError:
            return 3, None
        file.seek(0)
        start = file.read(2)  # most files need not be read once more
        return channels, jpeg_damage(start + file.read()) if verifies_jpeg(start) else None
