"""Journal of a database that is being written: one JSON line per pair.

A killed run is resumed from the journal, and meta_info.txt and manifest.json of the finished databases are made from
it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.data.lmdb import meta_line
from basicsr_entropy.data.prepare.encoding import EncodedPair


class Journal:
    """An append-only file of JSON lines.

    Args:
        path: Path of the file; created if missing. An incomplete last line, left by a kill, is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        os.truncate(path, path.read_bytes().rfind(b'\n') + 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterates over the entries in the order they were added.

        Raises:
            ValueError: If an entry is damaged.
        """
        with open(self.path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f'{self.path}, line {number} is damaged; remove {self.path.parent}') from error

    def forget_skipped(self) -> None:
        """Removes the entries of skipped pairs, so that they are read again."""
        entries = list(self)
        kept = [json.dumps(entry) + '\n' for entry in entries if 'skipped' not in entry]
        if len(kept) < len(entries):
            atomic_write_text(self.path, ''.join(kept))

    def add(self, pairs: Iterable[EncodedPair]) -> None:
        """Appends pairs whose images are in the databases, and syncs the file to disk.

        Raises:
            OSError: If the file cannot be written.
        """
        try:
            with open(self.path, 'a', encoding='utf-8') as file:
                for encoded in pairs:
                    file.write(json.dumps(_entry(encoded)) + '\n')
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(f'{self.path} cannot be written: {error}') from error


def _entry(encoded: EncodedPair) -> dict[str, Any]:
    pair = encoded.pair
    entry: dict[str, Any] = {'key': pair.key, 'stamps': encoded.stamps}
    if encoded.error is not None:
        return {**entry, 'skipped': {'lq': pair.lq, 'gt': pair.gt, 'reason': encoded.error}}
    sides = zip(encoded.values['lq'], encoded.values['gt'])
    return {**entry, 'images': [{'key': lq.key, 'lq': lq.facts, 'gt': gt.facts} for lq, gt in sides]}


def describe(entries: Iterable[dict[str, Any]], role: str) -> tuple[str, dict[str, Any]]:
    """Describes the database of a role, 'lq' or 'gt', from the entries of a journal.

    Returns:
        The text of meta_info.txt, and the manifest's fields pairs, images, bytes, shapes (number of images by size and
        dtype), skipped (pairs that could not be read, with the reason) and sha256 (checksums of the values by key).
    """
    lines: list[str] = []
    shapes: Counter[str] = Counter()
    skipped: list[dict[str, str]] = []
    checksums: dict[str, str] = {}
    pairs = size = 0
    for entry in entries:
        if 'skipped' in entry:
            skipped.append(entry['skipped'])
            continue
        pairs += 1
        for image in entry['images']:
            facts = image[role]
            lines.append(meta_line(image['key'], facts['height'], facts['width']))
            shapes[f'{facts["width"]}x{facts["height"]} {facts["dtype"]}'] += 1
            checksums[image['key']] = facts['sha256']
            size += facts['bytes']
    counts = {'pairs': pairs, 'images': len(lines), 'bytes': size, 'shapes': dict(shapes)}
    return ''.join(lines), {**counts, 'skipped': skipped, 'sha256': checksums}
