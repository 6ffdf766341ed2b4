import hashlib
import itertools
import shutil

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from helpers import manifest_of, photograph, write_image, write_pairs
from PIL import Image

import basicsr_entropy
from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.lmdb import LmdbReader, read_shapes
from basicsr_entropy.data.prepare import writer
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import estimate, prepare_lmdb
from basicsr_entropy.data.prepare.writer import LmdbSplitWriter


def test_keeps_the_bytes_of_every_image(lolv1, tmp_path):
    written = prepare_lmdb(lolv1, tmp_path / 'out')
    assert {split: (count.pairs, count.images) for split, count in written.items()} == {'train': (4, 4), 'test': (2, 2)}
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['test_gt.lmdb', 'test_lq.lmdb', 'train_gt.lmdb', 'train_lq.lmdb']
    for role, folder in (('lq', 'low'), ('gt', 'high')):
        database = tmp_path / f'out/train_{role}.lmdb'
        assert list(read_shapes(database)) == ['00001', '00002', '00003', '00004']
        assert LmdbReader(database).get('00003') == (lolv1 / f'our485/{folder}/00003.png').read_bytes()
        assert (database / 'meta_info.txt').read_text().splitlines()[0] == '00001.png (40,48,3) 1'


def test_stock_dataset_reads_our_databases(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['test'])
    stock = PairedImageDataset(
        {
            'dataroot_lq': str(tmp_path / 'test_lq.lmdb'),
            'dataroot_gt': str(tmp_path / 'test_gt.lmdb'),
            'io_backend': {'type': 'lmdb'},
            'phase': 'val',
            'scale': 1,
        }
    )
    ours = LowLightPairedDataset({'dataroot': str(lolv1), 'phase': 'val'})
    assert len(stock) == len(ours) == 2
    for a, b in zip(stock, ours):
        assert (a['lq'] == b['lq']).all()
        assert (a['gt'] == b['gt']).all()


def test_we_read_stock_databases(lolv1, tmp_path, capsys):
    for role, folder in (('lq', 'low'), ('gt', 'high')):
        source = lolv1 / 'eval15' / folder
        names = sorted(path.name for path in source.iterdir())
        keys = [name.removesuffix('.png') for name in names]
        # its guess of the map's size is too small for images this small
        make_lmdb_from_imgs(str(source), str(tmp_path / f'test_{role}.lmdb'), names, keys, map_size=2**24)
    databases = LowLightPairedDataset({'dataroot': str(tmp_path), 'phase': 'test'})
    folders = LowLightPairedDataset({'dataroot': str(lolv1), 'phase': 'test'})
    for a, b in zip(databases, folders):
        assert (a['lq'] == b['lq']).all()
        assert (a['gt'] == b['gt']).all()


def test_prefixed_names_share_keys(tmp_path):
    root = tmp_path / 'Real_captured'
    write_pairs(root / 'Train/Low', root / 'Train/Normal', 2, 'low', 'normal')
    prepare_lmdb(tmp_path, tmp_path / 'out')
    for role in ('lq', 'gt'):
        assert list(read_shapes(tmp_path / f'out/train_{role}.lmdb')) == ['00001', '00002']


def test_keys_keep_no_dot(tmp_path):
    for folder in ('low', 'high'):
        write_image(tmp_path / f'our485/{folder}/scene.1.png', photograph(1))
        write_image(tmp_path / f'our485/{folder}/scene.2.png', photograph(2))
    prepare_lmdb(tmp_path, tmp_path / 'out')
    assert list(read_shapes(tmp_path / 'out/train_lq.lmdb')) == ['scene_1', 'scene_2']


def test_map_grows(lolv1, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, '_FIRST_MAP_SIZE', 2**13)
    prepare_lmdb(lolv1, tmp_path, splits=['train'], lmdb_format=LmdbFormat('raw'))
    reader = LmdbReader(tmp_path / 'train_gt.lmdb')
    for key in reader.shapes:
        assert reader.get(key) == cv2.imread(str(lolv1 / f'our485/high/{key}.png')).tobytes()
    with pytest.raises(KeyError, match="train_gt.lmdb holds no image '40'"):
        reader.get('40')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda root: (root / 'our485/low/00002.png').write_bytes(b'PNG?'), 'low/00002.png cannot be read as an image'),
        (lambda root: (root / 'our485/high/00003.png').write_bytes(b''), 'high/00003.png cannot be read as an image'),
        (
            lambda root: write_image(root / 'our485/low/00002.png', photograph(2, 40, 40)),
            'low/00002.png is 40x40, but .*high/00002.png is 48x40',
        ),
    ],
)
def test_a_failure_leaves_nothing_behind(lolv1, tmp_path, damage, message):
    damage(lolv1)
    with pytest.raises(ValueError, match=message):
        prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'])
    assert not list((tmp_path / 'out').iterdir())


