"""The pass over every pair of a set that `check` judges by: a few numbers and a thumbnail are kept of each."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from basicsr_entropy.data import scenes
from basicsr_entropy.data.exclusion import is_excluded
from basicsr_entropy.data.images import decode_image, read_file
from basicsr_entropy.data.layouts import Matched, Pair, find_splits, match_folders
from basicsr_entropy.data.lmdb_store import StoreReader, store_keys
from basicsr_entropy.data.prepare import store_path

ROLES = ('lq', 'gt')
_JPEG = b'\xff\xd8'


@dataclass(frozen=True)
class Source:
    """A split of a set, in folders or in stores.

    Attributes:
        root: Data root.
        split: Name of the split.
        matched: Its images.
        read: Reads the bytes of a pair's lq and of its gt.
        stores: The two stores; None for folders.
    """

    root: Path
    split: str
    matched: Matched
    read: tuple[Callable[[str], bytes], Callable[[str], bytes]] = (read_file, read_file)
    stores: tuple[Path, Path] | None = None

    @property
    def trained_on(self) -> bool:
        return self.split == 'train'

    def path(self, pair: Pair, role: str) -> Path:
        """Where an image lies; for stores, the key below the store."""
        side, name = ROLES.index(role), getattr(pair, role)
        return self.stores[side] / name if self.stores else Path(name)


@dataclass(frozen=True)
class Image:
    """What is kept of one image; of an unreadable one only the error.

    Attributes:
        error: Why it cannot be read; None if it can.
        size: (width, height) in pixels.
        bits: Bits a value.
        channels: 1 gray, 3 colour, 4 with alpha.
        digest: Of the decoded pixels.
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

    source: Source
    pair: Pair
    lq: Image
    gt: Image
    thumb: np.ndarray | None = field(default=None, compare=False)
    difference: float | None = None
    moved: tuple[float, float] = (0.0, 0.0)
    response: float = 1.0
    likeness: float = 1.0


def find_sources(
    root: str | Path, layout: str = 'auto', splits: Sequence[str] | None = None, names: frozenset[str] = frozenset()
) -> list[Source]:
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
    if layout == 'auto' and any(root.glob('*_lq.lmdb')):
        found = {path.name.removesuffix('_lq.lmdb'): path for path in sorted(root.glob('*_lq.lmdb'))}
        sources = [_stores(root, split) for split in found]
    else:
        sources = [
            Source(root, each.split, match_folders(each.lq_folder, each.gt_folder, f"split '{each.split}'"))
            for each in find_splits(root, layout)
        ]
    there = [source.split for source in sources]
    missing = [split for split in splits or () if split not in there]
    if missing:
        raise FileNotFoundError(f'--split {missing[0]}: not under {root}; there are {", ".join(there)}')
    return [_without(source, names) for source in sources if not splits or source.split in splits]


def _stores(root: Path, split: str) -> Source:
    stores = store_path(root, split, 'lq'), store_path(root, split, 'gt')
    lq_keys, gt_keys = (set(store_keys(store)) for store in stores)
    alone = [(key, stores[0] / key, stores[1]) for key in sorted(lq_keys - gt_keys)]
    alone += [(key, stores[1] / key, stores[0]) for key in sorted(gt_keys - lq_keys)]
    pairs = [Pair(key, key, key) for key in sorted(lq_keys & gt_keys)]
    readers = StoreReader(stores[0]).get, StoreReader(stores[1]).get
    return Source(root, split, Matched(pairs, alone, []), readers, stores)


def _without(source: Source, names: frozenset[str]) -> Source:
    def kept(key: str) -> bool:
        return not is_excluded(names, key, source.split, source.root.name)

    matched = Matched(
        [pair for pair in source.matched.pairs if kept(pair.key)],
        [each for each in source.matched.alone if kept(each[0])],
        [each for each in source.matched.clashing if kept(each[0])],
    )
    return Source(source.root, source.split, matched, source.read, source.stores)


def measure_all(sources: Sequence[Source], workers: int | None = None) -> list[Measured]:
    """Reads every pair once, in worker processes, under a progress bar.

    Args:
        sources: From `find_sources`.
        workers: Processes; as many as there are CPUs by default, none of its own for 1.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    tasks = [(index, pair) for index, source in enumerate(sources) for pair in source.matched.pairs]
    bar = {'total': len(tasks), 'desc': 'check', 'unit': 'pair'}
    reads = [source.read for source in sources]
    arguments = [reads[index] for index, _ in tasks], [pair for _, pair in tasks]
    # one thread each, or they would fight over the CPUs; set before the fork, which copies a pool without its threads
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if workers <= 1:
            results = list(tqdm(map(measure, *arguments), **bar))
        else:
            with ProcessPoolExecutor(workers) as executor:
                try:
                    results = list(tqdm(executor.map(measure, *arguments), **bar))
                except BaseException:
                    executor.shutdown(cancel_futures=True)
                    raise
    finally:
        cv2.setNumThreads(threads)
    return [Measured(sources[index], pair, **result) for (index, pair), result in zip(tasks, results)]


def measure(read: tuple[Callable[[str], bytes], Callable[[str], bytes]], pair: Pair) -> dict:
    """What `Measured` holds beside its source and pair."""
    (lq, lq_luma), (gt, gt_luma) = (_look(reader, name) for reader, name in zip(read, (pair.lq, pair.gt)))
    found = {'lq': lq, 'gt': gt}
    if gt_luma is not None:
        found['thumb'] = scenes.thumbnail(gt_luma)
    if lq_luma is not None and gt_luma is not None and lq.size == gt.size:
        dx, dy, response = scenes.shift(lq_luma, gt_luma)
        found |= {'difference': float(cv2.norm(lq_luma, gt_luma, cv2.NORM_L1)) / gt_luma.size}
        found |= {'moved': (dx, dy), 'response': response}
        found |= {'likeness': scenes.similarity(scenes.thumbnail(lq_luma), found['thumb'])}
    return found


def _look(read: Callable[[str], bytes], name: str) -> tuple[Image, np.ndarray | None]:
    """An image, and its luma (H, W), float32, range [0, 1]."""
    try:
        content = read(name)
        # turned as a JPEG's EXIF data say, as the datasets do; other kinds may have alpha, which that would hide
        flags = cv2.IMREAD_ANYCOLOR if content.startswith(_JPEG) else cv2.IMREAD_UNCHANGED
        pixels = decode_image(content, name, flags)
        luma = _luma(pixels)
    except cv2.error as error:
        return Image(f'cannot be read: {error.err}'), None
    except (OSError, KeyError, ValueError) as error:
        return Image(str(error).removeprefix(f'{name} ')), None
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    digest = hashlib.blake2b(f'{pixels.shape} {pixels.dtype}'.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    bits = 8 * pixels.dtype.itemsize
    return Image(None, (width, height), bits, channels, digest.digest(), float(luma.mean())), luma


def _luma(pixels: np.ndarray) -> np.ndarray:
    """Luma (H, W), float32, range [0, 1], of an image (H, W) or (H, W, C), BGR with or without alpha."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY if pixels.shape[2] == 3 else cv2.COLOR_BGRA2GRAY)
    if pixels.dtype.kind == 'f':
        return np.nan_to_num(pixels.astype(np.float32)).clip(0, 1)
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
