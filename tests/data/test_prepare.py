import cv2
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from conftest import photograph, write_image, write_pairs

from basicsr_entropy.data import LowLightPairedDataset, Recipe, prepare_stores, store_writer
from basicsr_entropy.data.lmdb_store import StoreReader, read_shapes


def test_keeps_the_bytes_of_every_image(lolv1, tmp_path):
    written = prepare_stores(lolv1, tmp_path / 'out')
    assert {split: (count.pairs, count.images) for split, count in written.items()} == {'train': (4, 4), 'test': (2, 2)}
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['test_gt.lmdb', 'test_lq.lmdb', 'train_gt.lmdb', 'train_lq.lmdb']
    for role, folder in (('lq', 'low'), ('gt', 'high')):
        store = tmp_path / f'out/train_{role}.lmdb'
        assert list(read_shapes(store)) == ['00001', '00002', '00003', '00004']
        assert StoreReader(store).get('00003') == (lolv1 / f'our485/{folder}/00003.png').read_bytes()
        assert (store / 'meta_info.txt').read_text().splitlines()[0] == '00001.png (40,48,3) 1'


def test_stock_dataset_reads_our_stores(lolv1, tmp_path):
    prepare_stores(lolv1, tmp_path, splits=['test'])
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


def test_we_read_stock_stores(lolv1, tmp_path, capsys):
    for role, folder in (('lq', 'low'), ('gt', 'high')):
        source = lolv1 / 'eval15' / folder
        names = sorted(path.name for path in source.iterdir())
        keys = [name.removesuffix('.png') for name in names]
        # its guess of the map's size is too small for images this small
        make_lmdb_from_imgs(str(source), str(tmp_path / f'test_{role}.lmdb'), names, keys, map_size=2**24)
    stores = LowLightPairedDataset({'dataroot': str(tmp_path), 'phase': 'test'})
    folders = LowLightPairedDataset({'dataroot': str(lolv1), 'phase': 'test'})
    for a, b in zip(stores, folders):
        assert (a['lq'] == b['lq']).all()
        assert (a['gt'] == b['gt']).all()


def test_prefixed_names_share_keys(tmp_path):
    root = tmp_path / 'Real_captured'
    write_pairs(root / 'Train/Low', root / 'Train/Normal', 2, 'low', 'normal')
    prepare_stores(tmp_path, tmp_path / 'out')
    for role in ('lq', 'gt'):
        assert list(read_shapes(tmp_path / f'out/train_{role}.lmdb')) == ['00001', '00002']


def test_keys_keep_no_dot(tmp_path):
    for folder in ('low', 'high'):
        write_image(tmp_path / f'our485/{folder}/scene.1.png', photograph(1))
        write_image(tmp_path / f'our485/{folder}/scene.2.png', photograph(2))
    prepare_stores(tmp_path, tmp_path / 'out')
    assert list(read_shapes(tmp_path / 'out/train_lq.lmdb')) == ['scene_1', 'scene_2']


def test_map_grows(lolv1, tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, '_FIRST_MAP_SIZE', 2**13)
    prepare_stores(lolv1, tmp_path, splits=['train'], recipe=Recipe('raw'))
    reader = StoreReader(tmp_path / 'train_gt.lmdb')
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
        prepare_stores(lolv1, tmp_path / 'out', splits=['train'])
    assert not list((tmp_path / 'out').iterdir())


def test_never_writes_over_a_store(lolv1, tmp_path):
    prepare_stores(lolv1, tmp_path, splits=['test'])
    before = (tmp_path / 'test_gt.lmdb/data.mdb').read_bytes()
    with pytest.raises(FileExistsError, match='test_lq.lmdb exists; remove it'):
        prepare_stores(lolv1, tmp_path)
    assert not (tmp_path / 'train_lq.lmdb').exists()  # said before any work was done
    assert (tmp_path / 'test_gt.lmdb/data.mdb').read_bytes() == before


def test_refuses_absent_splits_and_odd_stores(lolv1, tmp_path):
    with pytest.raises(FileNotFoundError, match='--split val: not under .*; there are train, test'):
        prepare_stores(lolv1, tmp_path, splits=['val'])
    with pytest.raises(FileNotFoundError, match='is no LMDB store'):
        read_shapes(tmp_path)
    prepare_stores(lolv1, tmp_path, splits=['test'])
    (tmp_path / 'test_lq.lmdb/meta_info.txt').write_text('00001\n')
    with pytest.raises(ValueError, match="meta_info.txt, line 1: expected 'key.png"):
        read_shapes(tmp_path / 'test_lq.lmdb')


def test_large_photographs_are_kept_as_they_are(tmp_path):
    image = photograph(1, 300, 500)
    for folder in ('input', 'gt'):
        write_image(tmp_path / f'mini_val/{folder}/7.jpg', image)
    prepare_stores(tmp_path, tmp_path / 'out')
    assert StoreReader(tmp_path / 'out/val_gt.lmdb').get('7') == cv2.imencode('.jpg', image)[1].tobytes()
