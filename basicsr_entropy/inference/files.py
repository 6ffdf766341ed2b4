"""Reading and writing of photographs at their own bit depth, with EXIF and ICC profile; finding them in folders."""

import contextlib
import glob
import io
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from basicsr_entropy._files import atomic_write_bytes, check_not_empty
from basicsr_entropy._images import (
    HEIF_SUFFIXES,
    PHOTOGRAPH_SUFFIXES,
    RAW_SUFFIXES,
    UNSUPPORTED_SUFFIXES,
    decode_image,
    images_in,
    is_deep_tiff,
    of_any_size,
    tiff_tags,
)
from basicsr_entropy.inference.images import ARRAY_MODES, pil_to_array

FORMATS = ('PNG', 'JPEG', 'TIFF', 'WEBP', 'AVIF', 'BMP')  # PIL's names of those that are read and written
# HEIF is read with pi-heif, whose wheel holds decoders only, under the LGPL. The encoder in the wheel of pillow-heif is
# under the GPL, so results of HEIF files are JPEG files.
HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')  # bytes 8 to 12 of the file
ORIENTATION = 0x0112  # EXIF tag
EXIF_HEADER = b'Exif\0\0'  # precedes EXIF in JPEG files
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
XMP = 700  # TIFF tag
# The TIFF tags that describe the photograph, not the layout of its pixels in the file:
# description, camera, resolution, software, date, artist, XMP, copyright.
TIFF_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, XMP, 33432)
TIFF_SUBFILE_TYPE = 254  # tag whose lowest bit marks a page as a smaller version of another
TIFF_TABLES = (0x8769, 0x8825)  # tags that point to the EXIF and GPS tables
INTEROPERABILITY = 0xA005  # tag in the EXIF table that points to another table
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    'JPEG': {'quality': 95, 'subsampling': 0},
    'WEBP': {'quality': 95},
    'AVIF': {'quality': 90, 'subsampling': '4:4:4'},
}
LARGEST_SIDE = {'JPEG': 65500, 'WEBP': 16383}  # pixels that a file can hold

# Stored pixels to upright pixels by EXIF orientation, and back.
_TO_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
_TO_STORED = {**_TO_UPRIGHT, 6: _TO_UPRIGHT[8], 8: _TO_UPRIGHT[6]}


class Photograph(NamedTuple):
    """A photograph in memory, upright.

    Attributes:
        pixels: uint8 or uint16, shape (H, W) for gray, else (H, W, C): gray and alpha, RGB or RGBA.
        format: PIL's name of the format to write; one of `FORMATS`.
        orientation: EXIF orientation (1 to 8) of the pixels in the file. They are written in this orientation again, so
            that `exif` stays valid unchanged.
        exif: EXIF as bytes, without the thumbnail; for TIFF, the tags that hold it.
        icc: ICC profile.
    """

    pixels: np.ndarray
    format: str
    orientation: int = 1
    exif: Any = None
    icc: bytes | None = None


def read_photograph(path: str | Path) -> Photograph:
    """Reads a photograph and turns it upright, as EXIF says.

    AVIF and HEIF files are read at 8 bits; a HEIF file, which needs the package pi-heif, becomes a JPEG photograph,
    without alpha.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as an image, its format or bit depth is not supported, or it holds several
            images: an animation, or pages.
    """
    content = Path(path).read_bytes()
    if Path(path).suffix.lower() in RAW_SUFFIXES:  # many are TIFF files, of which PIL would read the thumbnail
        raise ValueError(f'{path}: {_unsupported(Path(path).suffix)}')
    if is_heif := _is_heif(content):
        _register_heif(path)
    try:
        with of_any_size(), Image.open(io.BytesIO(content)) as image:
            file_format, mode = image.format, image.mode
            if file_format == 'MPO' or is_heif:  # one photograph, which further images may follow, as phones write
                file_format, images = 'JPEG', 1
            else:
                images = _number_of_images(image)
            image.load()  # turns TIFF upright and removes its orientation tag
            is_tiff = file_format == 'TIFF'
            exif = _tiff_tags(image) if is_tiff else _without_thumbnail(image.info.get('exif'))
            orientation = 1 if is_tiff else _orientation(image)
            # the profile of other colors does not apply to the RGB pixels after conversion
            icc = image.info.get('icc_profile') if mode not in ('CMYK', 'LAB') else None
            pixels = pil_to_array(image.convert('L' if mode in ('L', 'LA') else 'RGB') if is_heif else image)
    except Exception as error:  # PIL raises many types of exception for damaged files
        raise ValueError(f'{path} cannot be read as an image; it is damaged or its format is not supported') from error
    if file_format not in FORMATS:
        raise ValueError(f'{path} is a {file_format} file; supported formats are {", ".join(FORMATS)}')
    if images > 1:
        raise ValueError(f'{path} holds {images} images, an animation or pages; save the one to enhance as a file')
    if mode in ('I', 'F'):
        raise ValueError(
            f'{path} has 32 bits per channel, with no defined range; convert it to 8 or 16 bits '
            '(values in [0, 1]: times 65535, rounded, as uint16)'
        )
    tags = tiff_tags(content)
    deep = _decode_16_bit(content, str(path), mode, tags) if mode in ARRAY_MODES and _is_deep(content, tags) else None
    stored = pixels if deep is None else deep
    upright = _TO_UPRIGHT.get(orientation, lambda a: a)(stored)
    # what XMP alone says is not written again
    kept = orientation if isinstance(exif, bytes) and ORIENTATION in _parsed(exif) else 1
    return Photograph(upright, file_format, kept, exif, icc)


