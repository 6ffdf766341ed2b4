"""Image sources: where images lie, and how they are listed and opened.

`image_source` chooses between a folder, an LMDB database and mmengine's file backends.
"""

import logging
import string
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

import numpy as np

from basicsr_entropy._images import (
    IMAGE_SUFFIXES,
    PHOTOGRAPH_SUFFIXES,
    UNSUPPORTED_SUFFIXES,
    decode_image,
    images_in,
    is_image,
)
from basicsr_entropy.data.lmdb import LmdbReader


class ImageSource(Protocol):
    """A place that holds images.

    Attributes:
        root: The folder, the LMDB database or the address.
    """

    @property
    def root(self) -> str | Path: ...

    def names(self) -> list[str]:
        """Names of all images, sorted, as the other methods take them.

        Images in formats that cannot be read are left out; a warning names them.

        Raises:
            FileNotFoundError: If the source does not exist.
            ValueError: If the source cannot list its images, or is damaged.
        """
        ...

    def key(self, name: str) -> str:
        """Key by which the image is paired; see `pairing`."""
        ...

    def path(self, name: str) -> str:
        """Path or address of an image, for messages; for LMDB, the key below the database."""
        ...

    def open(self, name: str) -> AbstractContextManager[np.ndarray]:
        """Opens an image as a BGR array (H, W, 3), uint8 or uint16.

        The array may be a read-only view that is valid only inside the context.

        Raises:
            KeyError: If an LMDB database does not hold the image.
            OSError: If the image cannot be read.
            ValueError: If it cannot be decoded.
        """
        ...

    def open_file(self, name: str) -> BinaryIO | None:
        """Opens the image's encoded file; None where pixels are stored instead."""
        ...


@dataclass(frozen=True)
class FolderImages:
    """Image files in a local folder and its subfolders. Names are paths that begin with `root`."""

    root: Path

    def names(self) -> list[str]:
        if not self.root.is_dir():
            raise FileNotFoundError(f'no folder {self.root}')
        names: list[str] = []
        unread: list[str] = []
        for path in images_in(self.root, (*PHOTOGRAPH_SUFFIXES, *UNSUPPORTED_SUFFIXES)):
            (names if path.suffix.lower() in IMAGE_SUFFIXES else unread).append(str(path))
        if unread:
            more = f' and {len(unread) - 1} more' if unread[1:] else ''
            logging.getLogger('basicsr').warning(
                f'{unread[0]}{more}: left out; of images, datasets read {", ".join(IMAGE_SUFFIXES)}'
            )
        return names

    def key(self, name: str) -> str:
        return Path(name).relative_to(self.root).with_suffix('').as_posix()

    def path(self, name: str) -> str:
        return name

    @contextmanager
    def open(self, name: str) -> Iterator[np.ndarray]:
        yield decode_image(Path(name).read_bytes(), name)

    def open_file(self, name: str) -> BinaryIO:
        return open(name, 'rb')


@dataclass(frozen=True)
class LmdbImages:
    """Images of an LMDB database in BasicSR's format. Names are its keys."""

    root: Path

    @cached_property
    def _reader(self) -> LmdbReader:
        return LmdbReader(self.root)

    def names(self) -> list[str]:
        return sorted(self._reader.shapes)

    def key(self, name: str) -> str:
        return name

    def path(self, name: str) -> str:
        return f'{self.root}/{name}'

    def open(self, name: str) -> AbstractContextManager[np.ndarray]:
        return self._reader.image(name)

    def open_file(self, name: str) -> BinaryIO | None:
        return None if self._reader.raw else BytesIO(self._reader.get(name))


@dataclass(frozen=True)
class MMEngineImages:
    """Image files behind one of mmengine's file backends. Names are addresses that begin with `root`.

    Args:
        root: Folder or address, e.g. https://example.org/low.
        arguments: The backend's arguments; {} lets mmengine choose the backend by the address.
    """

    root: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        backend = self._backend(self.root)
        if not hasattr(backend, 'list_dir_or_file'):
            raise ValueError(f'meta_info_file: missing; {type(backend).__name__} cannot list the images of {self.root}')
        names = backend.list_dir_or_file(self.root, list_dir=False, recursive=True)
        return sorted(f'{self._prefix}{name}' for name in names if is_image(PurePosixPath(name)))

    def key(self, name: str) -> str:
        return PurePosixPath(name.removeprefix(self._prefix)).with_suffix('').as_posix()

    def path(self, name: str) -> str:
        return name

    @contextmanager
    def open(self, name: str) -> Iterator[np.ndarray]:
        yield decode_image(self._read(name), name)

    def open_file(self, name: str) -> BinaryIO:
        return BytesIO(self._read(name))

    @property
    def _prefix(self) -> str:
        return f'{self.root.rstrip("/")}/'

    def _read(self, name: str) -> bytes:
        is_url = name.startswith(('http://', 'https://'))
        try:
            # file names may hold characters that a URL may not; escapes that are in the name already are kept
            return self._backend(name).get(quote(name, safe=string.punctuation) if is_url else name)
        except OSError as error:
            raise OSError(f'{name} cannot be read: {error}') from error

    def _backend(self, address: str) -> Any:
        """mmengine's backend for an address; mmengine keeps one instance of each kind."""
        from mmengine import fileio

        try:
            return fileio.get_file_backend(address, backend_args=dict(self.arguments), enable_singleton=True)
        except KeyError as error:
            raise ValueError(f'io_backend: mmengine has no backend {error} for {address}') from error
        except TypeError as error:
            raise ValueError(f'io_backend: mmengine cannot make a backend for {address}: {error}') from error


def backend_type(io_backend: Mapping[str, Any] | None) -> str | None:
    """Type that the option `io_backend` names: disk, lmdb or mmengine; None if it names none.

    Raises:
        ValueError: If the type is unknown.
    """
    kind = (io_backend or {}).get('type')
    if kind not in (None, 'disk', 'lmdb', 'mmengine'):
        raise ValueError(f"io_backend.type: must be disk, lmdb or mmengine, got '{kind}'")
    return kind


def image_source(root: str | Path, io_backend: Mapping[str, Any] | None = None) -> ImageSource:
    """The image source for a folder, an LMDB database or an address.

    Args:
        root: Folder, database or address.
        io_backend: {type: disk}, {type: lmdb}, or {type: mmengine, ...} with the arguments of the backend. By default
            a root that ends in .lmdb is a database, and any other a folder.

    Raises:
        ValueError: If the type of the backend is unknown.
    """
    kind = backend_type(io_backend)
    if kind == 'mmengine':
        return MMEngineImages(str(root), {key: value for key, value in (io_backend or {}).items() if key != 'type'})
    root = Path(root).expanduser()
    if kind == 'lmdb' or (kind is None and root.suffix == '.lmdb'):
        return LmdbImages(root)
    return FolderImages(root)
