"""How photographs are cut and encoded for an LMDB database."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from basicsr_entropy._checks import check_choice
from basicsr_entropy._images import decode_image, jpeg_damage, size_of
from basicsr_entropy.data.lmdb import encode_pixels, lmdb_key
from basicsr_entropy.data.sets.pairing import Pair

ENCODINGS = ('keep', 'png', 'raw')


@dataclass(frozen=True)
class LmdbFormat:
    """How images are cut and encoded.

    Attributes:
        encoding: keep (bytes of the original file; sub-images become PNG), png, or raw (pixels).
        crop_size: Side length of the sub-images in pixels; None keeps photographs whole.
        step: Distance between sub-images in pixels; crop_size by default.
        thresh: A remaining strip of at most this many pixels at the right or bottom border is dropped (default 0); a
            wider one is covered by an additional sub-image that ends at the border.

    Raises:
        ValueError: If an option is out of its range.
    """

    encoding: str = 'keep'
    crop_size: int | None = None
    step: int | None = None
    thresh: int | None = None

    def __post_init__(self) -> None:
        check_choice('encoding', self.encoding, ENCODINGS)
        for name, lowest in (('crop_size', 1), ('step', 1), ('thresh', 0)):
            value = getattr(self, name)
            if value is not None and self.crop_size is None:
                raise ValueError(f'{name}: has no effect without crop_size=...')
            if value is not None and value < lowest:
                raise ValueError(f'{name}: must be at least {lowest}, got {value}')
        if self.crop_size is not None:
            object.__setattr__(self, 'step', self.step or self.crop_size)
            object.__setattr__(self, 'thresh', self.thresh or 0)

    def boxes(self, height: int, width: int, file: str) -> list[tuple[int, int]]:
        """Positions (top, left) of the sub-images, row by row, the same as those of BasicSR's extract_subimages.

        A photograph that is kept whole is its own single sub-image, at (0, 0).

        Args:
            height, width: Size of the photograph in pixels.
            file: Name of its file, for the error message.

        Raises:
            ValueError: If the photograph is smaller than a sub-image.
        """
        size, step, thresh = self.crop_size, self.step, self.thresh
        if size is None or step is None or thresh is None:  # all are None, or none is
            return [(0, 0)]
        if min(height, width) < size:
            raise ValueError(f'{file} is {width}x{height}, smaller than crop_size={size}')
        tops, lefts = (_starts(length, size, step, thresh) for length in (height, width))
        return [(top, left) for top in tops for left in lefts]

    def cut(self, key: str, image: np.ndarray, file: str) -> dict[str, np.ndarray]:
        """Cuts an image (H, W, C) into views by key: the whole image, or its sub-images.

        Keys of sub-images end in _s001, _s002 ..., as BasicSR's do.

        Raises:
            ValueError: If the image is smaller than a sub-image; the message names `file`.
        """
        if self.crop_size is None:
            return {key: image}
        size, (height, width) = self.crop_size, image.shape[:2]
        return {
            lmdb_key(f'{key}_s{index:03d}'): image[top : top + size, left : left + size]
            for index, (top, left) in enumerate(self.boxes(height, width, file), 1)
        }

    @property
    def keeps_files(self) -> bool:
        """Whether values are the bytes of the original files."""
        return self.encoding == 'keep' and self.crop_size is None

    def encode(self, image: np.ndarray) -> bytes:
        """Encodes an image (H, W, 3), uint8 or uint16, as pixels or as PNG, without loss."""
        return encode_pixels(image, raw=self.encoding == 'raw')


def _starts(length: int, size: int, step: int, thresh: int) -> list[int]:
    """Positions of the sub-images along one side of a photograph."""
    starts = list(range(0, length - size + 1, step))
    if length - (starts[-1] + size) > thresh:
        starts.append(length - size)
    return starts


@dataclass(frozen=True)
class Value:
    """An entry of a database.

    Attributes:
        key: LMDB key.
        content: The bytes stored under it.
        facts: Their description in the journal: height, width, dtype, bytes, sha256.
    """

    key: str
    content: bytes
    facts: dict[str, Any]


@dataclass(frozen=True)
class EncodedPair:
    """A pair, encoded for the two databases.

    Attributes:
        pair: The pair of files.
        stamps: Size and modification time of the two files when they were read; see `stamps_of`.
        values: Entries by role, 'lq' and 'gt', with the same keys in the same order.
        damage: What decoders report of the files, see `jpeg_damage`; the messages name them.
        error: Why the pair could not be encoded; there are no values then.
    """

    pair: Pair
    stamps: list[list[int]] = field(default_factory=list)
    values: dict[str, list[Value]] = field(default_factory=dict)
    damage: tuple[str, ...] = ()
    error: str | None = None


class PairEncoder(Dataset):
    """Reads, checks, cuts and encodes pairs of files; a dataset for the workers of a data loader.

    Items are `EncodedPair`s; an image that cannot be used is reported in `EncodedPair.error`, not raised.
    """

    def __init__(self, pairs: Sequence[Pair], lmdb_format: LmdbFormat) -> None:
        self.pairs, self.lmdb_format = pairs, lmdb_format

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> EncodedPair:
        pair = self.pairs[index]
        try:
            contents = {'lq': Path(pair.lq).read_bytes(), 'gt': Path(pair.gt).read_bytes()}
            reports = [(getattr(pair, role), jpeg_damage(content)) for role, content in contents.items()]
            damage = tuple(f'{file}: {report}' for file, report in reports if report)
            return EncodedPair(pair, stamps_of(pair), self._values(pair, contents), damage)
        except (OSError, ValueError) as error:
            return EncodedPair(pair, error=str(error))

    def _values(self, pair: Pair, contents: dict[str, bytes]) -> dict[str, list[Value]]:
        lq, gt = decode_image(contents['lq'], pair.lq), decode_image(contents['gt'], pair.gt)
        if lq.shape != gt.shape:
            raise ValueError(f'{pair.lq} is {size_of(lq)}, but {pair.gt} is {size_of(gt)}')
        lmdb_format, values = self.lmdb_format, {}
        for role, file, image in (('lq', pair.lq, lq), ('gt', pair.gt, gt)):
            values[role] = [
                _value(key, part, contents[role] if lmdb_format.keeps_files else lmdb_format.encode(part))
                for key, part in lmdb_format.cut(lmdb_key(pair.key), image, file).items()
            ]
        return values


def _value(key: str, image: np.ndarray, content: bytes) -> Value:
    facts = {
        'height': image.shape[0],
        'width': image.shape[1],
        'dtype': str(image.dtype),
        'bytes': len(content),
        'sha256': hashlib.sha256(content).hexdigest(),
    }
    return Value(key, content, facts)


def stamps_of(pair: Pair) -> list[list[int]]:
    """(size in bytes, modification time in ns) of a pair's two files; tells later whether they have changed."""
    return [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, (pair.lq, pair.gt))]
