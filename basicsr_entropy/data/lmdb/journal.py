"""The list of what is done: a line a pair, from which a killed run goes on and a finished store is described."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from basicsr_entropy.data.lmdb.reader import meta_line
from basicsr_entropy.data.lmdb.recipe import EncodedPair


class Journal:
    """A file of JSON lines that is only ever added to.

    Args:
        path: The file; made if need be. A last line that a kill cut short is taken off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        os.truncate(path, path.read_bytes().rfind(b'\n') + 1)

    def __bool__(self) -> bool:
        return self.path.stat().st_size > 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Entries, in the order they were added.

        Raises:
            ValueError: If one is damaged.
        """
        with open(self.path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f'{self.path}, line {number} is damaged; remove {self.path.parent}') from error

    def add(self, pairs: Iterable[EncodedPair]) -> None:
        """Adds pairs that are in the stores, and is on disk when it returns."""
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
    entry = {'key': pair.key, 'stamps': encoded.stamps}
    if encoded.error is not None:
        return {**entry, 'skipped': {'lq': pair.lq, 'gt': pair.gt, 'reason': encoded.error}}
    sides = zip(encoded.values['lq'], encoded.values['gt'])
    return {**entry, 'images': [{'key': lq.key, 'lq': lq.facts, 'gt': gt.facts} for lq, gt in sides]}


def describe(entries: Iterable[dict[str, Any]], role: str) -> tuple[str, dict[str, Any]]:
    """The text of meta_info.txt of a role's store, and what its manifest counts.

    Returns:
        The text; and pairs, images, bytes, shapes (number of images of each size and depth), skipped (pairs that
        could not be read, with the reason), sha256 (of each value).
    """
    lines, shapes, skipped, checksums = [], Counter(), [], {}
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
