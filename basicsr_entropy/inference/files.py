"""Photographs as files: their pixels at their own bit depth, with EXIF and ICC profile."""

import glob
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from basicsr_entropy._files import atomic_write_bytes
from basicsr_entropy._images import decode_image, images_in, of_any_size
from basicsr_entropy.inference.images import PLAIN_MODES, plain_pixels

KINDS = ('PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP')  # PIL's names
ORIENTATION = 0x0112  # EXIF's tag
EXIF_MARK = b'Exif\0\0'  # that JPEG puts before it
# of a TIFF file's tags, those that say something of the photograph and nothing of how its pixels lie in the file:
# description, camera, resolution, software, date, artist, XMP, copyright
TIFF_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432)
TIFF_TABLES = (0x8769, 0x8825)  # tags that lead to EXIF's own table, and to GPS
INTEROPERABILITY = 0xA005  # tag of EXIF's own table that leads to a further one
SAVING = {'JPEG': {'quality': 95, 'subsampling': 0}, 'WEBP': {'quality': 95}}

# from pixels as stored to upright ones, by EXIF's orientation, and back
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
_STORED = {**_UPRIGHT, 6: _UPRIGHT[8], 8: _UPRIGHT[6]}


class Photograph(NamedTuple):
    """A photograph, upright.

    Attributes:
        pixels: uint8 or uint16, shape (H, W) for gray, else (H, W, C): gray and alpha, RGB or RGBA.
        kind: PIL's name of its file format.
        orientation: EXIF's, which the file's pixels had and will have again, so that its EXIF stays true as it is.
        exif: EXIF as bytes, without its thumbnail; for TIFF, the tags that hold it.
        icc: ICC profile.
    """

    pixels: np.ndarray
    kind: str
    orientation: int = 1
    exif: Any = None
    icc: bytes | None = None


def read_photograph(path: str | Path) -> Photograph:
    """Reads a photograph.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as an image.
    """
    content = Path(path).read_bytes()
    try:
        with of_any_size(), Image.open(io.BytesIO(content)) as image:
            kind, mode = image.format, image.mode
            if kind == 'MPO':  # a JPEG with further pictures behind it, as telephones write
                kind = 'JPEG'
            image.load()  # turns TIFF upright, and takes its orientation away
            tiff = kind == 'TIFF'
            exif = _tiff_tags(image) if tiff else _without_thumbnail(image.info.get('exif'))
            orientation = 1 if tiff else _orientation(image)
            # a profile of inks says nothing of the RGB they become
            icc = image.info.get('icc_profile') if mode != 'CMYK' else None
            pixels = plain_pixels(image)
    except Exception as error:  # PIL raises many kinds for files that are damaged
        raise ValueError(f'{path} cannot be read as an image; it is damaged or of an unknown kind') from error
    if kind not in KINDS:
        raise ValueError(f'{path} is a {kind} file; known are {", ".join(KINDS)}')
    if mode in ('I', 'F'):
        raise ValueError(f'{path} holds numbers of 32 bits, which have no range; known are 8 and 16 bits')
    may_be_deep = kind in ('PNG', 'TIFF') and mode in PLAIN_MODES
    deep = _deep_pixels(content, str(path), mode) if may_be_deep else None
    stored = pixels if deep is None else deep
    return Photograph(_UPRIGHT.get(orientation, lambda a: a)(stored), kind, orientation, exif, icc)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except (SyntaxError, struct.error):  # damaged EXIF is no damage to the pixels
        return 1


def _without_thumbnail(exif: bytes | None) -> bytes | None:
    """EXIF whose first table leads to no second: viewers would show the small picture in it, the dark one.

    All else keeps its place, since makers' notes point at places.
    """
    if not exif:
        return None
    head = len(exif) - len(exif.removeprefix(EXIF_MARK))
    order = {b'II': '<', b'MM': '>'}.get(exif[head : head + 2])
    if order is None:
        return exif
    changed = bytearray(exif)
    try:
        table = head + struct.unpack_from(f'{order}I', exif, head + 4)[0]
        entries = struct.unpack_from(f'{order}H', exif, table)[0]
        struct.pack_into(f'{order}I', changed, table + 2 + 12 * entries, 0)
    except struct.error:  # it ends before its first table does
        return exif
    return bytes(changed)


