"""Decoding images and finding image files; errors name the file."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
_UPRIGHT = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # honors the EXIF orientation; IMREAD_UNCHANGED does not
_JPEG_START = b'\xff\xd8'


def decode_image(content: bytes, name: str, flags: int = _UPRIGHT) -> np.ndarray:
    """Decodes an image file.

    By default the image is turned upright by its EXIF orientation and keeps its bit depth; gray images are repeated to
    three channels, and alpha is dropped.

    Args:
        content: Bytes of the file.
        name: Name of the file, for the error message.
        flags: Flags of `cv2.imdecode`.

    Returns:
        BGR array (H, W, 3), uint8 or uint16. Other flags may give other shapes.

    Raises:
        ValueError: If the bytes are not an image, or its values are not unsigned integers of 8 or 16 bits.
    """
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:  # e.g. an image larger than OpenCV allows
        raise ValueError(f'{name} cannot be read as an image: {error.err}') from error
    if image is None:
        raise ValueError(f'{name} cannot be read as an image; it is damaged or in an unknown format')
    if image.dtype not in (np.uint8, np.uint16):
        how = ' (values in [0, 1]: times 65535, rounded, as uint16)' if np.issubdtype(image.dtype, np.floating) else ''
        raise ValueError(f'{name} holds {image.dtype} values; convert it to unsigned integers of 8 or 16 bits{how}')
    return image


def verifies_jpeg(start: bytes = _JPEG_START) -> bool:
    """Whether `jpeg_damage` looks at a file that begins so: at JPEG files, if its library is there."""
    if not start.startswith(_JPEG_START):
        return False
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return False
    return True


def jpeg_damage(content: bytes) -> str | None:
    """What libjpeg-turbo reports of a JPEG file that it can decode all the same, such as data that ends too early.

    OpenCV and Pillow decode such files in silence; the extra `jpeg` has a decoder that passes the message on. Only an
    eighth of the resolution is computed, but all data are read.

    Args:
        content: Bytes of a file.

    Returns:
        The message; None without one, for other formats, for JPEG files that this decoder does not know (such as CMYK),
        and without the extra.
    """
    if not verifies_jpeg(content):
        return None
    import simplejpeg

    def decode(strict: bool) -> str | None:
        try:
            simplejpeg.decode_jpeg(content, colorspace='GRAY', min_height=1, min_width=1, min_factor=8, strict=strict)
        except ValueError as error:
            return str(error)
        return None

    message = decode(strict=True)
    return None if message is None or decode(strict=False) else message


def to_float(image: np.ndarray) -> np.ndarray:
    """Converts an image to float32, range [0, 1], from unsigned integers or floats; float32 is returned unchanged."""
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32, copy=False)
    return image.astype(np.float32) / np.iinfo(image.dtype).max


@contextmanager
def of_any_size() -> Iterator[None]:
    """Context in which PIL opens images of any size: its default limit is below what cameras produce."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def size_of(image: np.ndarray) -> str:
    """Size of an array (H, W, ...) as WIDTHxHEIGHT, for messages."""
    return f'{image.shape[1]}x{image.shape[0]}'


def images_in(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
    """Image files in a folder and its subfolders, sorted, without hidden ones."""
    for path in sorted(folder.rglob('*')):
        if is_image(path.relative_to(folder), suffixes) and path.is_file():
            yield path


def is_image(path: PurePath, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a relative path is that of an image file, by its suffix, and no part of it is hidden."""
    return path.suffix.lower() in suffixes and not any(part.startswith('.') for part in path.parts)
