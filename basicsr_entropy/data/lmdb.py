"""LMDB databases of images in BasicSR's format: keys, values, files, and the reader.

A database is a folder with LMDB's data.mdb and a meta_info.txt that has one line `key.png (h,w,c) 1` per image. Those
that this package writes also have a manifest.json, which names the dataset and how the images are encoded. In a raw
database the values are pixels instead of image files: BGR, row by row, with 8 or 16 bits per channel (little endian).
A crop of a raw image is read straight from the memory map, without decoding the image.
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

import cv2
import lmdb
import numpy as np

from basicsr_entropy._checks import has_control_characters
from basicsr_entropy._images import decode_image

META_INFO = 'meta_info.txt'
MANIFEST = 'manifest.json'
MAX_KEY = 511  # bytes; LMDB's compile-time limit
RAW_DTYPES: dict[int, np.dtype] = {1: np.dtype('u1'), 2: np.dtype('<u2')}  # by bytes per value
_META_LINE = re.compile(r'(?P<key>.+)\.png \((?P<shape>\d+,\d+,\d+)\) \d+')


def lmdb_key(name: str) -> str:
    """LMDB key of an image name: its dots become underscores, since BasicSR cuts keys at the first dot.

    So no key has a part `..`, by which outputs that are named after it would leave their folder.

    Raises:
        ValueError: If the name is not valid UTF-8, holds a control character or is too long for a key.
    """
    key = underscored(name)
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f'{name!r} is not a UTF-8 name; rename the file') from error
    if has_control_characters(key):
        raise ValueError(f'{name!r} holds a control character; rename the file')
    if size > MAX_KEY:
        raise ValueError(f'{name}: the name has {size} bytes, an LMDB key at most {MAX_KEY}; rename the file')
    return key


def underscored(name: str) -> str:
    """An image name with underscores for its dots, as `lmdb_key`, but not checked."""
    return name.replace('.', '_')


def lmdb_path(folder: str | Path, split: str, role: str) -> Path:
    """Path of the database with a split's 'lq' or 'gt' images."""
    return Path(folder).expanduser() / f'{split}_{role}.lmdb'


def lmdb_splits(folder: str | Path) -> set[str]:
    """Names of the splits whose databases lie in a folder."""
    return {path.name.removesuffix('_lq.lmdb') for path in Path(folder).expanduser().glob('*_lq.lmdb')}


def encode_pixels(image: np.ndarray, raw: bool) -> bytes:
    """Value of an image (H, W, 3), uint8 or uint16 BGR: its pixels for a raw database, else a PNG; both lossless."""
    if raw:
        return image.astype(RAW_DTYPES[image.itemsize], copy=False).tobytes()
    return cv2.imencode('.png', image)[1].tobytes()


