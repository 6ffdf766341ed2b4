import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import photograph, write_image, write_pairs

from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb
from basicsr_entropy.data.sets.image_sources import FolderImages
from basicsr_entropy.data.sets.splits import Split, find_splits


def split_of(lq, gt, name=''):
    return Split(FolderImages(lq), FolderImages(gt), name)


def keys(pairs):
    return [pair.key for pair in pairs]


def test_pairs_by_name_whatever_the_extension_and_depth(tmp_path):
    write_image(tmp_path / 'low/a/1.png', photograph(1))
    write_image(tmp_path / 'high/a/1.jpg', photograph(1))
    write_image(tmp_path / 'low/2.PNG', photograph(2))
    write_image(tmp_path / 'high/2.png', photograph(2))
    (tmp_path / 'low/notes.txt').write_text('no image')
    (tmp_path / 'low/.hidden.png').write_bytes(b'')
    pairs = split_of(tmp_path / 'low', tmp_path / 'high').pairs
    assert keys(pairs) == ['2', 'a/1']
    assert pairs[1].gt == str(tmp_path / 'high/a/1.jpg')


def test_removes_prefixes_from_base_names_only(tmp_path):
    root = tmp_path / 'low-light'
    write_pairs(root / 'low_scenes', root / 'normal_scenes', 2, 'low', 'normal')
    pairs = split_of(root / 'low_scenes', root / 'normal_scenes').pairs
    assert keys(pairs) == ['00001', '00002']
    assert Path(pairs[0].lq).name == 'low00001.png'
    assert Path(pairs[0].gt).name == 'normal00001.png'


def test_names_that_merely_begin_like_a_prefix_are_kept(tmp_path):
    for name in ('lowland', 'normalcy'):
        for folder in ('low', 'high'):
            write_image(tmp_path / folder / f'{name}.png', photograph(1))
    assert keys(split_of(tmp_path / 'low', tmp_path / 'high').pairs) == ['lowland', 'normalcy']


def test_numbers_with_gaps_pair_by_number_not_by_order(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 3)
    (tmp_path / 'input/00002.png').unlink()
    (tmp_path / 'target/00002.png').unlink()
    assert keys(split_of(tmp_path / 'input', tmp_path / 'target').pairs) == ['00001', '00003']


@pytest.mark.parametrize(('side', 'other'), [('input', 'target'), ('target', 'input')])
def test_names_the_first_unpaired_image(tmp_path, side, other):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 3)
    (tmp_path / other / '00002.png').unlink()
    with pytest.raises(ValueError, match=f"split 'train': .*{side}/00002.png, no image of its name is in .*{other}"):
        split_of(tmp_path / 'input', tmp_path / 'target', 'train').pairs  # noqa: B018


def test_refuses_empty_folders_and_shared_names(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 1)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match="split 'val': no low-light images in .*empty"):
        split_of(tmp_path / 'empty', tmp_path / 'target', 'val').pairs  # noqa: B018
    with pytest.raises(FileNotFoundError, match="split 'val': normal-light images: no folder .*absent"):
        split_of(tmp_path / 'input', tmp_path / 'absent', 'val').pairs  # noqa: B018
    write_image(tmp_path / 'input/00001.jpg', photograph(1))
    with pytest.raises(ValueError, match='dataroot_lq and dataroot_gt: .*00001.* share a name'):
        split_of(tmp_path / 'input', tmp_path / 'target').pairs  # noqa: B018


def test_a_pairing_reports_every_fault_but_those_of_excluded_images(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 4)
    (tmp_path / 'input/00002.png').unlink()
    (tmp_path / 'target/00003.png').unlink()
    write_image(tmp_path / 'input/00004.jpg', photograph(1))
    split = split_of(tmp_path / 'input', tmp_path / 'target')
    pairing = split.pairing
    assert keys(pairing.pairs) == ['00001', '00004']
    assert [(fault.role, fault.key) for fault in pairing.unpaired] == [('lq', '00003'), ('gt', '00002')]
    assert [(fault.role, fault.key, Path(fault.other).name) for fault in pairing.clashing] == [
        ('lq', '00004', '00004.png')
    ]
    for excluded in ({'00002', '00003'}, {'00004'}):
        with pytest.raises(ValueError, match='dataroot_lq and dataroot_gt: '):
            split.without(frozenset(excluded)).pairs  # noqa: B018
    assert keys(split.without(frozenset({'00002', '00003', '00004'})).pairs) == ['00001']


@pytest.mark.parametrize('encoding', ['folders', 'keep', 'raw'])
def test_finds_splits_and_opens_their_images_wherever_they_lie(lolv1, tmp_path, encoding):
    root = lolv1
    if encoding != 'folders':
        root = tmp_path / 'databases'
        prepare_lmdb(lolv1, root, lmdb_format=LmdbFormat(encoding))
    splits = find_splits(root)
    assert [split.name for split in splits] == ['train', 'test']
    for split, folder in zip(splits, ('our485', 'eval15')):
        assert split.root == root
        assert split.origin == ('lolv1', split.name)
        split = pickle.loads(pickle.dumps(split))
        for pair in split.pairs:
            for role, side in (('lq', 'low'), ('gt', 'high')):
                file = lolv1 / folder / side / f'{pair.key}.png'
                with split.open(role, getattr(pair, role)) as image:
                    np.testing.assert_array_equal(image, cv2.imread(str(file)))
                expected = file if encoding == 'folders' else root / f'{split.name}_{role}.lmdb' / pair.key
                assert split.path(role, getattr(pair, role)) == str(expected)


def test_the_backend_chooses_between_folders_and_databases(lolv1):
    assert [split.origin for split in find_splits(lolv1, backend='lmdb')] == []
    prepare_lmdb(lolv1, lolv1, splits=['test'])
    assert [split.name for split in find_splits(lolv1)] == ['test']
    assert [split.name for split in find_splits(lolv1, backend='disk')] == ['train', 'test']


def test_a_damaged_split_does_not_disturb_the_others(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path / 'databases')
    (tmp_path / 'databases/test_lq.lmdb/manifest.json').write_text('{')
    train, test = find_splits(tmp_path / 'databases')
    assert len(train.pairs) == 4
    with pytest.raises(ValueError, match='test_lq.lmdb/manifest.json is damaged'):
        test.pairs  # noqa: B018


def test_databases_of_prefixed_names_pair_as_folders_do(tmp_path):
    """BasicSR's own tools keep the prefixes of LOL v2 real in the keys."""
    write_pairs(tmp_path / 'lq/Train/input', tmp_path / 'lq/Train/target', 2, 'low', 'low')
    write_pairs(tmp_path / 'gt/Train/input', tmp_path / 'gt/Train/target', 2, 'normal', 'normal')
    out = tmp_path / 'databases'
    for role in ('lq', 'gt'):
        prepare_lmdb(tmp_path / role, tmp_path / f'{role}_databases')
        out.mkdir(exist_ok=True)
        (tmp_path / f'{role}_databases/train_{role}.lmdb').rename(out / f'train_{role}.lmdb')
    (split,) = find_splits(out)
    assert [(pair.lq, pair.gt) for pair in split.pairs] == [('low00001', 'normal00001'), ('low00002', 'normal00002')]
