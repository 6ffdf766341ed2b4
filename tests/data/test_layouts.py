from pathlib import Path

import pytest
from conftest import photograph, write_image, write_pairs

from basicsr_entropy.data.layouts import find_splits, pair_folders, shared_images


def keys(pairs):
    return [pair.key for pair in pairs]


@pytest.mark.parametrize(
    ('folders', 'layout', 'splits'),
    [
        (('our485/low', 'our485/high', 'eval15/low', 'eval15/high'), 'lolv1', {'train', 'test'}),
        (('OUR485/Low', 'OUR485/High'), 'lolv1', {'train'}),
        (('LOLdataset/our485/low', 'LOLdataset/our485/high'), 'lolv1', {'train'}),
        (('Train/input', 'Train/target', 'Test/input', 'Test/target'), 'lolv1', {'train', 'test'}),
        (('Real_captured/Train/Low', 'Real_captured/Train/Normal'), 'lolv2_real', {'train'}),
        (('real_captured/test/low', 'real_captured/test/normal'), 'lolv2_real', {'test'}),
        (('LOL-v2/Synthetic/Test/Low', 'LOL-v2/Synthetic/Test/Normal'), 'lolv2_synthetic', {'test'}),
        (('train/input', 'train/gt', 'mini_val/input', 'mini_val/gt'), 'ntire2024', {'train', 'val'}),
        (('minival/input', 'minival/target'), 'ntire2024', {'val'}),
    ],
    ids=str,
)
def test_recognises_published_layouts(tmp_path, folders, layout, splits):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    found = find_splits(tmp_path)
    assert {split.split for split in found} == splits
    assert {split.layout for split in found} == {layout}
    assert {split.split for split in find_splits(tmp_path, layout)} == splits
    for split in found:
        assert split.lq_folder.name.lower() in ('low', 'input')
        assert split.gt_folder.name.lower() in ('high', 'target', 'normal', 'gt')


@pytest.mark.parametrize(
    ('root', 'prefixes', 'layout'),
    [
        ('Real_captured', ('', ''), 'lolv2_real'),
        ('Synthetic', ('', ''), 'lolv2_synthetic'),
        ('somewhere', ('low', 'normal'), 'lolv2_real'),
    ],
)
def test_tells_the_two_sets_of_lol_v2_apart_from_inside(tmp_path, root, prefixes, layout):
    folder = tmp_path / root
    write_pairs(folder / 'Train/Low', folder / 'Train/Normal', 1, *prefixes)
    assert find_splits(folder)[0].layout == layout


def test_asks_when_several_layouts_are_there(tmp_path):
    for name in ('Real_captured', 'Synthetic'):
        for folder in ('Low', 'Normal'):
            (tmp_path / name / 'Train' / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match='set layout to lolv2_real or lolv2_synthetic'):
        find_splits(tmp_path)
    assert find_splits(tmp_path, 'lolv2_synthetic')[0].lq_folder == tmp_path / 'Synthetic/Train/Low'


def test_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder .*absent'):
        find_splits(tmp_path / 'absent')
    with pytest.raises(
        FileNotFoundError, match=r'no split of a known layout under .*LOL v1: \{our485/low,our485/high\}'
    ):
        find_splits(tmp_path)
    with pytest.raises(ValueError, match="no layout 'lolv3'; known are auto, lolv1"):
        find_splits(tmp_path, 'lolv3')


def test_pairs_by_name_whatever_the_extension_and_depth(tmp_path):
    write_image(tmp_path / 'low/a/1.png', photograph(1))
    write_image(tmp_path / 'high/a/1.jpg', photograph(1))
    write_image(tmp_path / 'low/2.PNG', photograph(2))
    write_image(tmp_path / 'high/2.png', photograph(2))
    (tmp_path / 'low/notes.txt').write_text('no image')
    (tmp_path / 'low/.hidden.png').write_bytes(b'')
    pairs = pair_folders(tmp_path / 'low', tmp_path / 'high', 'here')
    assert keys(pairs) == ['2', 'a/1']
    assert pairs[1].gt == str(tmp_path / 'high/a/1.jpg')


def test_takes_prefixes_off_base_names_only(tmp_path):
    root = tmp_path / 'low-light'
    write_pairs(root / 'low_scenes', root / 'normal_scenes', 2, 'low', 'normal')
    pairs = pair_folders(root / 'low_scenes', root / 'normal_scenes', 'here')
    assert keys(pairs) == ['00001', '00002']
    assert Path(pairs[0].lq).name == 'low00001.png'
    assert Path(pairs[0].gt).name == 'normal00001.png'


def test_names_that_merely_begin_like_a_prefix_stay(tmp_path):
    for name in ('lowland', 'normalcy'):
        for folder in ('low', 'high'):
            write_image(tmp_path / folder / f'{name}.png', photograph(1))
    assert keys(pair_folders(tmp_path / 'low', tmp_path / 'high', 'here')) == ['lowland', 'normalcy']


def test_numbers_with_gaps_pair_by_number_not_by_order(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 3)
    (tmp_path / 'input/00002.png').unlink()
    (tmp_path / 'target/00002.png').unlink()
    assert keys(pair_folders(tmp_path / 'input', tmp_path / 'target', 'here')) == ['00001', '00003']


@pytest.mark.parametrize(('side', 'other'), [('input', 'target'), ('target', 'input')])
def test_names_the_first_image_without_a_partner(tmp_path, side, other):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 3)
    (tmp_path / other / '00002.png').unlink()
    with pytest.raises(ValueError, match=f"split 'train': .*{side}/00002.png, nothing of its name is in .*{other}"):
        pair_folders(tmp_path / 'input', tmp_path / 'target', "split 'train'")


def test_refuses_empty_folders_and_shared_names(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 1)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='here: no image in the low-light folder .*empty'):
        pair_folders(tmp_path / 'empty', tmp_path / 'target', 'here')
    with pytest.raises(FileNotFoundError, match='here: no folder .*absent for the normal-light'):
        pair_folders(tmp_path / 'input', tmp_path / 'absent', 'here')
    write_image(tmp_path / 'input/00001.jpg', photograph(1))
    with pytest.raises(ValueError, match='share a name'):
        pair_folders(tmp_path / 'input', tmp_path / 'target', 'here')


def test_knows_which_sets_share_images():
    assert 'reappear' in shared_images({('lolv1', 'train'), ('lolv2_real', 'test')})
    assert shared_images({('lolv1', 'train'), ('lolv1', 'test'), ('lolv2_synthetic', 'test')}) is None