def decode_pixels(value: bytes | memoryview, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The image of a value of a raw database, as a view of the value.

    Args:
        value: What `encode_pixels` returns with raw=True.
        shape: Shape (H, W, C) of the image.
        name: Name of the image, for the error message.

    Raises:
        ValueError: If the value does not have the size of such an image.
    """
    dtype = next((dtype for dtype in RAW_DTYPES.values() if dtype.itemsize * prod(shape) == len(value)), None)
    if dtype is None:
        raise ValueError(f'{name} cannot be read: {len(value)} bytes are not the pixels of shape {shape}')
    return np.frombuffer(value, dtype).reshape(shape)


def meta_line(key: str, height: int, width: int) -> str:
    """Line of meta_info.txt for a color image."""
    return f'{key}.png ({height},{width},3) 1\n'


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Shapes (H, W, C) of a database's images by key, in the order of its meta_info.txt.

    Raises:
        FileNotFoundError: If the path is not an LMDB database.
        ValueError: If a line of meta_info.txt is not in BasicSR's format, or its key would lead out of a folder:
            outputs are named after keys.
    """
    meta = Path(path) / META_INFO
    if not (Path(path) / 'data.mdb').is_file() or not meta.is_file():
        raise FileNotFoundError(f'{path} is not an LMDB database of images: it needs data.mdb and {META_INFO}')
    shapes = {}
    with open(meta, encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            match = _META_LINE.fullmatch(line.rstrip())
            if match is None:
                raise ValueError(f"{meta}, line {number}: expected 'key.png (h,w,c) level', got '{line.rstrip()}'")
            if match['key'].startswith('/') or '..' in match['key'].split('/'):
                raise ValueError(f"{meta}, line {number}: the key '{match['key']}' leads out of its folder")
            shapes[match['key']] = tuple(map(int, match['shape'].split(',')))
    return shapes


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Content of a database's manifest.json; empty for a database that another program wrote.

    Raises:
        ValueError: If the manifest is damaged.
    """
    manifest = Path(path) / MANIFEST
    if not manifest.is_file():
        return {}
    try:
        content = json.loads(manifest.read_text(encoding='utf-8'))
        return {**content, 'encoding': content['options']['encoding']}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{manifest} is damaged ({error}); prepare the database again') from error


def read_origin(path: str | Path) -> tuple[str, str] | None:
    """Published layout and split that a database was written from; None where no manifest records them.

    Raises:
        ValueError: If the manifest is damaged.
    """
    manifest = read_manifest(path)
    return (manifest['layout'], manifest['split']) if 'layout' in manifest and 'split' in manifest else None


def open_environment(path: str | Path, **kwargs: Any) -> lmdb.Environment:
    """Opens an LMDB environment after checking its size: reading past the end of a truncated file kills the process.

    Args:
        path: Folder of the database.
        **kwargs: Arguments of `lmdb.open`.

    Raises:
        ValueError: If data.mdb is damaged, or shorter than its own page count.
    """
    file = Path(path) / 'data.mdb'
    try:
        environment = lmdb.open(str(path), **kwargs)
    except lmdb.Error as error:
        raise ValueError(f'{file} cannot be opened as LMDB: {error}') from error
    expected = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    size = os.path.getsize(file)
    if size < expected:
        environment.close()
        raise ValueError(f'{file} is truncated: {size} of {expected} bytes; copy or prepare the database again')
    return environment


# LMDB allows a process to open a database only once, however many datasets read it, and forbids using it after a fork.
_environments: dict[str, lmdb.Environment] = {}
_reading = threading.RLock()  # held by readers, so that no fork closes a database while a thread reads from it


def _environment(path: str) -> lmdb.Environment:
    if path not in _environments:
        _environments[path] = open_environment(path, readonly=True, lock=False, readahead=False, create=False)
    return _environments[path]


def _before_fork() -> None:
    _reading.acquire()
    while _environments:
        _environments.popitem()[1].close()


# parent and child each open their databases again at their next read
os.register_at_fork(before=_before_fork, after_in_parent=_reading.release, after_in_child=_reading.release)


class LmdbReader:
    """Reads the images of one database, which is opened at the first read.

    Args:
        path: Folder of the database.

    Attributes:
        shapes: Shapes (H, W, C) of the images by key.
        raw: Whether values are pixels instead of image files.

    Raises:
        FileNotFoundError: If the path is not an LMDB database.
        ValueError: If its meta_info.txt or its manifest is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.shapes = read_shapes(path)
        self.raw = read_manifest(path).get('encoding') == 'raw'
        self._real_path = os.path.realpath(path)  # a database may be reached by several links
        with _reading:  # it may have been prepared anew since it was opened
            if opened := _environments.pop(self._real_path, None):
                opened.close()

    @contextmanager
    def value(self, key: str) -> Iterator[memoryview]:
        """The value of a key as a view of the memory map, valid only inside the context.

        Raises:
            KeyError: If the database does not hold the key.
        """
        with _reading, _environment(self._real_path).begin(buffers=True) as transaction:
            content = transaction.get(key.encode())
            if content is None:
                raise KeyError(f"{self.path} holds no image '{key}'")
            yield content

    def get(self, key: str) -> bytes:
        """A copy of the value of a key.

        Raises:
            KeyError: If the database does not hold the key.
        """
        with self.value(key) as content:
            return bytes(content)

    @contextmanager
    def image(self, key: str) -> Iterator[np.ndarray]:
        """An image as a BGR array (H, W, 3), uint8 or uint16, valid only inside the context.

        The array of a raw database is a read-only view of the memory map.

        Raises:
            KeyError: If the database does not hold the key.
            ValueError: If the value is not an image.
        """
        name = f'{self.path}/{key}'
        if not self.raw:
            yield decode_image(self.get(key), name)
            return
        with self.value(key) as content:
            yield decode_pixels(content, self.shapes[key], name)