def test_never_writes_over_a_database(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['test'])
    before = (tmp_path / 'test_gt.lmdb/data.mdb').read_bytes()
    with pytest.raises(FileExistsError, match='test_lq.lmdb exists; remove it'):
        prepare_lmdb(lolv1, tmp_path)
    assert not (tmp_path / 'train_lq.lmdb').exists()  # said before any work was done
    assert (tmp_path / 'test_gt.lmdb/data.mdb').read_bytes() == before


def test_refuses_absent_splits_and_damaged_databases(lolv1, tmp_path):
    with pytest.raises(FileNotFoundError, match="^split: no 'val' under .*; there are train, test"):
        prepare_lmdb(lolv1, tmp_path, splits=['val'])
    with pytest.raises(FileNotFoundError, match='is not an LMDB database'):
        read_shapes(tmp_path)
    prepare_lmdb(lolv1, tmp_path, splits=['test'])
    (tmp_path / 'test_lq.lmdb/meta_info.txt').write_text('00001\n')
    with pytest.raises(ValueError, match="meta_info.txt, line 1: expected 'key.png"):
        read_shapes(tmp_path / 'test_lq.lmdb')


def test_large_photographs_are_kept_as_they_are(tmp_path):
    image = photograph(1, 300, 500)
    for folder in ('input', 'gt'):
        write_image(tmp_path / f'mini_val/{folder}/7.jpg', image)
    prepare_lmdb(tmp_path, tmp_path / 'out')
    assert LmdbReader(tmp_path / 'out/val_gt.lmdb').get('7') == cv2.imencode('.jpg', image)[1].tobytes()


