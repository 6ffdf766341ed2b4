from pathlib import Path

import pytest
from helpers import photograph, write_image, write_pairs

from basicsr_entropy.data.sets.pairing import match_folders, pair_folders


def keys(pairs):
    return [pair.key for pair in pairs]


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


def test_a_match_tells_all_that_is_odd_and_forgives_what_is_left_out(tmp_path):
    write_pairs(tmp_path / 'input', tmp_path / 'target', 4)
    (tmp_path / 'input/00002.png').unlink()
    (tmp_path / 'target/00003.png').unlink()
    write_image(tmp_path / 'input/00004.jpg', photograph(1))
    matched = match_folders(tmp_path / 'input', tmp_path / 'target', 'here')
    assert keys(matched.pairs) == ['00001', '00004']
    assert [(odd.role, odd.key) for odd in matched.alone] == [('lq', '00003'), ('gt', '00002')]
    assert [(odd.role, odd.key, Path(odd.other).name) for odd in matched.clashing] == [('lq', '00004', '00004.png')]
    for left_out in ({'00002', '00003'}, {'00004'}):
        with pytest.raises(ValueError, match='here: '):
            matched.without(left_out.__contains__).strict('here')
    assert keys(matched.without({'00002', '00003', '00004'}.__contains__).strict('here')) == ['00001']
