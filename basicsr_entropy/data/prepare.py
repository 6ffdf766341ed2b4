"""From a set as it was published to the two LMDB stores a split is trained from."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from basicsr_entropy.data.images import decode_image
from basicsr_entropy.data.layouts import FoundSplit, find_splits, pair_folders
from basicsr_entropy.data.lmdb_store import StoreWriter, store_key


def prepare_stores(
    root: str | Path, out: str | Path, layout: str = 'auto', splits: Sequence[str] | None = None
) -> dict[str, int]:
    """Writes `out/<split>_lq.lmdb` and `out/<split>_gt.lmdb`, with the bytes of the image files as they are.

    Args:
        root: Folder of the published set.
        out: Folder for the stores; made if need be.
        layout: Layout of the set, or 'auto'.
        splits: Splits to write; all that are there by default.

    Returns:
        Number of pairs of each split.

    Raises:
        FileNotFoundError: If the set or an asked split is not there.
        FileExistsError: If a store exists.
        ValueError: If images do not pair, differ in size or cannot be read; names the first such file.
    """
    found = {split.split: split for split in find_splits(root, layout)}
    missing = [split for split in splits or () if split not in found]
    if missing:
        raise FileNotFoundError(f'--split {missing[0]}: not under {root}; there are {", ".join(found)}')
    chosen = [found[name] for name in splits or found]
    # every writer is made before the first image is read, so that a store in the way is no late surprise
    writers = [
        (StoreWriter(store_path(out, s.split, 'lq')), StoreWriter(store_path(out, s.split, 'gt'))) for s in chosen
    ]
    return {split.split: _write_split(split, *pair) for split, pair in zip(chosen, writers)}


def store_path(folder: str | Path, split: str, role: str) -> Path:
    """Where the store of a split's 'lq' or 'gt' images lies."""
    return Path(folder).expanduser() / f'{split}_{role}.lmdb'


def _write_split(split: FoundSplit, lq_store: StoreWriter, gt_store: StoreWriter) -> int:
    pairs = pair_folders(split.lq_folder, split.gt_folder, f"split '{split.split}'")
    with lq_store, gt_store:
        for pair in tqdm(pairs, desc=f'{split.layout} {split.split}', unit='pair'):
            shapes = []
            for store, file in ((lq_store, pair.lq), (gt_store, pair.gt)):
                content = Path(file).read_bytes()
                shapes.append(decode_image(content, file).shape)
                store.put(store_key(pair.key), content, shapes[-1])
            if shapes[0][:2] != shapes[1][:2]:
                raise ValueError(f'{pair.lq} is {_size(shapes[0])}, but {pair.gt} is {_size(shapes[1])}')
    return len(pairs)


def _size(shape: tuple[int, ...]) -> str:
    return f'{shape[1]}x{shape[0]}'
