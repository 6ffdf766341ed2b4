"""LMDB stores of images in BasicSR's format: data.mdb beside meta_info.txt with a line `key.png (h,w,c) 1` an image.

A store that this package wrote has a manifest as well, which tells how its images are encoded. Raw ones are pixels in
rows, BGR, of 8 or 16 bits (little endian): a crop of them is read where it lies, without decoding the image.
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from basicsr_entropy._images import decode_image

META_INFO = 'meta_info.txt'
MANIFEST = 'manifest.json'
MAX_KEY = 511  # bytes; what LMDB is compiled for
RAW_DTYPES = {1: np.dtype('u1'), 2: np.dtype('<u2')}  # by bytes a value
_META_LINE = re.compile(r'(?P<key>.+)\.png \((?P<shape>\d+,\d+,\d+)\) \d+')


def store_key(name: str) -> str:
    """Key of an image named `name`, without dots: BasicSR cuts keys at their first.

    Raises:
        ValueError: If a key cannot be made of the name.
    """
    key = name.replace('.', '_')
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f'{name!r} is not a UTF-8 name; rename the file') from error
    if not key.isprintable():
        raise ValueError(f'{name!r} holds a control character; rename the file')
    if size > MAX_KEY:
        raise ValueError(f'{name}: a name of {size} bytes, and a store takes {MAX_KEY}; rename the file')
    return key


def store_path(folder: str | Path, split: str, role: str) -> Path:
    """Where the store of a split's 'lq' or 'gt' images lies."""
    return Path(folder).expanduser() / f'{split}_{role}.lmdb'


def meta_line(key: str, height: int, width: int) -> str:
    """Line of meta_info.txt for a colour image."""
    return f'{key}.png ({height},{width},3) 1\n'


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Keys of a store with the shapes (H, W, C) of their images, in the order of its meta_info.txt.

    Raises:
        FileNotFoundError: If it is no store.
        ValueError: If a line of meta_info.txt is not in BasicSR's format.
    """
    meta = Path(path) / META_INFO
    if not (Path(path) / 'data.mdb').is_file() or not meta.is_file():
        raise FileNotFoundError(f'{path} is no LMDB store: it needs data.mdb and {META_INFO}')
    shapes = {}
    with open(meta, encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            match = _META_LINE.fullmatch(line.rstrip())
            if match is None:
                raise ValueError(f"{meta}, line {number}: expected 'key.png (h,w,c) level', got '{line.rstrip()}'")
            shapes[match['key']] = tuple(map(int, match['shape'].split(',')))
    return shapes


def read_manifest(path: str | Path) -> dict[str, Any]:
    """What a store's manifest says; empty for a store that another program wrote.

    Raises:
        ValueError: If it is damaged.
    """
    manifest = Path(path) / MANIFEST
    if not manifest.is_file():
        return {}
    try:
        content = json.loads(manifest.read_text(encoding='utf-8'))
        return {**content, 'encoding': content['options']['encoding']}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{manifest} is damaged ({error}); prepare the store anew') from error


def open_environment(path: str | Path, **options: Any) -> lmdb.Environment:
    """Opens an LMDB environment after a look at its size: reading past the end of a cut file kills the process.

    Raises:
        ValueError: If data.mdb is damaged or shorter than its own page count.
    """
    file = Path(path) / 'data.mdb'
    try:
        environment = lmdb.open(str(path), **options)
    except lmdb.Error as error:
        raise ValueError(f'{file} cannot be opened as LMDB: {error}') from error
    expected = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    there = os.path.getsize(file)
    if there < expected:
        environment.close()
        raise ValueError(f'{file} is cut short: {there} bytes of {expected}; copy or prepare the store again')
    return environment


# LMDB lets a process open a store once, however many datasets read it, and forbids to carry it across a fork.
_open: dict[str, lmdb.Environment] = {}
_reading = threading.RLock()  # no fork, which closes the stores, while a thread reads from one


def _environment(path: str) -> lmdb.Environment:
    if path not in _open:
        _open[path] = open_environment(path, readonly=True, lock=False, readahead=False, create=False)
    return _open[path]


def _before_fork() -> None:
    _reading.acquire()
    while _open:
        _open.popitem()[1].close()


# parent and child open their stores anew at their next read
os.register_at_fork(before=_before_fork, after_in_parent=_reading.release, after_in_child=_reading.release)


class StoreReader:
    """Reads images of one store; opens it at the first read.

    Args:
        path: Folder of the store.

    Raises:
        FileNotFoundError: If it is no store.
        ValueError: If its meta_info.txt or its manifest is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.path.realpath(path)
        self.shapes = read_shapes(path)
        self.raw = read_manifest(path).get('encoding') == 'raw'

    @contextmanager
    def value(self, key: str) -> Iterator[memoryview]:
        """What the store holds under a key, where it lies: valid only inside the context.

        Raises:
            KeyError: If the store does not hold the key.
        """
        with _reading, _environment(self.path).begin(buffers=True) as transaction:
            content = transaction.get(key.encode())
            if content is None:
                raise KeyError(f"{self.path} holds no image '{key}'")
            yield content

    def get(self, key: str) -> bytes:
        """A copy of what the store holds under a key."""
        with self.value(key) as content:
            return bytes(content)

    @contextmanager
    def image(self, key: str) -> Iterator[np.ndarray]:
        """An image as a BGR array (H, W, 3), uint8 or uint16; of a raw store a view, valid only inside the context.

        Raises:
            KeyError: If the store does not hold the key.
            ValueError: If its value is no image.
        """
        if not self.raw:
            yield decode_image(self.get(key), f"'{key}' in {self.path}")
            return
        with self.value(key) as content:
            shape = self.shapes[key]
            dtype = next((d for d in RAW_DTYPES.values() if d.itemsize * prod(shape) == len(content)), None)
            if dtype is None:
                raise ValueError(f"'{key}' in {self.path}: {len(content)} bytes are not the pixels of {shape}")
            yield np.frombuffer(content, dtype).reshape(shape)