def _tiff_tags(image: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    exif, kept = image.getexif(), TiffImagePlugin.ImageFileDirectory_v2()
    for tag in TIFF_TAGS:
        if tag in exif:
            value = exif[tag]
            # PIL reads text as Latin-1, whatever it is in, and would write what is not ASCII as question marks
            kept[tag] = value.encode('latin-1') if isinstance(value, str) else value
    for tag in TIFF_TABLES:
        if table := exif.get_ifd(tag):
            kept[tag] = {key: value for key, value in table.items() if key != INTEROPERABILITY}
    return kept


def _deep_pixels(content: bytes, name: str, mode: str) -> np.ndarray | None:
    """16-bit pixels, of which PIL keeps 8; None if there are no more than 8. Gray with alpha becomes RGBA."""
    pixels = decode_image(content, name, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels[..., 0] if mode in ('L', 'I;16', 'I;16B') and pixels.ndim == 3 else pixels


def write_photograph(path: str | Path, photograph: Photograph) -> None:
    """Writes a photograph in its own format, whole or not at all; replaces a file that is there.

    JPEG and WebP are written at quality 95.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    pixels = np.ascontiguousarray(_STORED.get(photograph.orientation, lambda a: a)(photograph.pixels))
    if photograph.kind == 'TIFF':
        content = _encode_tiff(pixels, photograph)
    elif pixels.dtype == np.uint16:
        content = _encode_deep_png(pixels, photograph)
    else:
        buffer = io.BytesIO()
        known = {'exif': photograph.exif, 'icc_profile': photograph.icc}
        given = {key: value for key, value in known.items() if value}
        Image.fromarray(pixels).save(buffer, photograph.kind, **given, **SAVING.get(photograph.kind, {}))
        content = buffer.getvalue()
    atomic_write_bytes(path, content)


def _encode_tiff(pixels: np.ndarray, photograph: Photograph) -> bytes:
    """A TIFF file of one strip; PIL itself writes no colours of 16 bits, and no tables into compressed files."""
    strip = zlib.compress(pixels.astype(pixels.dtype.newbyteorder('<')).tobytes())
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b'II')
    tags.update(photograph.exif or {})
    if photograph.icc:
        tags[TiffImagePlugin.ICCPROFILE] = photograph.icc
    tags[TiffImagePlugin.IMAGELENGTH], tags[TiffImagePlugin.IMAGEWIDTH] = pixels.shape[:2]
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * pixels.itemsize,) * channels
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2  # gray, RGB
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, by which colours are not multiplied
    tags[TiffImagePlugin.COMPRESSION] = TiffImagePlugin.COMPRESSION_INFO_REV['tiff_adobe_deflate']
    tags[TiffImagePlugin.ROWSPERSTRIP] = pixels.shape[0]
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(strip)
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # from the end of the tags
    buffer = io.BytesIO()
    tags.save(buffer)
    return buffer.getvalue() + strip


def _encode_deep_png(pixels: np.ndarray, photograph: Photograph) -> bytes:
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    metadata = {cv2.IMAGE_METADATA_ICCP: photograph.icc}
    if photograph.exif:
        metadata[cv2.IMAGE_METADATA_EXIF] = photograph.exif.removeprefix(EXIF_MARK)
    metadata = {key: np.frombuffer(value, np.uint8) for key, value in metadata.items() if value}
    written, content = cv2.imencodeWithMetadata('.png', pixels, list(metadata), list(metadata.values()))
    if not written:
        raise OSError('OpenCV could not encode a 16-bit PNG')
    return content.tobytes()


def find_photographs(inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Files that the words of a command line stand for.

    Args:
        inputs: Files, folders (searched whole, but for what is hidden) or patterns such as 'night/*.jpg' or
            'night/**/*.png'.

    Returns:
        Each file, and its path below its folder, or its bare name.

    Raises:
        FileNotFoundError: If a word stands for nothing.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for word in inputs:
        path = Path(word).expanduser()
        if path.is_dir():
            matches = [(file, file.relative_to(path)) for file in images_in(path)]
        elif path.is_file():
            matches = [(path, Path(path.name))]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [(Path(name), Path(Path(name).name)) for name in names if Path(name).is_file()]
        if not matches:
            what = 'holds no photograph' if path.is_dir() else 'no such file or folder, and nothing matches it'
            raise FileNotFoundError(f'{word}: {what}')
        for file, name in matches:
            found.setdefault(file.resolve(), (file, name))
    return list(found.values())
