"""Decoding images and finding image files; errors name the file."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from basicsr_entropy._files import atomic_write

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.tif', '.tiff', '.webp')
HEIF_SUFFIXES = ('.heic', '.heif', '.hif')  # as iPhones and cameras write them
PHOTOGRAPH_SUFFIXES = (*IMAGE_SUFFIXES, '.avif', *HEIF_SUFFIXES)  # read for inference, but not in datasets
RAW_SUFFIXES = ('.arw', '.cr2', '.cr3', '.dng', '.nef', '.orf', '.pef', '.raf', '.rw2', '.srw')
_OTHER_SUFFIXES = ('.exr', '.gif', '.hdr', '.jp2', '.jxl', '.pgm', '.pnm', '.ppm', '.psd', '.tga', '.xcf')
UNSUPPORTED_SUFFIXES = (*RAW_SUFFIXES, *_OTHER_SUFFIXES)
_UPRIGHT = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # honors the EXIF orientation; IMREAD_UNCHANGED does not
_JPEG_START = b'\xff\xd8'
_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the latter two of BigTIFF
_SEPARATE_PLANES = 2  # value of the TIFF tag PlanarConfiguration


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
        ValueError: If the bytes are not an image, or its values are not unsigned integers of 8 or 16 bits; or if they
            are of 16 bits in separate planes of a TIFF file, which OpenCV reads wrongly.
    """
    if tags := tiff_tags(content):
        deep, separate = is_deep_tiff(tags), tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES
        if deep and separate and tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) > 1:
            raise ValueError(f'{name} holds 16-bit values in separate planes; save it with interleaved channels')
        if not deep and flags == _UPRIGHT and TiffImagePlugin.EXTRASAMPLES in tags:
            return _without_alpha(content, name)
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


def tiff_tags(content: bytes) -> Mapping[int, Any]:
    """The tags of the first page of a TIFF file; none for other and for damaged files."""
    if not content.startswith(_TIFF_STARTS):
        return {}
    is_big = b'+' in content[2:4]
    try:
        file, found = BytesIO(content), TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if is_big else 8])
        file.seek(found.next)
        found.load(file)
        return dict(found)
    except Exception:  # PIL raises many types of exception for damaged files, which decoders report
        return {}


def is_deep_tiff(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF file, by its tags, has more than 8 bits per channel; False without tags."""
    return bool(np.max(tags.get(TiffImagePlugin.BITSPERSAMPLE, 8)) > 8)


def _without_alpha(content: bytes, name: str) -> np.ndarray:
    """Decodes a TIFF file of 8 bits with alpha, by which OpenCV multiplies the colors."""
    try:
        with of_any_size(), Image.open(BytesIO(content)) as image:
            image.load()  # turns it upright
            return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except Exception as error:  # PIL raises many types of exception for damaged files
        raise ValueError(f'{name} cannot be read as an image; it is damaged or in an unknown format') from error


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


def atomic_write_image(path: str | Path, image: np.ndarray) -> None:
    """Writes a BGR or gray image with `atomic_write`, in the format of the path's suffix.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), image):
            raise OSError(f'could not write {path}')


def images_in(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
    """Image files in a folder and its subfolders, sorted, without hidden ones. Links to folders are followed."""
    for path in sorted(_files_in(folder, ())):
        if is_image(path.relative_to(folder), suffixes):
            yield path


def _files_in(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Files in a folder and its subfolders; `above` are the real paths of the folders that lead to it."""
    real = os.path.realpath(folder)
    if any(os.path.commonpath((real, outer)) == real for outer in above):
        return  # a link to one of them
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except PermissionError:
        return
    for entry in found:
        if entry.is_file():
            yield folder / entry.name
        elif entry.is_dir():
            yield from _files_in(folder / entry.name, (*above, real))


def is_image(path: PurePath, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a relative path is that of an image file, by its suffix, and no part of it is hidden."""
    return path.suffix.lower() in suffixes and not any(part.startswith('.') for part in path.parts)
