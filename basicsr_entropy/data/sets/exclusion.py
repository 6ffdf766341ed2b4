"""Lists of pairs to leave out: a name a line, and after a tab why."""

from pathlib import Path

from basicsr_entropy.data.lmdb.reader import store_key


def read_exclusion(path: str | Path) -> frozenset[str]:
    """The names of a list; empty lines and those that begin with # are passed over.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'exclude: no file {path}')
    names = (line.partition('\t')[0].strip() for line in path.read_text(encoding='utf-8').splitlines())
    return frozenset(name for name in names if name and not name.startswith('#'))


def is_excluded(names: frozenset[str], key: str, split: str | None = None, root: str | None = None) -> bool:
    """Whether a list names a pair: by its key, by split/key, or by root/split/key.

    Args:
        names: From `read_exclusion`.
        key: Key of the pair; the list may hold what a store makes of it as well.
        split: Split that the pair is of.
        root: Name of the data root's folder, for lists that cover several sets.
    """
    for name in {key, store_key(key)}:
        if name in names or f'{split}/{name}' in names or f'{root}/{split}/{name}' in names:
            return True
    return False