def test_manifest_tells_what_is_inside(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'])
    manifest = manifest_of(tmp_path / 'out/train_lq.lmdb')
    files = sorted((lolv1 / 'our485/low').iterdir())
    assert (manifest['layout'], manifest['split'], manifest['role']) == ('lolv1', 'train', 'lq')
    assert (manifest['pairs'], manifest['images'], manifest['shapes']) == (4, 4, {'48x40 uint8': 4})
    assert manifest['source'] == {'lq': str(lolv1 / 'our485/low'), 'gt': str(lolv1 / 'our485/high')}
    assert manifest['bytes'] == sum(file.stat().st_size for file in files)
    assert manifest['sha256'] == {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert manifest['options'] == {'encoding': 'keep', 'crop_size': None, 'step': None, 'thresh': None}
    assert basicsr_entropy.__version__ in manifest['package']


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('encoding', ['keep', 'png', 'raw'])
def test_cuts_both_sides_by_the_same_boxes(lolv1, tmp_path, encoding, workers):
    lmdb_format = LmdbFormat(encoding, crop_size=20, step=16, thresh=4)
    written = prepare_lmdb(lolv1, tmp_path, splits=['test'], lmdb_format=lmdb_format, workers=workers)['test']
    assert (written.pairs, written.images) == (
        2,
        12,
    )  # tops 0, 16, 20; lefts 0, 16 (and 44 for pixels 36 to 40 is none)
    for role, folder in (('lq', 'low'), ('gt', 'high')):
        reader, photograph_ = LmdbReader(tmp_path / f'test_{role}.lmdb'), lolv1 / f'eval15/{folder}/00012.png'
        for name, part in lmdb_format.cut('00012', cv2.imread(str(photograph_)), 'x').items():
            with reader.image(name) as image:
                assert (image == part).all()


def test_stock_dataset_reads_our_sub_images(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['test'], lmdb_format=LmdbFormat('keep', 20))
    shutil.copytree(tmp_path, tmp_path / 'copy')  # a process opens a database once
    roots = {f'dataroot_{role}': str(tmp_path / f'copy/test_{role}.lmdb') for role in ('lq', 'gt')}
    stock = PairedImageDataset({**roots, 'io_backend': {'type': 'lmdb'}, 'phase': 'val', 'scale': 1})
    ours = LowLightPairedDataset({'dataroot': str(tmp_path), 'phase': 'val'})
    assert [item['lq_path'] for item in stock] == [item['lq_path'] for item in ours]
    assert all((a['gt'] == b['gt']).all() and a['gt'].shape == (3, 20, 20) for a, b in zip(stock, ours))


def test_names_of_any_script_depth_and_length(tmp_path):
    names = ['夜/路灯 1', 'été', 'a' * 200 + '/' + 'b' * 200]
    for name in names:
        for role, folder in (('low', 'input'), ('normal', 'target')):
            path = tmp_path / f'Train/{folder}/{name}.png'
            write_image(path.with_name('x.png'), photograph(len(role)))  # OpenCV writes plain names only
            path.with_name('x.png').rename(path)
    prepare_lmdb(tmp_path, tmp_path / 'out', lmdb_format=LmdbFormat('raw', 20))
    keys = read_shapes(tmp_path / 'out/train_lq.lmdb')
    assert {key.rpartition('_s')[0] for key in keys} == set(names)
    pairs = LowLightPairedDataset({'dataroot': str(tmp_path / 'out'), 'phase': 'val', 'split': 'train'})
    assert len([pair['lq'] for pair in pairs]) == len(keys)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('/'.join('abc' * 60 for _ in range(3)), '542 bytes, an LMDB key at most 511'),
        ('a\nb', 'holds a control character'),
    ],
)
def test_refuses_names_that_no_database_takes(tmp_path, name, message):
    for folder in ('input', 'target'):
        write_image(tmp_path / f'Train/{folder}/x.png', photograph(1))
        path = tmp_path / f'Train/{folder}/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f'Train/{folder}/x.png').rename(path)
    with pytest.raises(ValueError, match=message):
        prepare_lmdb(tmp_path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_refuses_names_that_differ_by_a_dot_only(tmp_path):
    for folder, name in itertools.product(('input', 'target'), ('a.1', 'a_1')):
        write_image(tmp_path / f'Train/{folder}/{name}.png', photograph(1))
    with pytest.raises(ValueError, match=r'input/a\.1\.png and .*input/a_1\.png would get the same LMDB key'):
        prepare_lmdb(tmp_path, tmp_path / 'out')


def test_bad_pairs_are_skipped_only_on_request(lolv1, tmp_path):
    (lolv1 / 'our485/high/00002.png').write_bytes(b'damaged')
    write_image(lolv1 / 'our485/low/00003.png', photograph(3, 30, 30))
    with pytest.raises(ValueError, match='high/00002.png cannot be read .*skip_bad=True'):
        prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'])
    written = prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'], skip_bad=True)['train']
    assert (written.pairs, written.skipped) == (2, 2)
    for role in ('lq', 'gt'):
        database = tmp_path / f'out/train_{role}.lmdb'
        assert list(read_shapes(database)) == ['00001', '00004']
        skipped = manifest_of(database)['skipped']
        assert [bad['gt'] for bad in skipped] == [str(lolv1 / f'our485/high/0000{n}.png') for n in (2, 3)]
        assert 'low/00003.png is 30x30, but' in skipped[1]['reason']
    for path in (lolv1 / 'eval15/low').iterdir():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match="split 'test': every pair was skipped"):
        prepare_lmdb(lolv1, tmp_path / 'out', splits=['test'], skip_bad=True)


def test_a_turned_photograph_does_not_pair_with_one_that_is_not(tmp_path):
    write_pairs(tmp_path / 'Train/input', tmp_path / 'Train/target', 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / 'Train/input/00001.png').save(tmp_path / 'Train/input/00001.png', exif=exif)
    message = 'input/00001.png is 40x48, but .*target/00001.png is 48x40'
    with pytest.raises(ValueError, match=message):
        prepare_lmdb(tmp_path, tmp_path / 'out')
    with pytest.raises(ValueError, match=message):
        estimate(tmp_path)
    with pytest.raises(ValueError, match=message.replace(', but', ',')):
        LowLightPairedDataset({'dataroot': str(tmp_path), 'phase': 'val', 'split': 'train'})[0]


@pytest.mark.parametrize('call', [estimate, lambda root, **options: prepare_lmdb(root, root / 'out', **options)])
def test_names_the_photograph_that_is_smaller_than_a_sub_image(lolv1, call):
    with pytest.raises(ValueError, match='low/00011.png is 48x40, smaller than crop_size=41 .*skip_bad=True'):
        call(lolv1, splits=['test'], lmdb_format=LmdbFormat('keep', 41))


