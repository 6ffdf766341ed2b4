"""Writes a published dataset to LMDB databases, two per split."""

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from tqdm import tqdm

from basicsr_entropy._files import check_folder_writable, check_not_empty
from basicsr_entropy._images import of_any_size
from basicsr_entropy._version import __version__
from basicsr_entropy.data.lmdb import lmdb_key, read_manifest
from basicsr_entropy.data.prepare.encoding import LmdbFormat, PairEncoder, stamps_of
from basicsr_entropy.data.prepare.writer import LmdbSplitWriter
from basicsr_entropy.data.sets.layouts import check_splits
from basicsr_entropy.data.sets.pairing import ROLES, Pair
from basicsr_entropy.data.sets.splits import Split, find_splits
from basicsr_entropy.data.workers import in_workers

_ESTIMATE_PAIRS = 4  # pairs that an estimate encodes


@dataclass(frozen=True)
class SplitSummary:
    """Size of a split's databases.

    Attributes:
        pairs: Number of pairs of photographs.
        images: Number of images in each of the two databases; more than pairs if photographs are cut.
        bytes: Size of the values of both databases.
        skipped: Number of pairs that were skipped.
    """

    pairs: int
    images: int
    bytes: int
    skipped: int = 0

    def __str__(self) -> str:
        cut = f' cut into {self.images} images' if self.images != self.pairs else ''
        skipped = f' ({self.skipped} bad pairs skipped)' if self.skipped else ''
        return f'{self.pairs} pairs{skipped}{cut}, {self.bytes / 1e6:,.1f} MB'


def prepare_lmdb(
    root: str | Path,
    out: str | Path,
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    lmdb_format: LmdbFormat = LmdbFormat(),  # noqa: B008  (frozen)
    workers: int = 0,
    resume: bool = False,
    skip_bad: bool = False,
) -> dict[str, SplitSummary]:
    """Writes `out/<split>_lq.lmdb` and `out/<split>_gt.lmdb` in one pass over the images.

    Memory does not grow with the dataset: it holds two pairs per worker, and one batch of pairs that is being written.
    An unfinished run leaves the folder `out/<split>.partial`, which is not mistaken for a database. JPEG files whose
    decoder reports damage are written all the same, with a warning; see `jpeg_damage`.

    Args:
        root: Folder of the published dataset.
        out: Folder for the databases; created if missing.
        layout: Layout of the dataset, one of `LAYOUTS`, or 'auto' to detect it.
        splits: Splits to write; all that exist by default.
        lmdb_format: How images are cut and encoded; by default the files' bytes are kept.
        workers: Number of processes that read and encode; 0 uses this process alone.
        resume: Resume unfinished runs, and keep splits that are finished.
        skip_bad: Skip pairs that cannot be read or differ in size, and list them in the manifest.

    Returns:
        Size of the databases by split.

    Raises:
        FileNotFoundError: If the dataset or a requested split does not exist.
        FileExistsError: If a database exists already, or the folder of an unfinished run.
        ValueError: If images do not pair, differ in size or cannot be read (the message names the first such file), if
            the run to resume had other options or files, or if `out` is empty.
        OSError: If a database cannot be written.
    """
    check_not_empty(out, 'out')
    chosen = _plan(root, layout, splits)
    check_folder_writable(Path(out).expanduser(), 'out')
    with ExitStack() as stack:
        # open all writers before the first image is read, so that an existing database is reported at once
        writers = [stack.enter_context(LmdbSplitWriter(out, _describe(split, lmdb_format), resume)) for split in chosen]
        return {
            split.name: _write_split(split, writer, lmdb_format, workers, skip_bad)
            for split, writer in zip(chosen, writers)
        }


def estimate(
    root: str | Path,
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    lmdb_format: LmdbFormat = LmdbFormat(),  # noqa: B008  (frozen)
    skip_bad: bool = False,
) -> dict[str, SplitSummary]:
    """Estimates the size of what `prepare_lmdb` would write, without writing anything.

    Numbers of images follow from the sizes in the files' headers, bytes from encoding a few pairs.

    Args:
        root, layout, splits, lmdb_format, skip_bad: As in `prepare_lmdb`.

    Returns:
        Size of the databases by split.

    Raises:
        FileNotFoundError, ValueError: As in `prepare_lmdb`, where file headers show the fault.
    """
    return {split.name: _estimate_split(split.pairs, lmdb_format, skip_bad) for split in _plan(root, layout, splits)}


def _plan(root: str | Path, layout: str, splits: Sequence[str] | None) -> list[Split]:
    """The splits to write; their images pair, and their keys are unique."""
    found = {split.name: split for split in find_splits(root, layout, 'disk')}
    check_splits(splits, found, root)
    chosen = [found[name] for name in dict.fromkeys(splits or found)]  # each once
    for split in chosen:
        keys: dict[str, Pair] = {}
        for pair in split.pairs:
            other = keys.setdefault(lmdb_key(pair.key), pair)
            if other is not pair:
                raise ValueError(f'{other.lq} and {pair.lq} would get the same LMDB key; rename one of them')
    return chosen


