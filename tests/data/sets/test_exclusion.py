import logging

import pytest

from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.prepare.prepare import prepare_lmdb
from basicsr_entropy.data.sets.exclusion import is_excluded, read_exclusion


def write(path, *lines):
    path.write_text('\n'.join(lines), encoding='utf-8')
    return str(path)


def keys(root, **options):
    options = {'phase': 'train', 'gt_size': 16, 'dataroot': str(root), **options}
    return [pair.key for pair in LowLightPairedDataset(options).pairs]


def test_reads_the_first_column(tmp_path):
    path = write(tmp_path / 'list.txt', '# of us', 'train/1\tdark: why', '', ' a b \t', '2')
    assert read_exclusion(path) == {'train/1', 'a b', '2'}


def test_names_are_whole():
    names = frozenset({'1', 'train/2', 'LOL/test/3', 'a_b'})
    assert is_excluded(names, '1')
    assert is_excluded(names, '1', 'test')
    assert is_excluded(names, '2', 'train')
    assert not is_excluded(names, '2', 'test')
    assert is_excluded(names, '3', 'test', ('data', 'LOL'))
    assert not is_excluded(names, '3', 'test', ('LOL', 'other'))
    assert not is_excluded(names, 'scene/1', 'train')
    assert is_excluded(names, 'a.b')  # its LMDB key


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_two_folders_take_the_names_of_their_phase(phase, lolv1, tmp_path):
    folders = {f'dataroot_{role}': str(lolv1 / f'our485/{name}') for role, name in (('lq', 'low'), ('gt', 'high'))}
    split = {'train': 'train', 'val': 'test'}[phase]
    listed = write(tmp_path / 'list.txt', f'{split}/00002', 'other/00003', '00004')
    options = {**folders, 'dataroot': None, 'phase': phase}
    assert keys(lolv1, **options, exclude=listed) == ['00001', '00003']
    other = write(tmp_path / 'other.txt', 'train/00001' if phase == 'val' else 'test/00001')
    assert len(keys(lolv1, **options, exclude=other)) == 4
    nested = {f'dataroot_{role}': str(lolv1 / 'our485') for role in ('lq', 'gt')}
    left = keys(lolv1, **{**options, **nested}, exclude=write(tmp_path / 'nested.txt', 'low/00001', 'high/00002'))
    assert left == ['high/00001', 'high/00003', 'high/00004', 'low/00002', 'low/00003', 'low/00004']


def test_names_of_no_pair_are_reported(lolv1, tmp_path, caplog):
    listed = write(tmp_path / 'list.txt', '00001', '00002.png', 'train/9', 'test/7', 'elsewhere/train/5')
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    try:
        assert keys(lolv1, exclude=listed) == ['00002', '00003', '00004']
    finally:
        logger.removeHandler(caplog.handler)
    assert f"exclude: {listed}: no image is named '00002.png' (and 1 more)" in caplog.text


def test_a_list_may_name_more_folders_of_the_root(lolv1, tmp_path):
    parent = lolv1.parent.name
    listed = write(tmp_path / 'list.txt', f'{parent}/{lolv1.name}/train/00001', f'other/{lolv1.name}/train/00002')
    assert keys(lolv1, exclude=listed) == ['00002', '00003', '00004']


@pytest.mark.parametrize('name', ['3\u202fPM', '写真\u30001', 'family \U0001f468\u200d\U0001f469', 'a\u00a0b'])
def test_pairs_may_have_any_printed_name(name, lolv1, tmp_path):
    for folder in ('low', 'high'):
        (lolv1 / f'our485/{folder}/00001.png').rename(lolv1 / f'our485/{folder}/{name}.png')
    listed = write(tmp_path / 'list.txt', name)
    assert name in keys(lolv1)
    prepare_lmdb(lolv1, tmp_path / 'databases')
    for root in (lolv1, tmp_path / 'databases'):
        assert len(keys(root)) == 4
        assert keys(root, exclude=listed) == ['00002', '00003', '00004']


def test_excludes_pairs_of_folders_and_of_databases(lolv1, tmp_path):
    listed = write(tmp_path / 'list.txt', 'train/00002\twhy', '00004', 'test/00003')
    prepare_lmdb(lolv1, tmp_path / 'databases')
    for root in (lolv1, tmp_path / 'databases'):
        assert keys(root, exclude=listed) == ['00001', '00003']
        assert keys(root, exclude=listed, phase='val') == ['00011', '00012']


def test_with_a_template_the_ground_truth_gives_the_key(lolv1, tmp_path):
    folders = {f'dataroot_{role}': str(lolv1 / f'our485/{name}') for role, name in (('lq', 'low'), ('gt', 'high'))}
    listed = write(tmp_path / 'list.txt', '00002')
    (tmp_path / 'meta.txt').write_text(''.join(f'0000{number}.png (40,48,3)\n' for number in (1, 2, 3)))
    for options in ({}, {'meta_info_file': str(tmp_path / 'meta.txt')}):
        left = keys(lolv1, **{**folders, 'dataroot': None, 'exclude': listed, **options})
        assert left == (['00001', '00003'] if options else ['00001', '00003', '00004'])


def test_an_unpaired_image_can_be_excluded(lolv1, tmp_path):
    (lolv1 / 'our485/low/00002.png').unlink()
    (lolv1 / 'our485/high/00003.png').unlink()
    with pytest.raises(ValueError, match=r'3 low-light and 3 normal-light images do not pair; .*low/00003.png'):
        keys(lolv1)
    with pytest.raises(ValueError, match='high/00002.png'):
        keys(lolv1, exclude=write(tmp_path / 'one.txt', '00003'))
    assert keys(lolv1, exclude=write(tmp_path / 'both.txt', '00002', '00003')) == ['00001', '00004']


def test_lists_are_utf8_with_or_without_mark(lolv1, tmp_path):
    (tmp_path / 'list.txt').write_text('train/00001\n', encoding='utf-8-sig')
    assert keys(lolv1, exclude=str(tmp_path / 'list.txt')) == ['00002', '00003', '00004']
    (tmp_path / 'list.txt').write_text('train/ä\n', encoding='latin-1')
    with pytest.raises(ValueError, match=r'datasets.train \(unnamed\): exclude: .*list.txt is not UTF-8 text'):
        keys(lolv1, exclude=str(tmp_path / 'list.txt'))


def test_names_what_is_wrong_with_a_list(lolv1, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'datasets.train \(unnamed\): exclude: no file .*absent.txt'):
        keys(lolv1, exclude=str(tmp_path / 'absent.txt'))
    everything = write(tmp_path / 'all.txt', *(f'0000{number}' for number in range(1, 5)))
    with pytest.raises(ValueError, match='exclude: .*all.txt leaves no pair'):
        keys(lolv1, exclude=everything)