@pytest.mark.parametrize(
    'lmdb_format', [LmdbFormat(), LmdbFormat('raw'), LmdbFormat('raw', 20, 16), LmdbFormat('png', 20)], ids=str
)
def test_a_dry_run_foresees_the_databases(lolv1, tmp_path, lmdb_format):
    foreseen, written = (
        estimate(lolv1, lmdb_format=lmdb_format),
        prepare_lmdb(lolv1, tmp_path / 'out', lmdb_format=lmdb_format),
    )
    assert foreseen.keys() == written.keys()
    for split, count in written.items():
        assert (foreseen[split].pairs, foreseen[split].images) == (count.pairs, count.images)
        assert foreseen[split].bytes == pytest.approx(count.bytes, rel=0.05 if lmdb_format.encoding == 'png' else 1e-9)


def test_two_runs_write_the_same(lolv1, tmp_path):
    for name, workers in (('a', 0), ('b', 2)):
        prepare_lmdb(lolv1, tmp_path / name, lmdb_format=LmdbFormat('png', 20), workers=workers)
    for split, role in itertools.product(('train', 'test'), ('lq', 'gt')):
        a, b = (tmp_path / f'{name}/{split}_{role}.lmdb' for name in 'ab')
        assert manifest_of(a) == manifest_of(b)
        assert (a / 'meta_info.txt').read_bytes() == (b / 'meta_info.txt').read_bytes()


def test_a_damaged_jpeg_file_is_written_with_a_warning(tmp_path):
    pytest.importorskip('simplejpeg')
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for folder in ('low', 'high'):
        write_image(tmp_path / f'our485/{folder}/1.jpg', noise)
    path = tmp_path / 'our485/low/1.jpg'
    content = path.read_bytes()
    path.write_bytes(content[:-400] + content[-200:])
    with pytest.warns(UserWarning, match='low/1.jpg: Corrupt JPEG data') as warned:
        prepare_lmdb(tmp_path, tmp_path / 'out')
    assert len(warned) == 1
    assert list(read_shapes(tmp_path / 'out/train_lq.lmdb')) == ['1']


def test_a_resumed_run_reads_skipped_pairs_again(lolv1, tmp_path, monkeypatch):
    bad = [lolv1 / f'our485/high/0000{number}.png' for number in (2, 3)]
    whole = [path.read_bytes() for path in bad]
    for path in bad:
        path.write_bytes(b'damaged')

    def killed(writer):
        writer._flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LmdbSplitWriter, 'finish', killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'], skip_bad=True)
    bad[0].write_bytes(whole[0])
    with pytest.raises(ValueError, match='high/00003.png cannot be read .*skip_bad=True'):
        prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'], resume=True)
    bad[1].write_bytes(whole[1])
    written = prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'], resume=True)['train']
    assert (written.pairs, written.skipped) == (4, 0)
    assert set(read_shapes(tmp_path / 'out/train_gt.lmdb')) == {f'0000{number}' for number in range(1, 5)}


def test_a_dry_run_knows_which_way_up_a_tiff_is(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    for folder, suffix, shape in (('input', 'png', (60, 40, 3)), ('target', 'tif', (40, 60, 3))):
        (tmp_path / 'Train' / folder).mkdir(parents=True)
        file = tmp_path / f'Train/{folder}/1.{suffix}'
        Image.fromarray(np.zeros(shape, np.uint8)).save(file, **({'exif': turned} if suffix == 'tif' else {}))
    assert estimate(tmp_path)['train'].pairs == prepare_lmdb(tmp_path, tmp_path / 'out')['train'].pairs == 1


@pytest.mark.parametrize('finished', [True, False])
def test_resumes_a_dataset_given_by_another_path(finished, lolv1, tmp_path, monkeypatch):
    monkeypatch.chdir(lolv1.parent)
    damaged = lolv1 / 'our485/high/00003.png'
    whole = damaged.read_bytes()
    if not finished:
        damaged.write_bytes(b'')
        with pytest.raises(ValueError, match='00003'):
            prepare_lmdb(lolv1.name, tmp_path / 'out', splits=['train'])
        damaged.write_bytes(whole)
    else:
        prepare_lmdb(lolv1.name, tmp_path / 'out', splits=['train'])
    assert prepare_lmdb(lolv1, tmp_path / 'out', splits=['train'], resume=True)['train'].pairs == 4