def _describe(split: Split, lmdb_format: LmdbFormat) -> dict[str, Any]:
    """The plan of a run, which must be equal when the run is resumed; see `LmdbSplitWriter`."""
    roots = {role: Path(split.source(role).root) for role in ROLES}
    # relative paths: the folder may be given by another path than in the run before
    lines = [
        f'{pair.key}\t{Path(pair.lq).relative_to(roots["lq"])}\t{Path(pair.gt).relative_to(roots["gt"])}'
        for pair in split.pairs
    ]
    return {
        'package': f'basicsr-entropy {__version__}',
        'layout': split.layout,
        'split': split.name,
        'source': {role: str(root.resolve()) for role, root in roots.items()},
        'names': hashlib.sha256('\n'.join(lines).encode(errors='surrogateescape')).hexdigest(),
        'options': vars(lmdb_format),
    }


def _write_split(
    split: Split, writer: LmdbSplitWriter, lmdb_format: LmdbFormat, workers: int, skip_bad: bool
) -> SplitSummary:
    if not writer.complete:
        try:
            _write_pairs(f'{split.layout} {split.name}', split.pairs, writer, lmdb_format, workers, skip_bad)
        except (ValueError, OSError) as error:
            kept = f'; finished pairs are kept in {writer.staging}, rerun with resume=True to continue'
            kept = kept if writer.kept else ''
            raise (ValueError if isinstance(error, ValueError) else OSError)(f'{error}{kept}') from error
    manifests = [read_manifest(path) for path in writer.databases.values()]
    first = manifests[0]
    return SplitSummary(first['pairs'], first['images'], sum(m['bytes'] for m in manifests), len(first['skipped']))


def _write_pairs(
    title: str, pairs: Sequence[Pair], writer: LmdbSplitWriter, lmdb_format: LmdbFormat, workers: int, skip_bad: bool
) -> None:
    remaining = [pair for pair in pairs if pair.key not in writer.done]
    for pair in pairs:
        if pair.key in writer.done and writer.done[pair.key] != stamps_of(pair):
            raise ValueError(f'{pair.lq} or {pair.gt} has changed since it was read; remove {writer.staging}')
    encoded_pairs = in_workers(PairEncoder(remaining, lmdb_format), workers)
    try:
        writer.open()  # only after the workers were forked
        with tqdm(desc=title, unit='pair', total=len(pairs), initial=len(pairs) - len(remaining)) as bar:
            for encoded in encoded_pairs:
                if encoded.error is not None and not skip_bad:
                    raise ValueError(f'{encoded.error} (skip_bad=True leaves such pairs out)')
                for report in encoded.damage:
                    warnings.warn(f'{report}; the file may be damaged, look at it', stacklevel=2)
                writer.put(encoded)
                bar.update()
    finally:
        del encoded_pairs  # ends the workers now; the traceback of an error would keep them alive
    writer.finish()


def _estimate_split(pairs: Sequence[Pair], lmdb_format: LmdbFormat, skip_bad: bool) -> SplitSummary:
    images = pixels = skipped = file_bytes = 0
    for pair in pairs:
        try:
            sizes = {file: _header_size(file) for file in (pair.lq, pair.gt)}
            (lq, (width, height)), (gt, other) = sizes.items()
            if (width, height) != other:
                raise ValueError(f'{lq} is {width}x{height}, but {gt} is {other[0]}x{other[1]}')
            cut = len(lmdb_format.boxes(height, width, lq))
        except (ValueError, OSError) as error:
            if not skip_bad:
                raise ValueError(f'{error} (skip_bad=True leaves such pairs out)') from error
            skipped += 1
            continue
        images += cut
        pixels += width * height if lmdb_format.crop_size is None else cut * lmdb_format.crop_size**2
        file_bytes += sum(size for size, _ in stamps_of(pair))
    if lmdb_format.keeps_files:
        return SplitSummary(len(pairs) - skipped, images, file_bytes, skipped)
    return SplitSummary(len(pairs) - skipped, images, round(pixels * _bytes_per_pixel(pairs, lmdb_format)), skipped)


def _bytes_per_pixel(pairs: Sequence[Pair], lmdb_format: LmdbFormat) -> float:
    """Bytes of both images of a pair per pixel of one, measured on a few pairs spread over the split."""
    encoder = PairEncoder(pairs[:: -(-len(pairs) // _ESTIMATE_PAIRS)], lmdb_format)
    facts = [
        value.facts
        for encoded in map(encoder.__getitem__, range(len(encoder)))
        for values in encoded.values.values()
        for value in values
    ]
    pixels = sum(each['height'] * each['width'] for each in facts) / 2
    return sum(each['bytes'] for each in facts) / max(pixels, 1)


def _header_size(file: str) -> tuple[int, int]:
    """(width, height) of an upright image, read from its header alone."""
    try:
        with of_any_size(), Image.open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            size = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # of which some versions of PIL give the upright size
                size = image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
            return size[::-1] if turned else size
    except UnidentifiedImageError as error:
        raise ValueError(f'{file} cannot be read as an image; it is damaged or in an unknown format') from error
