"""Faults are introduced into a sound dataset, and found."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import write_image
from PIL import ExifTags, Image

from basicsr_entropy.data.checks.check import KINDS, check_datasets
from basicsr_entropy.data.checks.report import CAPTION, CELL, MARGIN, unused_path, write_exclusion_list, write_picture
from basicsr_entropy.data.checks.scenes import shift
from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.datasets.demo_photographs import _tiles, read_photograph
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb

PHOTOGRAPHS = {'our485': ('astronaut', 'rocket', 'motorcycle_left'), 'eval15': ('chelsea', 'coffee')}


@pytest.fixture(scope='module')
def tiles():
    """Different views of 256x256 pixels for either split."""
    return {split: [_tiles(read_photograph(name))[0] for name in names] for split, names in PHOTOGRAPHS.items()}


def dark(image, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.round(image * 0.15 + noise).clip(0, 255).astype(np.uint8)


def put(root, split, name, image, low=None):
    write_image(root / split / 'high' / f'{name}.png', image)
    write_image(root / split / 'low' / f'{name}.png', dark(image) if low is None else low)


@pytest.fixture
def root(tmp_path, tiles):
    """Three training pairs, 1 to 3, and two test pairs, 11 and 12, without faults."""
    for split, first in (('our485', 1), ('eval15', 11)):
        for number, image in enumerate(tiles[split], first):
            put(tmp_path / 'LOLv1', split, number, image)
    return tmp_path / 'LOLv1'


def kinds(checked):
    return [finding.kind for finding in checked.findings]


def change(role, split, name, how):
    """A fault that replaces an image by the result of `how`."""

    def fault(root, tiles):
        path = root / split / role / f'{name}.png'
        write_image(path, how(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))

    return fault


def swap(root, tiles):
    low, high = root / 'our485/low/2.png', root / 'our485/high/2.png'
    a, b = low.read_bytes(), high.read_bytes()
    low.write_bytes(b)
    high.write_bytes(a)


def cut_file(root, tiles):
    path = root / 'our485/high/2.png'
    path.write_bytes(path.read_bytes()[:3000])


def nearly_black(root, tiles):
    """Hardly ten levels, though a lamp lifts the mean."""
    low = cv2.imread(str(root / 'our485/low/2.png')) // 8
    low[:5, :100] = 255  # 500 of 65536 pixels
    write_image(root / 'our485/low/2.png', low)


def gap_in_file(root, tiles):
    """A JPEG file that OpenCV decodes in silence, though data are missing near its end."""
    (root / 'our485/high/2.png').unlink()
    content = cv2.imencode('.jpg', tiles['our485'][1])[1].tobytes()
    (root / 'our485/high/2.jpg').write_bytes(content[:-400] + content[-200:])


def lone(root, tiles):
    (root / 'our485/low/2.png').unlink()


def twin_name(root, tiles):
    write_image(root / 'our485/low/2.jpg', dark(tiles['our485'][1]))


def dotted(root, tiles):
    put(root, 'our485', 'a.1', 255 - tiles['our485'][0])
    put(root, 'our485', 'a_1', tiles['our485'][1][::-1])


def equal(root, tiles):
    put(root, 'our485', 2, tiles['our485'][1], low=tiles['our485'][1])


def nearly_equal(root, tiles):
    put(root, 'our485', 2, tiles['our485'][1], low=np.maximum(tiles['our485'][1], 1) - 1)


def wrong_partner(root, tiles):
    put(root, 'our485', 2, tiles['our485'][1], low=dark(tiles['our485'][0], seed=5))


def leak(root, tiles):
    put(root, 'our485', 9, tiles['eval15'][0], low=dark(tiles['eval15'][0], seed=7))


def reexposure(root, tiles):
    image = np.roll(tiles['eval15'][0], (2, -3), (0, 1)) / 255
    image = (np.random.default_rng(0).normal(image**1.15 * 1.5, 0.01) * 255).clip(0, 255).astype(np.uint8)
    put(root, 'our485', 9, image)


def twice(root, tiles):
    put(root, 'our485', 9, tiles['our485'][0])


def another_exposure(root, tiles):
    put(root, 'our485', 9, tiles['our485'][0], low=dark(tiles['our485'][0], seed=3))


FAULTS = [
    (swap, 'swapped', 'our485/low/2.png', {'train/2'}),
    (cut_file, 'unreadable', 'our485/high/2.png', {'train/2'}),
    (lone, 'unpaired', 'our485/high/2.png', {'train/2'}),
    (twin_name, 'name_clash', 'our485/low/2.jpg', {'train/2'}),
    (dotted, 'key_clash', 'a_1', {'train/a.1'}),
    (change('low', 'eval15', 12, lambda image: image[:-6]), 'size_mismatch', 'eval15/low/12.png', {'test/12'}),
    (equal, 'identical', 'our485/low/2.png', {'train/2'}),
    (nearly_equal, 'barely_different', 'our485/low/2.png', {'train/2'}),
    (wrong_partner, 'unrelated', 'our485/low/2.png', {'train/2'}),
    (
        change('high', 'our485', 2, lambda image: np.roll(image, (2, -1), (0, 1))),
        'misaligned',
        'our485/low/2.png',
        {'train/2'},
    ),
    (change('low', 'our485', 2, lambda image: image // 100), 'black', 'our485/low/2.png', {'train/2'}),
    (nearly_black, 'black', 'our485/low/2.png', {'train/2'}),
    (leak, 'leak', 'our485/high/9.png', {'train/9'}),
    (reexposure, 'near_duplicate', 'our485/high/9.png', {'train/9'}),
    (twice, 'duplicate', 'our485/low/9.png', {'train/9'}),
    (another_exposure, 'shared_gt', 'our485/high/9.png', set()),
    (change('high', 'our485', 2, lambda image: image.astype(np.uint16) * 257), 'bit_depth', 'our485/high/2.png', set()),
    (
        change('low', 'our485', 2, lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)),
        'gray',
        'our485/low/2.png',
        set(),
    ),
    (
        change('high', 'our485', 2, lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)),
        'alpha',
        'our485/high/2.png',
        set(),
    ),
]


def test_nothing_is_found_in_a_sound_dataset(root, tmp_path):
    for encoding in ('keep', 'raw'):
        prepare_lmdb(root, tmp_path / encoding, lmdb_format=LmdbFormat(encoding))
    for place in (root, tmp_path / 'keep', tmp_path / 'raw'):
        checked = check_datasets([place])
        assert checked.findings == []
        assert checked.clean
        assert len(checked.measured) == 5


@pytest.mark.parametrize(('fault', 'kind', 'file', 'exclude'), FAULTS, ids=[kind for _, kind, _, _ in FAULTS])
def test_finds_a_fault_and_its_exclusion_list_resolves_it(root, tiles, tmp_path, fault, kind, file, exclude):
    fault(root, tiles)
    checked = check_datasets([root])
    assert kinds(checked) == [kind]
    assert file in checked.findings[0].files
    assert set(checked.findings[0].exclude) == exclude
    assert checked.clean == (KINDS[kind][0] == 'note')

    listed = tmp_path / 'lists/fix.txt'
    assert write_exclusion_list(checked, listed) == len(exclude)
    left = check_datasets([root], exclude=listed)
    assert kinds(left) == ([] if exclude else [kind])
    if exclude:
        for split in ('train', 'test'):
            options = {'phase': 'val', 'split': split, 'dataroot': str(root), 'exclude': str(listed)}
            dataset = LowLightPairedDataset(options)
            assert all(item['lq'].shape == item['gt'].shape for item in dataset)
            assert not {f'{split}/{pair.key}' for pair in dataset.pairs} & exclude


def test_a_damaged_jpeg_file_is_told_by_its_decoder(root, tiles):
    pytest.importorskip('simplejpeg')
    gap_in_file(root, tiles)
    found = check_datasets([root]).findings
    assert {(each.kind, each.files) for each in found} == {('damaged', ('our485/high/2.jpg',))}
    assert found[0].exclude == ('train/2',)
    assert 'Corrupt JPEG data' in found[0].text


IN_PIXELS = (
    'swapped',
    'identical',
    'barely_different',
    'unrelated',
    'misaligned',
    'black',
    'leak',
    'near_duplicate',
    'duplicate',
    'shared_gt',
    'bit_depth',
)


@pytest.mark.parametrize('kind', IN_PIXELS)
def test_finds_the_same_in_raw_databases_as_in_folders(root, tiles, tmp_path, kind):
    next(fault for fault, its_kind, _, _ in FAULTS if its_kind == kind)(root, tiles)
    prepare_lmdb(root, tmp_path / 'raw', lmdb_format=LmdbFormat('raw'))
    found, images, sheets = [], [], []
    for place in (root, tmp_path / 'raw'):
        checked = check_datasets([place])
        found.append([(each.kind, each.exclude, each.weight) for each in checked.findings])
        images.append({(each.split.name, each.pair.key): (each.lq, each.gt) for each in checked.measured})
        sheets.append(cv2.imread(str(write_picture(checked, tmp_path / f'{place.name}.png'))))
    assert kinds(checked) == [kind]
    assert found[0] == found[1]
    assert images[0] == images[1]
    np.testing.assert_array_equal(*(np.delete(sheet, captions_of(sheet), axis=0) for sheet in sheets))


def captions_of(sheet):
    """Rows of a contact sheet that hold text."""
    tile = MARGIN + CAPTION + CELL[1]
    return [row for row in range(len(sheet)) if row % tile < MARGIN + CAPTION]


def test_every_kind_has_its_test():
    tested = {kind for _, kind, _, _ in FAULTS} | {'damaged', 'no_key', 'shared_by_splits', 'shared_lq', 'similar'}
    assert tested == set(KINDS)


def test_faults_of_databases_are_named_by_their_keys(root, tiles, tmp_path):
    leak(root, tiles)
    prepare_lmdb(root, tmp_path / 'written')
    (tmp_path / 'databases').mkdir()
    for database in (tmp_path / 'written').iterdir():  # by links, as databases on another disk are
        (tmp_path / 'databases' / database.name).symlink_to(database)
    meta = tmp_path / 'databases/train_lq.lmdb/meta_info.txt'
    meta.write_text(''.join(line for line in meta.read_text().splitlines(True) if not line.startswith('2.png')))
    checked = check_datasets([tmp_path / 'databases'])
    assert [(finding.kind, finding.files) for finding in checked.findings] == [
        ('unpaired', ('train_gt.lmdb/2',)),
        ('leak', ('train_gt.lmdb/9',)),
    ]
    write_exclusion_list(checked, tmp_path / 'fix.txt')
    options = {'phase': 'val', 'split': 'train', 'dataroot': str(tmp_path / 'databases')}
    with pytest.raises(ValueError, match='do not pair'):
        LowLightPairedDataset(options)
    dataset = LowLightPairedDataset({**options, 'exclude': str(tmp_path / 'fix.txt')})
    assert [pair.key for pair in dataset.pairs] == ['1', '3']


def test_datasets_are_compared_with_each_other(root, tiles, tmp_path):
    other = tmp_path / 'LOLv2/Real_captured'
    for split, name, image in (
        ('Test', '1', tiles['our485'][0]),  # trained on in the first set
        ('Train', '1', tiles['eval15'][1]),  # tested on in the first set
        ('Train', '2', tiles['our485'][2]),  # trained on in both
    ):
        write_image(other / f'{split}/Low/low{name}.png', dark(image, seed=9))
        write_image(other / f'{split}/Normal/normal{name}.png', image)
    checked = check_datasets([root, tmp_path / 'LOLv2'])
    assert {(each.kind, each.files[0], each.exclude) for each in checked.findings} == {
        ('leak', 'LOLv1/our485/high/1.png', ('LOLv1/train/1',)),
        ('leak', 'LOLv2/Real_captured/Train/Normal/normal1.png', ('LOLv2/train/1',)),
        ('shared_by_splits', 'LOLv2/Real_captured/Train/Normal/normal2.png', ()),
    }
    write_exclusion_list(checked, tmp_path / 'fix.txt')
    for place, left in ((root, ['2', '3']), (tmp_path / 'LOLv2', ['2'])):
        options = {'phase': 'val', 'split': 'train', 'dataroot': str(place), 'exclude': str(tmp_path / 'fix.txt')}
        assert [pair.key for pair in LowLightPairedDataset(options).pairs] == left


def test_one_low_light_image_of_several_ground_truths_and_a_rearranged_scene_are_noted(root, tiles):
    put(root, 'our485', 9, 255 - tiles['our485'][0], low=dark(tiles['our485'][0]))
    image = tiles['eval15'][1].copy()
    image[60:150, 60:150] = tiles['our485'][1][60:150, 60:150]
    put(root, 'our485', 8, image)
    found = kinds(check_datasets([root]))
    assert 'shared_lq' in found
    assert 'similar' in found
    assert 'near_duplicate' not in found


def test_worker_processes_change_nothing(root, tiles):
    swap(root, tiles)
    cut_file(root, tiles)
    alone, shared = (check_datasets([root], workers=workers) for workers in (0, 2))
    assert alone.findings == shared.findings
    assert alone.measured == shared.measured


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_turned_photographs_are_measured_as_the_datasets_read_them(root, tiles, suffix):
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # a quarter turn
    image = tiles['our485'][1][:200]
    for role, pixels in (('high', image), ('low', dark(image))):
        (root / f'our485/{role}/2.png').unlink()
        Image.fromarray(pixels[..., ::-1]).save(root / f'our485/{role}/2{suffix}', exif=turned)
    checked = check_datasets([root])
    sizes = {each.pair.key: each.gt.size for each in checked.measured}
    assert sizes['2'] == (200, 256)


def test_unusual_images_do_not_stop_a_check(root):
    """A single row of pixels, NaN values, and a data type that no dataset class reads."""
    for role in ('low', 'high'):
        write_image(root / f'our485/{role}/6.png', np.full((1, 5, 3), 20 if role == 'low' else 90, np.uint8))
        write_image(root / f'our485/{role}/7.tif', np.full((40, 48, 3), np.nan, np.float32))
        write_image(root / f'our485/{role}/8.tif', np.full((40, 48, 3), 0.5, np.float64))
    checked = check_datasets([root])
    assert {finding.pairs[0].pair.key for finding in checked.findings} == {'7', '8'}
    assert kinds(checked) == ['unreadable'] * 4


def test_the_contact_sheet_shows_the_worst_and_overwrites_nothing(root, tiles, tmp_path):
    cut_file(root, tiles)
    leak(root, tiles)
    checked = check_datasets([root])
    path = tmp_path / 'sheets/check.jpg'
    assert write_picture(checked, path) == path
    first = path.read_bytes()
    sheet = cv2.imread(str(path))
    assert sheet.shape[0] > 3 * 200
    assert sheet.std() > 20
    assert write_picture(checked, path) == path.with_name('check_2.jpg')
    assert unused_path(path) == path.with_name('check_3.jpg')
    assert path.read_bytes() == first


def test_a_contact_sheet_that_cannot_be_written_leaves_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'imwrite', lambda path, image: bool(Path(path).write_bytes(b'half')) and False)
    with pytest.raises(OSError, match='could not write .*check.jpg'):
        write_picture(check_datasets([root]), tmp_path / 'sheets/check.jpg')
    assert not list((tmp_path / 'sheets').iterdir())


def test_an_exclusion_list_is_never_overwritten(root, tmp_path):
    (tmp_path / 'fix.txt').write_text('mine')
    with pytest.raises(FileExistsError):
        write_exclusion_list(check_datasets([root]), tmp_path / 'fix.txt')
    assert (tmp_path / 'fix.txt').read_text() == 'mine'


def test_names_what_does_not_exist(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="^split: no 'val' under .*; there are train, test"):
        check_datasets([root], splits=['val'])
    with pytest.raises(FileNotFoundError, match='exclude: no file .*absent.txt'):
        check_datasets([root], exclude=tmp_path / 'absent.txt')
    with pytest.raises(FileNotFoundError, match='dataroot: no folder'):
        check_datasets([tmp_path / 'absent'])


def test_roots_of_the_same_name_are_told_apart(root, tiles, tmp_path):
    second = tmp_path / 'second' / root.name
    shutil.copytree(root, second)
    (root / 'our485/low/1.png').write_bytes(b'damaged')
    checked = check_datasets([root, second])
    (unreadable,) = [finding for finding in checked.findings if finding.kind == 'unreadable']
    assert unreadable.files == (f'{tmp_path.name}/LOLv1/our485/low/1.png',)
    write_exclusion_list(checked, tmp_path / 'list.txt')
    named = [line.partition('\t')[0] for line in (tmp_path / 'list.txt').read_text().splitlines()]
    assert f'{tmp_path.name}/LOLv1/train/1' in named
    options = {'phase': 'train', 'gt_size': 16}
    listed = tmp_path / 'one.txt'
    listed.write_text(f'{tmp_path.name}/LOLv1/train/1')
    counts = [
        len(LowLightPairedDataset({**options, 'dataroot': str(each), 'exclude': str(listed)}))
        for each in (root, second)
    ]
    assert counts == [2, 3]


def test_strips_are_checked():
    strip = np.random.default_rng(0).random((16, 16400), np.float32)
    assert shift(strip, strip) == (0, 0, 0)


@pytest.mark.parametrize(
    'name', ['a\tb', os.fsdecode(b'\xc4\xe3'), 'folder/' * 80 + 'a'], ids=['control', 'gbk', 'long']
)
def test_names_that_cannot_be_keys_are_found_and_train_all_the_same(name, root, tiles, tmp_path):
    put(root, 'our485', 9, 255 - tiles['our485'][0])
    for folder in ('low', 'high'):
        path = root / f'our485/{folder}/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / f'our485/{folder}/9.png').rename(path)
    checked = check_datasets([root])
    assert kinds(checked) == ['no_key']
    assert 'rename the file' in checked.findings[0].text
    (tmp_path / 'exclude.txt').write_text('1\n')
    assert len(check_datasets([root], exclude=tmp_path / 'exclude.txt').measured) == 5
