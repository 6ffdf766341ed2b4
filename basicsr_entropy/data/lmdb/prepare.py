"""From a set as it was published to the two LMDB stores a split is trained from."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from basicsr_entropy._images import of_any_size
from basicsr_entropy.data.lmdb.reader import read_manifest, store_key
from basicsr_entropy.data.lmdb.recipe import PairEncoder, Recipe, stamps_of
from basicsr_entropy.data.lmdb.writer import SplitWriter
from basicsr_entropy.data.sets.layouts import FoundSplit, check_splits, find_splits
from basicsr_entropy.data.sets.pairing import Pair, pair_folders
from basicsr_entropy.data.workers import in_workers

_MEASURED = 4  # pairs that an estimate encodes


@dataclass(frozen=True)
class Written:
    """What a split's stores hold: pairs of photographs, images in either store, bytes of both, pairs left out."""

    pairs: int
    images: int
    bytes: int
    skipped: int = 0

    def __str__(self) -> str:
        cut = f' cut into {self.images} images' if self.images != self.pairs else ''
        skipped = f' ({self.skipped} bad ones left out)' if self.skipped else ''
        return f'{self.pairs} pairs{skipped}{cut}, {self.bytes / 1e6:,.1f} MB'


def prepare_stores(
    root: str | Path,
    out: str | Path,
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
    workers: int = 0,
    resume: bool = False,
    skip_bad: bool = False,
) -> dict[str, Written]:
    """Writes `out/<split>_lq.lmdb` and `out/<split>_gt.lmdb` in one pass over the images.

    Memory is bounded by the images in flight, two pairs a worker and the batch that is written, however large the set.
    What a killed run leaves, `out/<split>.partial`, never looks like a store.

    Args:
        root: Folder of the published set.
        out: Folder for the stores; made if need be.
        layout: Layout of the set, or 'auto'.
        splits: Splits to write; all that are there by default.
        recipe: How images are cut and encoded; by default files keep their bytes.
        workers: Processes that read and encode; 0 does it in this one.
        resume: Go on with what a killed run left, and pass over splits that are done.
        skip_bad: Leave out pairs that cannot be read or do not fit, and list them in the manifest.

    Returns:
        What was written of each split.

    Raises:
        FileNotFoundError: If the set or an asked split is not there.
        FileExistsError: If a store exists, or what a killed run left.
        ValueError: If images do not pair, differ in size or cannot be read, naming the first such file; or what is to
            be resumed was begun with other options or files.
        OSError: If a store cannot be written.
    """
    chosen = _plan(root, layout, splits)
    with ExitStack() as stack:
        # every split is claimed before the first image is read, so that a store in the way is no late surprise
        writers = [stack.enter_context(SplitWriter(out, _description(*each, recipe), resume)) for each in chosen]
        return {
            split.split: _write_split(split, pairs, writer, recipe, workers, skip_bad)
            for (split, pairs), writer in zip(chosen, writers)
        }


def estimate(
    root: str | Path,
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
    skip_bad: bool = False,
) -> dict[str, Written]:
    """What `prepare_stores` would write. Sizes are those in the files' headers; bytes are told from a few pairs.

    Raises:
        FileNotFoundError, ValueError: As `prepare_stores`, for what headers can tell.
    """
    return {split.split: _estimate_split(pairs, recipe, skip_bad) for split, pairs in _plan(root, layout, splits)}


def _plan(root: str | Path, layout: str, splits: Sequence[str] | None) -> list[tuple[FoundSplit, list[Pair]]]:
    found = {split.split: split for split in find_splits(root, layout)}
    check_splits(splits, found, root)
    chosen = []
    for split in (found[name] for name in splits or found):
        pairs, keys = pair_folders(split.lq_folder, split.gt_folder, f"split '{split.split}'"), {}
        for pair in pairs:
            other = keys.setdefault(store_key(pair.key), pair)
            if other is not pair:
                raise ValueError(f'{other.lq} and {pair.lq} would share a key; rename one of them')
        chosen.append((split, pairs))
    return chosen


