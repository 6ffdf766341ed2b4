import io
import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from helpers import FIXTURES
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin, features

from basicsr_entropy.inference.files import (
    Photograph,
    find_photographs,
    find_unsupported,
    read_photograph,
    write_photograph,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, 'Maker'
    return tags.tobytes()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def rewrite(path, change=lambda pixels: pixels):
    photograph = read_photograph(path)
    out = path.with_name(f'out{path.suffix}')
    write_photograph(out, photograph._replace(pixels=change(photograph.pixels)))
    return out


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 2), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_pixels_and_profile_of_8_bits_are_kept(tmp_path, suffix, shape):
    pixels, path = noise(*shape), tmp_path / f'in{suffix}'
    Image.fromarray(pixels).save(path, exif=exif(), icc_profile=ICC)
    with Image.open(rewrite(path)) as out:
        assert np.array_equal(np.asarray(out), pixels)
        assert out.info['icc_profile'] == ICC
        assert out.getexif()[0x010F] == 'Maker'


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_pixels_and_profile_of_16_bits_are_kept(tmp_path, suffix, shape):
    pixels, path = noise(*shape, dtype=np.uint16), tmp_path / f'in{suffix}'
    file_format, tags = {'.png': ('PNG', exif()), '.tif': ('TIFF', {0x010F: 'Maker'})}[suffix]
    write_photograph(path, Photograph(pixels, file_format, 1, tags, ICC))
    out = read_photograph(rewrite(path))
    assert out.pixels.dtype == np.uint16
    assert np.array_equal(out.pixels, pixels)
    assert out.icc == ICC
    with Image.open(path) as file:
        assert file.getexif()[0x010F] == 'Maker'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_thumbnail_of_the_dark_original_is_dropped(tmp_path, suffix):
    tags, thumbnail, path = exif(), io.BytesIO(), tmp_path / f'in{suffix}'
    Image.new('RGB', (8, 8)).save(thumbnail, 'JPEG')
    size, first = len(thumbnail.getvalue()), len(exif()) - 6  # offset of the second table from the end of the header
    order = {b'II': '<', b'MM': '>'}[tags[6:8]]
    entries = [(0x0201, 4, 1, first + 30), (0x0202, 4, 1, size)]  # offset and length of the thumbnail
    table = struct.pack(f'{order}H', 2) + b''.join(struct.pack(f'{order}HHII', *entry) for entry in entries) + bytes(4)
    link = 6 + 8 + 2 + 12 * struct.unpack_from(f'{order}H', tags, 14)[0]
    with_thumbnail = tags[:link] + struct.pack(f'{order}I', first) + tags[link + 4 :] + table + thumbnail.getvalue()
    Image.fromarray(noise(4, 6, 3)).save(path, exif=with_thumbnail)
    with Image.open(path) as dark, Image.open(rewrite(path)) as out:
        assert dark.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == size
        assert not out.getexif().get_ifd(ExifTags.IFD.IFD1)
        assert out.getexif()[0x010F] == 'Maker'


@pytest.mark.filterwarnings('ignore:Corrupt EXIF|Truncated File Read')
@pytest.mark.parametrize('length', [7, 9, 15, 20, 40])
def test_truncated_exif_is_kept_unchanged(tmp_path, length):
    path = tmp_path / 'in.png'
    Image.fromarray(noise(4, 6, 3)).save(path, exif=exif()[:length])
    photograph = read_photograph(path)
    assert np.array_equal(photograph.pixels, noise(4, 6, 3))
    assert photograph.exif == exif()[:length]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 2), (4, 6, 3), (4, 6, 4)])
def test_another_reader_reads_tiff_files(tmp_path, shape, dtype):
    pixels = noise(*shape, dtype=dtype)
    write_photograph(tmp_path / 'out.tif', Photograph(pixels, 'TIFF', icc=ICC))
    with tifffile.TiffFile(tmp_path / 'out.tif') as file:
        assert np.array_equal(file.asarray(), pixels)
        assert file.pages[0].iccprofile == ICC


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_tables_of_tiff_files_are_kept(tmp_path, dtype):
    shot, place = {0x829A: 0.125, 0x9003: '2026:11:24 20:15:00', 0x9286: b'night'}, {1: 'N', 2: (51.0, 28.0, 40.0)}
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({0x010F: 'Maker', 0x013B: 'Jürgen'.encode(), 0x8769: {**shot, 0xA005: 8}, 0x8825: place})
    path, pixels = tmp_path / 'in.tif', noise(4, 6, 3, dtype=dtype)
    if dtype == np.uint8:
        Image.fromarray(pixels).save(path, tiffinfo=tags)
    else:  # PIL cannot write these
        write_photograph(path, Photograph(pixels, 'TIFF', 1, tags))
    with Image.open(rewrite(path)) as out:
        assert out.getexif()[0x010F] == 'Maker'
        assert out.getexif()[0x013B].encode('latin-1').decode() == 'Jürgen'
        assert out.getexif().get_ifd(0x8769) == shot
        assert out.getexif().get_ifd(0x8825) == place
    with tifffile.TiffFile(tmp_path / 'out.tif') as file:
        assert file.pages[0].tags['ExifTag'].value['DateTimeOriginal'] == shot[0x9003]


