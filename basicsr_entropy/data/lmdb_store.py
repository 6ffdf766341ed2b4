"""LMDB stores of images in BasicSR's format: data.mdb beside meta_info.txt with a line `key.png (h,w,c) 1` an image."""

import os
import re
import shutil
from pathlib import Path

import lmdb

META_INFO = 'meta_info.txt'
_FIRST_MAP_SIZE = 2**26
_META_LINE = re.compile(r'(?P<key>.+)\.png \((?P<shape>\d+,\d+,\d+)\) \d+')


def store_key(name: str) -> str:
    """Key of an image named `name`, without dots: BasicSR cuts keys at their first."""
    return name.replace('.', '_')


class StoreWriter:
    """Writes a new store; a context manager.

    The store is built in a folder beside `path` and renamed on leaving the context; leaving it by an error leaves
    nothing behind. The map grows when it is full.

    Args:
        path: Folder of the store; its name must end in .lmdb.

    Raises:
        FileExistsError: If the store exists.
        ValueError: If the path does not end in .lmdb.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix != '.lmdb':
            raise ValueError(f"an LMDB store's name must end in .lmdb, got {path}")
        if self.path.exists():
            raise FileExistsError(f'{path} exists; remove it, or write somewhere else')
        self._beside = self.path.with_name(f'{self.path.name}.partial-{os.getpid()}')
        self._keys: set[str] = set()

    def __enter__(self) -> 'StoreWriter':
        self._beside.mkdir(parents=True)
        self._env = lmdb.open(str(self._beside), map_size=_FIRST_MAP_SIZE)
        self._meta = open(self._beside / META_INFO, 'w', encoding='utf-8')
        return self

    def put(self, key: str, content: bytes, shape: tuple[int, ...]) -> None:
        """Adds an image file's bytes under a key; shape is (H, W) or (H, W, C).

        Raises:
            ValueError: If the store holds the key already.
        """
        if key in self._keys:
            raise ValueError(f"{self.path}: two images would share the key '{key}'; rename one of them")
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    transaction.put(key.encode(), content)
                break
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()['map_size'])
        height, width, channels = (*shape, 1)[:3]
        self._meta.write(f'{key}.png ({height},{width},{channels}) 1\n')
        self._keys.add(key)

    def __exit__(self, kind, error, trace) -> None:
        self._meta.close()
        self._env.close()
        if kind is None:
            os.rename(self._beside, self.path)
        else:
            shutil.rmtree(self._beside, ignore_errors=True)


def store_keys(path: str | Path) -> list[str]:
    """Keys of a store, in the order of its meta_info.txt.

    Raises:
        FileNotFoundError: If it is no store.
        ValueError: If a line of meta_info.txt is not in BasicSR's format.
    """
    meta = Path(path) / META_INFO
    if not (Path(path) / 'data.mdb').is_file() or not meta.is_file():
        raise FileNotFoundError(f'{path} is no LMDB store: it needs data.mdb and {META_INFO}')
    keys = []
    for number, line in enumerate(meta.read_text(encoding='utf-8').splitlines(), 1):
        match = _META_LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{meta}, line {number}: expected 'key.png (h,w,c) level', got '{line}'")
        keys.append(match['key'])
    return keys


# LMDB lets a process open a store once, however many datasets read it, and forbids to carry it across a fork.
_open: dict[str, lmdb.Environment] = {}


def _environment(path: str) -> lmdb.Environment:
    if path not in _open:
        _open[path] = lmdb.open(path, readonly=True, lock=False, readahead=False, create=False)
    return _open[path]


def _close_all() -> None:
    while _open:
        _open.popitem()[1].close()


os.register_at_fork(before=_close_all)  # parent and child open it anew at their next read


class StoreReader:
    """Reads images of one store; opens it at the first read.

    Args:
        path: Folder of the store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.path.realpath(path)

    def get(self, key: str) -> bytes:
        """Bytes of an image file.

        Raises:
            KeyError: If the store does not hold the key.
        """
        with _environment(self.path).begin() as transaction:
            content = transaction.get(key.encode())
        if content is None:
            raise KeyError(f"{self.path} holds no image '{key}'")
        return content
