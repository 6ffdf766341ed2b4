"""Exclusion lists: files with one name of a pair per line, optionally followed by a tab and a remark."""

from pathlib import Path

from basicsr_entropy.data.lmdb import lmdb_key


def read_exclusion(path: str | Path) -> frozenset[str]:
    """Reads the names of an exclusion list; empty lines and lines that begin with # are ignored.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'exclude: no file {path}')
    names = (line.partition('\t')[0].strip() for line in path.read_text(encoding='utf-8').splitlines())
    return frozenset(name for name in names if name and not name.startswith('#'))


def is_excluded(names: frozenset[str], key: str, split: str | None = None, root: str | None = None) -> bool:
    """Whether a list names a pair: as key, split/key or root/split/key.

    Args:
        names: Names from `read_exclusion`.
        key: Key of the pair. The list may also hold the LMDB key that is made from it.
        split: Name of the pair's split.
        root: Name of the data root's folder, for lists that cover several datasets.
    """
    for name in {key, lmdb_key(key)}:
        if name in names or f'{split}/{name}' in names or f'{root}/{split}/{name}' in names:
            return True
    return False