@pytest.mark.parametrize('mode', ['CMYK', 'P', '1'])
def test_reads_other_pixel_modes(tmp_path, mode):
    image = Image.fromarray(noise(4, 6, 3)).convert(mode)
    image.save(tmp_path / 'in.tif')
    expected = np.asarray(image.convert('L' if mode == '1' else 'RGB'))
    assert np.array_equal(read_photograph(tmp_path / 'in.tif').pixels, expected)


@pytest.mark.parametrize(('mode', 'clear'), [('L', 7), ('RGB', (1, 2, 3)), ('P', 3)])
def test_transparent_color_becomes_alpha(tmp_path, mode, clear):
    Image.fromarray(noise(4, 6, 3)).convert(mode).save(tmp_path / 'in.png', transparency=clear)
    with Image.open(tmp_path / 'in.png') as image:
        expected = np.asarray(image.convert('LA' if mode == 'L' else 'RGBA'))
    assert np.array_equal(read_photograph(tmp_path / 'in.png').pixels, expected)


def test_reads_16_bits_of_either_byte_order(tmp_path):
    pixels = noise(4, 6, dtype=np.uint16)
    tifffile.imwrite(tmp_path / 'in.tif', pixels, byteorder='>', photometric='minisblack')
    assert np.array_equal(read_photograph(tmp_path / 'in.tif').pixels, pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif', 'deep.png', 'deep.tif'])
def test_orientation_is_handled_once(tmp_path, suffix, orientation):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 255  # one corner is white
    path = tmp_path / f'in{suffix}'
    if suffix == 'deep.png':
        # a Photograph's pixels are upright
        upright = np.asarray(ImageOps.exif_transpose(_tagged(stored, orientation)))
        deep = upright.astype(np.uint16) * 257
        write_photograph(path, Photograph(deep, 'PNG', orientation, exif(orientation), None))
    elif suffix == 'deep.tif':
        tag = (0x0112, 'H', 1, orientation)
        tifffile.imwrite(path, stored.astype(np.uint16) * 257, photometric='rgb', extratags=[tag])
    else:
        Image.fromarray(stored).save(path, exif=exif(orientation))

    def shown(file):
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image)) > 127

    # what a viewer shows is what the network sees, and stays the same
    seen = []
    out = rewrite(path, lambda pixels: seen.append(pixels) or pixels)
    assert np.array_equal(seen[0] > seen[0].max() // 2, shown(path))
    assert np.array_equal(shown(out), shown(path))


def _tagged(pixels, orientation):
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return image


def test_damaged_and_unsupported_files_are_named(tmp_path):
    good = tmp_path / 'good.jpg'
    Image.fromarray(noise(64, 64, 3)).save(good)
    (tmp_path / 'torn.jpg').write_bytes(good.read_bytes()[:900])
    (tmp_path / 'text.png').write_text('no image')
    (tmp_path / 'empty.png').write_bytes(b'')
    for name in ('torn.jpg', 'text.png', 'empty.png'):
        with pytest.raises(ValueError, match=f'{name} cannot be read as an image'):
            read_photograph(tmp_path / name)
    Image.fromarray(noise(4, 6, 3)).save(tmp_path / 'moving.gif')
    with pytest.raises(ValueError, match='moving.gif is a GIF file; supported formats are PNG, JPEG'):
        read_photograph(tmp_path / 'moving.gif')
    tifffile.imwrite(tmp_path / 'shot.dng', noise(4, 6, 3), photometric='rgb')
    with pytest.raises(ValueError, match=r'shot.dng: camera raw \(DNG\); develop it to a TIFF or PNG file first'):
        read_photograph(tmp_path / 'shot.dng')
    tifffile.imwrite(tmp_path / 'floats.tif', np.zeros((4, 6), np.float32))
    with pytest.raises(ValueError, match='floats.tif has 32 bits per channel, with no defined range; convert it to 8'):
        read_photograph(tmp_path / 'floats.tif')


def test_reads_heif_and_names_its_missing_package(tmp_path, monkeypatch):
    pytest.importorskip('pi_heif')
    path = tmp_path / 'phone.heic'
    path.write_bytes((FIXTURES / 'phone.heic').read_bytes())
    photograph = read_photograph(path)
    assert photograph.format == 'JPEG'
    assert photograph.orientation == 1
    assert photograph.pixels.shape == (64, 48, 3)  # upright; 64x48 in the file
    corners = photograph.pixels[0, 0], photograph.pixels[-1, 0], photograph.pixels[0, -1]
    np.testing.assert_allclose(corners, [(150, 30, 20), (20, 40, 160), (230, 220, 200)], atol=4)
    assert find_photographs([str(path)]) == [(path, Path('phone.jpg'))]
    write_photograph(tmp_path / 'phone.jpg', photograph)
    with Image.open(tmp_path / 'phone.jpg') as image:
        assert (image.format, image.getexif()[0x010F], image.size) == ('JPEG', 'Maker', (48, 64))
    monkeypatch.setitem(sys.modules, 'pi_heif', None)
    with pytest.raises(ValueError, match=r'phone.heic is a HEIF file; .* pip install "basicsr-entropy\[heif\]"'):
        read_photograph(path)


def test_avif_keeps_size_orientation_and_metadata(tmp_path):
    if not features.check('avif'):
        pytest.skip('this PIL was built without AVIF')
    path, pixels = tmp_path / 'in.avif', np.full((40, 60, 3), (200, 120, 40), np.uint8)
    pixels[:, 30:] //= 4
    Image.fromarray(pixels).save(path, exif=exif(6), icc_profile=ICC)
    photograph = read_photograph(path)
    assert (photograph.format, photograph.pixels.shape) == ('AVIF', (60, 40, 3))
    np.testing.assert_allclose(photograph.pixels[5, 20], (200, 120, 40), atol=6)
    out = read_photograph(rewrite(path))
    assert (out.icc, out.orientation) == (ICC, photograph.orientation)
    np.testing.assert_allclose(out.pixels.astype(int), photograph.pixels, atol=12)


@pytest.mark.parametrize('suffix', ['.webp', '.tif', '.png', '.avif'])
def test_animations_and_pages_are_refused(tmp_path, suffix):
    path = tmp_path / f'several{suffix}'
    first, second = (Image.fromarray(noise(4, 6, 3) // factor) for factor in (1, 2))
    first.save(path, save_all=True, append_images=[second])
    with pytest.raises(ValueError, match=f'several{suffix} holds 2 images, an animation or pages; save the one'):
        read_photograph(path)


def test_thumbnails_of_tiff_files_are_no_pages(tmp_path):
    path = tmp_path / 'scan.tif'
    with tifffile.TiffWriter(path) as file:
        file.write(noise(4, 6, 3), photometric='rgb')
        file.write(noise(2, 3, 3), photometric='rgb', subfiletype=1)
    assert np.array_equal(read_photograph(path).pixels, noise(4, 6, 3))


def test_images_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('night/moving.GIF', 'night/deep/shot.nef', 'night/.hidden.gif', 'night/notes.txt', 'loose.gif'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = {str(path): reason for path, reason in find_unsupported(['night', 'loose.gif'])}
    assert found == {
        'night/deep/shot.nef': 'camera raw (NEF); develop it to a TIFF or PNG file first',
        'night/moving.GIF': 'GIF is not supported; save it as one of PNG, JPEG, TIFF, WEBP, AVIF, BMP',
    }
    with pytest.raises(FileNotFoundError, match=r'no photograph in this folder; shot.nef: camera raw \(NEF\)'):
        find_photographs(['night'])


def test_reads_photographs_of_any_size(tmp_path, monkeypatch):
    Image.fromarray(noise(6, 8, 3)).save(tmp_path / 'large.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 6 * 8 // 2 - 1)
    assert read_photograph(tmp_path / 'large.png').pixels.shape == (6, 8, 3)
    with pytest.raises(Image.DecompressionBombError):  # outside, PIL's limit still applies
        Image.open(tmp_path / 'large.png')


def test_writes_are_atomic(tmp_path, monkeypatch):
    path = tmp_path / 'out.png'
    path.write_text('before')

    def full(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='disk full'):
        write_photograph(path, Photograph(noise(4, 6, 3), 'PNG'))
    assert [p.name for p in tmp_path.iterdir()] == ['out.png']
    assert path.read_text() == 'before'


def test_finds_files_folders_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a.png', 'night/b.JPG', 'night/._b.JPG', 'night/deep/c.tif', 'night/notes.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*words):
        return {str(source): str(name) for source, name in find_photographs(words)}

    assert found('a.png') == {'a.png': 'a.png'}
    assert found('night') == {'night/b.JPG': 'b.JPG', 'night/deep/c.tif': 'deep/c.tif'}
    assert found('a.png', './night/../a.png', 'night/b.JPG', 'night') == {
        'a.png': 'a.png',
        'night/b.JPG': 'b.JPG',
        'night/deep/c.tif': 'deep/c.tif',
    }
    assert found('night/*.JPG', 'a.png') == {'night/b.JPG': 'b.JPG', 'a.png': 'a.png'}
    assert found('night/**/*.tif') == {'night/deep/c.tif': 'c.tif'}
    (tmp_path / 'empty').mkdir()
    for word, message in (('absent.png', 'absent.png: no such file'), ('empty', 'empty: no photograph in this folder')):
        with pytest.raises(FileNotFoundError, match=message):
            find_photographs(['a.png', word])
    with pytest.raises(ValueError, match='^inputs: the path is empty'):
        find_photographs(['a.png', ''])


@pytest.mark.parametrize('suffix', ['.tif', '.jpg', '.png', '.webp'])
def test_orientation_in_xmp_turns_a_photograph_once(tmp_path, suffix):
    path, xmp = tmp_path / f'in{suffix}', b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options = {'xmp': xmp}
    if suffix == '.tif':
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112], tags[700] = 6, xmp
        options = {'tiffinfo': tags}
    elif suffix == '.png':
        options = {'pnginfo': PngImagePlugin.PngInfo()}
        options['pnginfo'].add_itxt('XML:com.adobe.xmp', xmp.decode())
    Image.fromarray(noise(4, 6, 3)).save(path, **options)
    shapes = [ImageOps.exif_transpose(Image.open(file)).size for file in (path, rewrite(path))]
    assert shapes == [(4, 6), (4, 6)]


def test_16_bit_tiff_files_look_as_those_of_8_bits(tmp_path):
    values = noise(4, 6)
    premultiplied = np.dstack([noise(4, 6, 3) // 2, np.full((4, 6), 128, np.uint8)])
    for name, pixels, options in (
        ('negative.tif', values, {'photometric': 'miniswhite'}),
        ('alpha.tif', premultiplied, {'photometric': 'rgb', 'extrasamples': ['assocalpha']}),
    ):
        tifffile.imwrite(tmp_path / name, pixels, **options)
        shallow = read_photograph(tmp_path / name).pixels
        tifffile.imwrite(tmp_path / name, pixels.astype(np.uint16) * 257, **options)
        deep = read_photograph(tmp_path / name).pixels
        assert deep.dtype == np.uint16
        assert np.abs(deep / 257 - shallow).max() < 1.5, name
    assert np.array_equal(read_photograph(tmp_path / 'negative.tif').pixels, 65535 - values.astype(np.uint16) * 257)


def test_alpha_of_bmp_files_is_kept(tmp_path):
    pixels = noise(4, 6, 4)
    cv2.imwrite(str(tmp_path / 'in.bmp'), cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))
    assert np.array_equal(np.asarray(Image.open(rewrite(tmp_path / 'in.bmp'))), pixels)


def test_the_profile_of_lab_pixels_is_not_that_of_the_result(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    Image.new('LAB', (6, 4)).save(tmp_path / 'in.tif', icc_profile=profile)
    assert read_photograph(tmp_path / 'in.tif').icc is None


def test_8_bit_tiff_files_are_read_with_any_compression_that_pil_knows(tmp_path):
    pixels = noise(16, 16, 3)
    Image.fromarray(pixels).save(tmp_path / 'in.tif', compression='zstd')
    assert np.array_equal(read_photograph(tmp_path / 'in.tif').pixels, pixels)


def test_heif_cutouts_lose_their_alpha(tmp_path):
    pytest.importorskip('pi_heif')
    (tmp_path / 'cutout.hif').write_bytes((FIXTURES / 'cutout.heic').read_bytes())
    photograph = read_photograph(tmp_path / 'cutout.hif')
    assert photograph.pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(photograph.pixels[-1, [0, -1]], [(210, 60, 30), (40, 120, 200)], atol=6)
    assert find_photographs([str(tmp_path)]) == [(tmp_path / 'cutout.hif', Path('cutout.jpg'))]
    write_photograph(tmp_path / 'cutout.jpg', photograph)
