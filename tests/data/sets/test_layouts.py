import subprocess
import sys

import pytest
from helpers import write_pairs

from basicsr_entropy.data.sets.layouts import find_folders, leakage_warning


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
    detected, found = find_folders(tmp_path)
    assert detected == layout
    assert found.keys() == splits
    assert find_folders(tmp_path, layout) == (layout, found)
    for lq_folder, gt_folder in found.values():
        assert lq_folder.name.lower() in ('low', 'input')
        assert gt_folder.name.lower() in ('high', 'target', 'normal', 'gt')


@pytest.mark.parametrize(
    ('root', 'prefixes', 'layout'),
    [
        ('Real_captured', ('', ''), 'lolv2_real'),
        ('Synthetic', ('', ''), 'lolv2_synthetic'),
        ('somewhere', ('low', 'normal'), 'lolv2_real'),
    ],
)
def test_tells_the_two_datasets_of_lol_v2_apart_from_inside(tmp_path, root, prefixes, layout):
    folder = tmp_path / root
    write_pairs(folder / 'Train/Low', folder / 'Train/Normal', 1, *prefixes)
    assert find_folders(folder)[0] == layout


def test_asks_which_layout_if_there_are_several(tmp_path):
    for name in ('Real_captured', 'Synthetic'):
        for folder in ('Low', 'Normal'):
            (tmp_path / name / 'Train' / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match='set layout to lolv2_real or lolv2_synthetic'):
        find_folders(tmp_path)
    assert find_folders(tmp_path, 'lolv2_synthetic')[1]['train'][0] == tmp_path / 'Synthetic/Train/Low'


def test_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder .*absent'):
        find_folders(tmp_path / 'absent')
    with pytest.raises(
        FileNotFoundError, match=r'no split of a known layout under .*LOL v1: \{our485/low,our485/high\}'
    ):
        find_folders(tmp_path)
    with pytest.raises(ValueError, match="no layout 'lolv3'; known: auto, lolv1"):
        find_folders(tmp_path, 'lolv3')


def test_knows_which_splits_share_images():
    assert 'reappear' in leakage_warning({('lolv1', 'train'), ('lolv2_real', 'test')})
    assert leakage_warning({('lolv1', 'train'), ('lolv1', 'test'), ('lolv2_synthetic', 'test')}) is None


@pytest.mark.parametrize('module', ['layouts', 'pairing', 'exclusion', 'image_sources', 'splits', 'selection'])
def test_imports_without_torch_and_basicsr(module):
    code = (
        f'import sys, basicsr_entropy.data.sets.{module}; '
        "heavy = {'torch', 'basicsr', 'mmengine'} & sys.modules.keys(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