def _is_heif(content: bytes) -> bool:
    """Whether the file type box (ISO/IEC 14496-12) names a brand of HEIF and not that of AVIF, which is based on it."""
    return content[4:8] == b'ftyp' and content[8:12] in HEIF_BRANDS and b'avif' not in content[16:64]


def _register_heif(path: str | Path) -> None:
    try:
        import pi_heif
    except ImportError as error:
        raise ValueError(
            f'{path} is a HEIF file; reading it needs the package pi-heif: pip install "basicsr-entropy[heif]"'
        ) from error
    pi_heif.register_heif_opener()


def _number_of_images(image: Image.Image) -> int:
    """Frames of an animation or pages of a TIFF file, without its thumbnails."""
    count = getattr(image, 'n_frames', 1)
    if count > 1 and image.format == 'TIFF':
        thumbnails = 0
        for page in range(1, count):
            image.seek(page)
            thumbnails += image.getexif().get(TIFF_SUBFILE_TYPE, 0) & 1
        image.seek(0)
        count -= thumbnails
    return count


def _parsed(exif: bytes) -> Image.Exif:
    parsed = Image.Exif()
    with contextlib.suppress(SyntaxError, struct.error):  # damaged EXIF; the pixels are intact
        parsed.load(exif)
    return parsed


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except (SyntaxError, struct.error):  # the pixels of a file with damaged EXIF are intact
        return 1


def _without_thumbnail(exif: bytes | None) -> bytes | None:
    """EXIF without the link to its second table, which holds the thumbnail: viewers would show the dark original.

    Nothing is moved, since maker notes contain absolute offsets.
    """
    if not exif:
        return None
    head = len(exif) - len(exif.removeprefix(EXIF_HEADER))
    order = {b'II': '<', b'MM': '>'}.get(exif[head : head + 2])
    if order is None:
        return exif
    changed = bytearray(exif)
    try:
        table = head + struct.unpack_from(f'{order}I', exif, head + 4)[0]
        entries = struct.unpack_from(f'{order}H', exif, table)[0]
        struct.pack_into(f'{order}I', changed, table + 2 + 12 * entries, 0)
    except struct.error:  # truncated within its first table
        return exif
    return bytes(changed)


