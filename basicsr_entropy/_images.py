"""Images from bytes, with errors that name the file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
_UPRIGHT = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # as EXIF says, unlike IMREAD_UNCHANGED


def decode_image(content: bytes, name: str, flags: int = _UPRIGHT) -> np.ndarray:
    """Decodes an image file: by default upright, of its own depth, gray repeated to three channels, alpha dropped.

    Args:
        content: The file's bytes.
        name: Its name, for the error.
        flags: OpenCV's.

    Returns:
        BGR array (H, W, 3), uint8 or uint16; what other flags ask for.

    Raises:
        ValueError: If the bytes are no image, or one of another depth.
    """
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:  # larger than OpenCV allows, for one
        raise ValueError(f'{name} cannot be read as an image: {error.err}') from error
    if image is None:
        raise ValueError(f'{name} cannot be read as an image; it is damaged or of an unknown kind')
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f'{name} holds {image.dtype} values; convert it to unsigned integers of 8 or 16 bits')
    return image


def to_float(image: np.ndarray) -> np.ndarray:
    """An unsigned integer image of any depth as float32 of range [0, 1]; one that is float32 as it is."""
    return image if image.dtype == np.float32 else image.astype(np.float32) / np.iinfo(image.dtype).max


def read_file(path: str) -> bytes:
    """Bytes of a file; what a store's reader is for a folder."""
    return Path(path).read_bytes()


@contextmanager
def image_of_file(path: str, read: Callable[[str], bytes] = read_file) -> Iterator[np.ndarray]:
    """The image of a file, as `StoreReader.image` gives that of a key."""
    yield decode_image(read(path), path)


@contextmanager
def of_any_size() -> Iterator[None]:
    """Within, PIL opens images of any size: its limit is for files of strangers, and below what cameras have."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def size_of(image: np.ndarray) -> str:
    """WIDTHxHEIGHT of an array (H, W, ...), for messages."""
    return f'{image.shape[1]}x{image.shape[0]}'


def images_in(folder: Path) -> Iterator[Path]:
    """Image files of a folder and of the folders in it, sorted; hidden ones left out."""
    for path in sorted(folder.rglob('*')):
        if is_image(path.relative_to(folder)) and path.is_file():
            yield path


def is_image(path: PurePath) -> bool:
    """Whether a name below a folder is an image's, and neither it nor a folder in it is hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith('.') for part in path.parts)