def _description(split: FoundSplit, pairs: Sequence[Pair], recipe: Recipe) -> dict[str, Any]:
    """What must be the same when a run is gone on with."""
    import basicsr_entropy

    names = hashlib.sha256('\n'.join(f'{p.key}\t{p.lq}\t{p.gt}' for p in pairs).encode(errors='surrogateescape'))
    return {
        'package': f'basicsr-entropy {basicsr_entropy.__version__}',
        'layout': split.layout,
        'split': split.split,
        'source': {'lq': str(split.lq_folder.resolve()), 'gt': str(split.gt_folder.resolve())},
        'names': names.hexdigest(),
        'options': vars(recipe),
    }


def _write_split(
    split: FoundSplit, pairs: Sequence[Pair], writer: SplitWriter, recipe: Recipe, workers: int, skip_bad: bool
) -> Written:
    if not writer.complete:
        try:
            _write_pairs(f'{split.layout} {split.split}', pairs, writer, recipe, workers, skip_bad)
        except (ValueError, OSError) as error:
            kept = f'; what is done stays in {writer.staging}, resume=True goes on with it' if writer.kept else ''
            raise (ValueError if isinstance(error, ValueError) else OSError)(f'{error}{kept}') from error
    manifests = [read_manifest(store) for store in writer.stores.values()]
    first = manifests[0]
    return Written(first['pairs'], first['images'], sum(m['bytes'] for m in manifests), len(first['skipped']))


def _write_pairs(
    title: str, pairs: Sequence[Pair], writer: SplitWriter, recipe: Recipe, workers: int, skip_bad: bool
) -> None:
    rest = [pair for pair in pairs if pair.key not in writer.done]
    for pair in pairs:
        if writer.done.get(pair.key) and writer.done[pair.key] != stamps_of(pair):
            raise ValueError(f'{pair.lq} or {pair.gt} has changed since it was read; remove {writer.staging}')
    encoded_pairs = in_workers(PairEncoder(rest, recipe), workers)
    try:
        writer.open()  # after the workers were forked
        with tqdm(desc=title, unit='pair', total=len(pairs), initial=len(pairs) - len(rest)) as bar:
            for encoded in encoded_pairs:
                if encoded.error is not None and not skip_bad:
                    raise ValueError(f'{encoded.error} (skip_bad=True leaves such pairs out)')
                writer.put(encoded)
                bar.update()
    finally:
        del encoded_pairs  # ends the workers now: an error's traceback would keep them until the program ends
    writer.finish()


def _estimate_split(pairs: Sequence[Pair], recipe: Recipe, skip_bad: bool) -> Written:
    images = pixels = skipped = file_bytes = 0
    for pair in pairs:
        try:
            sizes = {file: _header_size(file) for file in (pair.lq, pair.gt)}
            (lq, (width, height)), (gt, other) = sizes.items()
            if (width, height) != other:
                raise ValueError(f'{lq} is {width}x{height}, but {gt} is {other[0]}x{other[1]}')
            cut = 1 if recipe.crop_size is None else len(recipe.boxes(height, width, lq))
        except (ValueError, OSError) as error:
            if not skip_bad:
                raise ValueError(f'{error} (skip_bad=True leaves such pairs out)') from error
            skipped += 1
            continue
        images += cut
        pixels += width * height if recipe.crop_size is None else cut * recipe.crop_size**2
        file_bytes += sum(size for size, _ in stamps_of(pair))
    if recipe.encoding == 'keep' and recipe.crop_size is None:
        return Written(len(pairs) - skipped, images, file_bytes, skipped)
    return Written(len(pairs) - skipped, images, round(pixels * _bytes_a_pixel(pairs, recipe)), skipped)


def _bytes_a_pixel(pairs: Sequence[Pair], recipe: Recipe) -> float:
    """Of both sides of a pair, measured on a few spread over the set."""
    encoder = PairEncoder(pairs[:: -(-len(pairs) // _MEASURED)], recipe)
    facts = [value.facts for encoded in encoder for values in encoded.values.values() for value in values]
    pixels = sum(each['height'] * each['width'] for each in facts) / 2
    return sum(each['bytes'] for each in facts) / max(pixels, 1)


def _header_size(file: str) -> tuple[int, int]:
    """(width, height) of an image as it is shown, from its header alone."""
    try:
        with of_any_size(), Image.open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except UnidentifiedImageError as error:
        raise ValueError(f'{file} cannot be read as an image; it is damaged or of an unknown kind') from error