def _tiff_tags(image: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    exif, kept = image.getexif(), TiffImagePlugin.ImageFileDirectory_v2()
    for tag in TIFF_TAGS:
        if tag in exif:
            value = exif[tag]
            # PIL decodes text as Latin-1, whatever its encoding, and would write non-ASCII text as question marks
            kept[tag] = value.encode('latin-1') if isinstance(value, str) else value
    if XMP in kept:  # the pixels are upright
        kept[XMP] = re.sub(rb'(tiff:Orientation(?:=["\']|>))[2-8]', rb'\g<1>1', kept[XMP])
    for tag in TIFF_TABLES:
        if table := exif.get_ifd(tag):
            kept[tag] = {key: value for key, value in table.items() if key != INTEROPERABILITY}
    return kept


def _is_deep(content: bytes, tags: Mapping[int, Any]) -> bool:
    """Whether a PNG file, by its header, or a TIFF file, by its tags, has more than 8 bits per channel."""
    if content.startswith(PNG_SIGNATURE):
        return content[24] > 8
    return is_deep_tiff(tags)


def _decode_16_bit(content: bytes, name: str, mode: str, tags: Mapping[int, Any]) -> np.ndarray | None:
    """Pixels of a file of more than 8 bits, of which PIL keeps 8; None if OpenCV does so too.

    Gray with alpha becomes RGBA.
    """
    pixels = decode_image(content, name, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
        if pixels.shape[2] == 4 and tags.get(TiffImagePlugin.EXTRASAMPLES) == (1,):  # multiplied by alpha
            alpha = pixels[..., 3:].astype(np.float64) / 65535
            colors = np.divide(pixels[..., :3], alpha, out=np.zeros((*pixels.shape[:2], 3)), where=alpha > 0)
            pixels = np.concatenate([colors.round().clip(0, 65535).astype(np.uint16), pixels[..., 3:]], axis=2)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
        pixels = 65535 - pixels
    return pixels[..., 0] if mode in ('L', 'I;16', 'I;16B') and pixels.ndim == 3 else pixels


def write_photograph(path: str | Path, photograph: Photograph, replace: bool = True) -> None:
    """Writes a photograph in its own format and orientation; JPEG and WebP at quality 95, AVIF at 90.

    The write is atomic.

    Args:
        path: Path of the file.
        photograph: The photograph.
        replace: Replace a file that exists.

    Raises:
        FileExistsError: If the file exists and is not to be replaced.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    pixels = np.ascontiguousarray(_TO_STORED.get(photograph.orientation, lambda a: a)(photograph.pixels))
    if photograph.format == 'TIFF':
        content = _encode_tiff(pixels, photograph)
    elif pixels.dtype == np.uint16:
        content = _encode_16_bit_png(pixels, photograph)
    elif photograph.format == 'BMP' and pixels.shape[2:] == (4,):  # PIL writes them without a mask for alpha
        content = cv2.imencode('.bmp', cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    else:
        buffer = io.BytesIO()
        metadata = {'exif': photograph.exif, 'icc_profile': photograph.icc}
        metadata = {key: value for key, value in metadata.items() if value}
        Image.fromarray(pixels).save(buffer, photograph.format, **metadata, **SAVE_OPTIONS.get(photograph.format, {}))
        content = buffer.getvalue()
    atomic_write_bytes(path, content, replace)


def _encode_tiff(pixels: np.ndarray, photograph: Photograph) -> bytes:
    """A TIFF file of one strip. PIL cannot write 16-bit RGB, nor EXIF tables into compressed files."""
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
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # unassociated alpha
    tags[TiffImagePlugin.COMPRESSION] = TiffImagePlugin.COMPRESSION_INFO_REV['tiff_adobe_deflate']
    tags[TiffImagePlugin.ROWSPERSTRIP] = pixels.shape[0]
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(strip)
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # relative to the end of the tags
    buffer = io.BytesIO()
    tags.save(buffer)
    return buffer.getvalue() + strip


def _encode_16_bit_png(pixels: np.ndarray, photograph: Photograph) -> bytes:
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    metadata: dict[int, bytes | None] = {cv2.IMAGE_METADATA_ICCP: photograph.icc}
    if photograph.exif:
        metadata[cv2.IMAGE_METADATA_EXIF] = photograph.exif.removeprefix(EXIF_HEADER)
    chunks = {key: np.frombuffer(value, np.uint8) for key, value in metadata.items() if value}
    written, content = cv2.imencodeWithMetadata('.png', pixels, list(chunks), list(chunks.values()))
    if not written:
        raise OSError('OpenCV could not encode a 16-bit PNG')
    return content.tobytes()


def find_photographs(inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Finds the photographs that paths and glob patterns refer to.

    Args:
        inputs: Files, folders (searched recursively, skipping hidden files and folders) or glob patterns such as
            'night/*.jpg' or 'night/**/*.png'.

    Returns:
        For each photograph, its path and the relative path for its result: below the input folder, or the bare file
        name for a file or pattern; .jpg for HEIF files. Each file once, in the order of the inputs.

    Raises:
        FileNotFoundError: If an input matches no photograph.
        ValueError: If an input is empty.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        check_not_empty(given, 'inputs')
        path = Path(given).expanduser()
        if path.is_dir():
            matches = [(file, file.relative_to(path)) for file in images_in(path, PHOTOGRAPH_SUFFIXES)]
        elif path.is_file():
            matches = [(path, Path(path.name))]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [(Path(name), Path(Path(name).name)) for name in names if Path(name).is_file()]
        if not matches:
            if not path.is_dir():
                raise FileNotFoundError(f'{given}: no such file or folder, and no match')
            unsupported = ''.join(f'; {file.name}: {reason}' for file, reason in find_unsupported([given])[:3])
            raise FileNotFoundError(f'{given}: no photograph in this folder{unsupported}')
        for file, name in matches:
            found.setdefault(file.resolve(), (file, result_name(name)))
    return list(found.values())


def result_name(name: Path) -> Path:
    """The name of the result of a photograph: its own, with the suffix .jpg for HEIF files."""
    return name.with_suffix('.jpg') if name.suffix.lower() in HEIF_SUFFIXES else name


def find_unsupported(inputs: Sequence[str]) -> list[tuple[Path, str]]:
    """Finds the image files in the input folders that `find_photographs` leaves out, since they cannot be read.

    Args:
        inputs: As in `find_photographs`.

    Returns:
        The path of each, and why it is left out.
    """
    folders = [path for path in (Path(given).expanduser() for given in inputs) if path.is_dir()]
    found = {file: None for folder in folders for file in images_in(folder, UNSUPPORTED_SUFFIXES)}
    return [(file, _unsupported(file.suffix)) for file in found]


def _unsupported(suffix: str) -> str:
    kind = suffix[1:].upper()
    if suffix.lower() in RAW_SUFFIXES:
        return f'camera raw ({kind}); develop it to a TIFF or PNG file first'
    return f'{kind} is not supported; save it as one of {", ".join(FORMATS)}'
