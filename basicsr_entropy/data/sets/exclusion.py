"""Exclusion lists: files with one name of a pair per line, optionally followed by a tab and a remark."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from basicsr_entropy._files import read_list
from basicsr_entropy.data.lmdb import underscored
from basicsr_entropy.data.sets.layouts import SPLITS


def read_exclusion(path: str | Path) -> frozenset[str]:
    """Reads the names of an exclusion list; empty lines and lines that begin with # are ignored.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not UTF-8 text.
    """
    names = (line.partition('\t')[0].strip() for line in read_list(path, 'exclude'))
    return frozenset(name for name in names if name and not name.startswith('#'))


def names_of(key: str, split: str = '', folders: Sequence[str] = ()) -> Iterator[str]:
    """Every name by which a list may name a pair: KEY, SPLIT/KEY, ROOT/SPLIT/KEY.

    ROOT is the name of the data root's folder, or several of the folders that lead to it: v1/LOL.

    Args:
        key: Key of the pair. A list may also hold the LMDB key that is made from it.
        split: Name of the pair's split.
        folders: Folders that lead to the data root of the split, the outermost first.
    """
    for name in {key, underscored(key)}:
        yield name
        if split:
            yield (name := f'{split}/{name}')
            for folder in reversed(folders):
                yield (name := f'{folder}/{name}')


def is_excluded(names: frozenset[str], key: str, split: str = '', folders: Sequence[str] = ()) -> bool:
    """Whether a list names a pair; see `names_of`."""
    return not names.isdisjoint(names_of(key, split, folders))


def warn_of_unknown(
    path: str, names: Iterable[str], keys: Iterable[str], split: str = '', folders: Sequence[str] = ()
) -> None:
    """Logs a warning if names of a list are meant for a split and name none of its pairs.

    Args:
        path: Path of the list, for the message.
        names: Names of the list. Those that begin with another split, or with a data root, may be meant for others.
        keys: Keys of the split, those of excluded pairs included.
        split: Name of the split.
        folders: Folders that lead to the data root of the split, the outermost first.
    """
    known = {name for key in keys for name in names_of(key, split, folders)}
    unknown = sorted(name for name in names if name not in known and not (split and _of_another_split(name, split)))
    if unknown:
        more = f' (and {len(unknown) - 1} more)' if unknown[1:] else ''
        logging.getLogger('basicsr').warning(
            f"exclude: {path}: no image is named '{unknown[0]}'{more}; names are paths below the folder, without suffix"
        )


def _of_another_split(name: str, split: str) -> bool:
    first, *parents = name.split('/')[:-1] or ['']
    return (first in SPLITS and first != split) or not set(SPLITS).isdisjoint(parents)
