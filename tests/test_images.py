"""Images as cameras and programs write them: read right, or refused by name."""

import io
import sys

import cv2
import numpy as np
import pytest
from helpers import photograph
from PIL import Image, TiffImagePlugin

from basicsr_entropy._images import decode_image, images_in, jpeg_damage, to_float

BGR = photograph(1, 30, 47)
DEEP = BGR.astype(np.uint16) * 256 + 7
SIX = Image.Exif()
SIX[0x0112] = 6  # to be turned clockwise


def file_of(image, suffix='.png'):
    return cv2.imencode(suffix, image)[1].tobytes()


def file_by_pillow(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow(image=BGR):
    return Image.fromarray(image[..., ::-1])


def see_through(image):
    """With an alpha of a quarter."""
    image = pillow(image)
    image.putalpha(64)
    return image


def gray_of(image):
    return np.asarray(pillow(image).convert('L'))[..., None].repeat(3, axis=2)


def tiff_of_planes(image, order):
    """An uncompressed TIFF file of one strip a channel; `order` is '<' or '>'."""
    height, width, channels = image.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b'II' if order == '<' else b'MM')
    tags[TiffImagePlugin.IMAGELENGTH], tags[TiffImagePlugin.IMAGEWIDTH] = height, width
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * image.itemsize,) * channels
    tags[TiffImagePlugin.SAMPLESPERPIXEL], tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = channels, 2
    tags[TiffImagePlugin.COMPRESSION], tags[TiffImagePlugin.PLANAR_CONFIGURATION] = 1, 2
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    plane = height * width * image.itemsize
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = (plane,) * channels
    tags[TiffImagePlugin.STRIPOFFSETS] = tuple(plane * channel for channel in range(channels))
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue() + image.transpose(2, 0, 1).astype(image.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (file_of(BGR), BGR),
        (file_of(DEEP), DEEP),
        (file_of(DEEP, '.tif'), DEEP),
        (file_of(BGR[..., 0]), BGR[..., [0, 0, 0]]),
        (file_of(DEEP[..., 0]), DEEP[..., [0, 0, 0]]),
        (file_of(np.dstack([BGR, BGR[..., 0]])), BGR),
        (file_of(np.dstack([DEEP, DEEP[..., 0]])), DEEP),
        (file_by_pillow(see_through(BGR), 'TIFF'), BGR),
        (file_by_pillow(see_through(BGR).convert('LA'), 'TIFF'), gray_of(BGR)),
        (file_by_pillow(pillow(), 'PNG', exif=SIX), cv2.rotate(BGR, cv2.ROTATE_90_CLOCKWISE)),
        (tiff_of_planes(BGR[..., ::-1], '<'), BGR),
        (file_of(BGR[:1, :1]), BGR[:1, :1]),
    ],
    ids=[
        '8',
        '16',
        '16-tiff',
        'gray',
        'gray-16',
        'rgba',
        'rgba-16',
        'rgba-tiff',
        'gray-alpha-tiff',
        'rotated',
        'planes',
        'one-pixel',
    ],
)
def test_keeps_pixels_and_depth(content, expected):
    image = decode_image(content, 'x')
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_allclose(to_float(image), expected / np.iinfo(expected.dtype).max, atol=1e-7)


def test_turns_photographs_and_reads_print_colors():
    turned = decode_image(file_by_pillow(pillow(), 'JPEG', exif=SIX, quality=98), 'x')
    assert turned.shape == (47, 30, 3)
    assert np.abs(turned - cv2.rotate(BGR, cv2.ROTATE_90_CLOCKWISE).astype(float)).mean() < 4
    printed = decode_image(file_by_pillow(pillow().convert('CMYK'), 'JPEG', quality=98), 'x')
    assert np.abs(printed - BGR.astype(float)).mean() < 4


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'a/b.png cannot be read as an image'),
        (b'PNG?', 'a/b.png cannot be read as an image'),
        (file_of(BGR)[:-200], 'a/b.png cannot be read as an image'),
        (
            file_of(BGR.astype(np.float32), '.tif'),
            'a/b.png holds float32 values; convert .* times 65535',
        ),
        (tiff_of_planes(DEEP, '<'), 'a/b.png holds 16-bit values in separate planes; save it with interleaved'),
        (tiff_of_planes(DEEP, '>'), 'a/b.png holds 16-bit values in separate planes; save it with interleaved'),
        (b'II*\0\xff', 'a/b.png cannot be read as an image'),
        (file_by_pillow(see_through(BGR), 'TIFF')[:2000], 'a/b.png cannot be read as an image'),
    ],
    ids=['empty', 'no-image', 'cut', 'float', 'planes', 'planes-big-endian', 'cut-tiff', 'cut-rgba-tiff'],
)
def test_refuses_by_name(content, message):
    with pytest.raises(ValueError, match=message):
        decode_image(content, 'a/b.png')


def test_damage_of_a_jpeg_file_is_reported():
    pytest.importorskip('simplejpeg')
    # detailed enough that a part of the data can be missing
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for whole in (file_by_pillow(noise, 'JPEG'), file_by_pillow(noise.convert('L'), 'JPEG', progressive=True)):
        assert jpeg_damage(whole) is None
        damaged = whole[:-400] + whole[-200:]
        assert decode_image(damaged, 'damaged.jpg').shape == (64, 64, 3)
        assert 'Corrupt JPEG data' in jpeg_damage(damaged)
    for unknown in (file_by_pillow(noise.convert('CMYK'), 'JPEG'), file_by_pillow(noise, 'PNG'), b''):
        assert jpeg_damage(unknown) is None


def test_without_the_decoder_no_damage_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)
    assert jpeg_damage(file_of(BGR, '.jpg')[:-200] + b'\xff\xd9') is None


def test_finds_images_behind_links_once_per_path_and_none_hidden(tmp_path):
    for name in ('album/a.png', 'album/.hidden/b.png', 'elsewhere/c.JFIF', 'elsewhere/deep/d.jpe'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'album/linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'album/z').symlink_to(tmp_path / 'elsewhere/deep')
    for loop in ('album/loop', 'elsewhere/deep/loop'):
        (tmp_path / loop).symlink_to(tmp_path / 'album')
    (tmp_path / 'elsewhere/root').symlink_to('/')
    (tmp_path / 'album/broken.png').symlink_to(tmp_path / 'absent.png')
    found = [path.relative_to(tmp_path / 'album').as_posix() for path in images_in(tmp_path / 'album')]
    assert found == ['a.png', 'linked/c.JFIF', 'linked/deep/d.jpe', 'z/d.jpe']
