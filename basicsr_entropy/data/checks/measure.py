"""The pass over every pair of a set that `check` judges by: a few numbers and a thumbnail are kept of each."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Header
from PIL import UnidentifiedImageError
from torch.utils.data import Dataset
from tqdm import tqdm

from basicsr_entropy._images import image_of_file, of_any_size, to_float
from basicsr_entropy.data.checks import scenes
from basicsr_entropy.data.lmdb.reader import StoreReader, store_path
from basicsr_entropy.data.sets.exclusion import is_excluded
from basicsr_entropy.data.sets.layouts import SPLITS, check_splits, find_splits
from basicsr_entropy.data.sets.pairing import ROLES, Matched, Pair, match_folders, match_keys
from basicsr_entropy.data.sets.sources import splits_of_stores
from basicsr_entropy.data.workers import in_workers


@dataclass(frozen=True)
class SplitSource:
    """A split of a set, in folders or in stores.

    Attributes:
        root: Data root.
        split: Name of the split.
        matched: Its images.
        stores: Readers of the lq and the gt; None for folders.
    """

    root: Path
    split: str
    matched: Matched
    stores: tuple[StoreReader, StoreReader] | None = None

    @property
    def trained_on(self) -> bool:
        return self.split == 'train'

    def store(self, role: str) -> StoreReader | None:
        return self.stores[ROLES.index(role)] if self.stores else None

    def path(self, role: str, name: str) -> Path:
        """Where an image lies; for stores, the key below the store."""
        return store_path(self.root, self.split, role) / name if self.stores else Path(name)

    def image(self, role: str, name: str) -> AbstractContextManager[np.ndarray]:
        """An image as the datasets see it; see `StoreReader.image`."""
        store = self.store(role)
        return store.image(name) if store else image_of_file(name)


@dataclass(frozen=True)
class Image:
    """What is kept of one image; of an unreadable one only the error.

    Attributes:
        error: Why it cannot be read; None if it can.
        size: (width, height) in pixels.
        bits: Bits a value.
        channels: Of the file: 1 gray, 3 colour, 4 with alpha; raw stores hold 3.
        digest: Of the pixels as the datasets see them.
        luma: Mean, range [0, 1].
    """

    error: str | None
    size: tuple[int, int] = (0, 0)
    bits: int = 8
    channels: int = 3
    digest: bytes = b''
    luma: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What is kept of a pair; the last four only where both images can be read and are of one size.

    Attributes:
        source: The split it is of.
        pair: Its key and files.
        lq, gt: Its images.
        thumb: Thumbnail of the gt; see `scenes.thumbnail`.
        difference: Mean absolute difference of luma, range [0, 1].
        moved: dx and dy of gt against lq in pixels.
        response: How sure that is; see `scenes.shift`.
        likeness: Structural similarity of the two, -1..1.
    """

    source: SplitSource
    pair: Pair
    lq: Image
    gt: Image
    thumb: np.ndarray | None = field(default=None, compare=False)
    difference: float | None = None
    moved: tuple[float, float] = (0.0, 0.0)
    response: float = 1.0
    likeness: float = 1.0


def split_sources(
    root: str | Path, layout: str = 'auto', splits: Sequence[str] | None = None, names: frozenset[str] = frozenset()
) -> list[SplitSource]:
    """The splits under a data root, be they folders of a published set or stores that `prepare` wrote.

    Args:
        root: Data root.
        layout: Layout of the folders, or 'auto'.
        splits: Splits to take; all by default.
        names: Pairs to leave out; see `exclusion.is_excluded`.

    Raises:
        FileNotFoundError: If there is no set, or not the asked split.
    """
    root = Path(root).expanduser().resolve()
    stores = splits_of_stores(root) if layout == 'auto' else ()
    if stores:
        sources = [_of_stores(root, split) for split in sorted(stores, key=lambda split: (*SPLITS, split).index(split))]
    else:
        sources = [
            SplitSource(root, each.split, match_folders(each.lq_folder, each.gt_folder, f"split '{each.split}'"))
            for each in find_splits(root, layout)
        ]
    check_splits(splits, [source.split for source in sources], root)
    return [_without(source, names) for source in sources if not splits or source.split in splits]


def _of_stores(root: Path, split: str) -> SplitSource:
    paths = [store_path(root, split, role) for role in ROLES]
    lq, gt = map(StoreReader, paths)
    return SplitSource(root, split, match_keys(lq.shapes, gt.shapes, *map(str, paths)), (lq, gt))


def _without(source: SplitSource, names: frozenset[str]) -> SplitSource:
    excluded = partial(is_excluded, names, split=source.split, root=source.root.name)
    return replace(source, matched=source.matched.without(excluded))


def measure_all(sources: Sequence[SplitSource], workers: int = 0) -> list[Measured]:
    """Reads every pair once, under a progress bar.

    Args:
        sources: From `split_sources`.
        workers: Processes that read; 0 reads in this one.
    """
    tasks = [(source, pair) for source in sources for pair in source.matched.pairs]
    measurements = in_workers(_Measurements(tasks), workers)
    try:
        found = list(tqdm(measurements, total=len(tasks), desc='check', unit='pair'))
    finally:
        del measurements  # ends the workers now: an error's traceback would keep them until the program ends
    return [Measured(source, pair, **measured) for (source, pair), measured in zip(tasks, found)]


class _Measurements(Dataset):
    """What `Measured` holds beside its source and pair."""

    def __init__(self, tasks: Sequence[tuple[SplitSource, Pair]]) -> None:
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> dict:
        source, pair = self.tasks[index]
        (lq, lq_luma), (gt, gt_luma) = (_look(source, role, getattr(pair, role)) for role in ROLES)
        found = {'lq': lq, 'gt': gt}
        if gt_luma is not None:
            found['thumb'] = scenes.thumbnail(gt_luma)
        if lq_luma is not None and gt_luma is not None and lq.size == gt.size:
            dx, dy, response = scenes.shift(lq_luma, gt_luma)
            found |= {'difference': float(cv2.norm(lq_luma, gt_luma, cv2.NORM_L1)) / gt_luma.size}
            found |= {'moved': (dx, dy), 'response': response}
            found |= {'likeness': scenes.similarity(scenes.thumbnail(lq_luma), found['thumb'])}
        return found


def _look(source: SplitSource, role: str, name: str) -> tuple[Image, np.ndarray | None]:
    """An image, and its luma (H, W), float32, range [0, 1]."""
    try:
        with source.image(role, name) as pixels:
            luma = to_float(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
            digest = hashlib.blake2b(f'{pixels.shape} {pixels.dtype}'.encode(), digest_size=16)
            digest.update(np.ascontiguousarray(pixels).data)
            size, bits = (pixels.shape[1], pixels.shape[0]), 8 * pixels.dtype.itemsize
        channels = _channels(source.store(role), name)
    except (OSError, KeyError, ValueError) as error:
        store = source.store(role)
        known = f"'{name}' in {store.path} " if store else f'{name} '
        return Image(str(error).removeprefix(known)), None
    return Image(None, size, bits, channels, digest.digest(), float(luma.mean())), luma


def _channels(store: StoreReader | None, name: str) -> int:
    """Channels of an image's file as its header tells them; 3 for pixels, and for a kind that only OpenCV knows."""
    if store is not None and store.raw:
        return 3
    try:
        with of_any_size(), Header.open(BytesIO(store.get(name)) if store else name) as header:
            if header.has_transparency_data:
                return 4
            return 1 if Header.getmodebase(header.mode) == 'L' else 3
    except UnidentifiedImageError:
        return 3
