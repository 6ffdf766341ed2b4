import pytest

from basicsr_entropy.data.sets.pairing import Pair, match_keys


def match(lq, gt):
    """Pairs images that are named by their keys and an extension."""
    sides = ({f'{folder}/{key}.png': key for key in keys} for folder, keys in (('low', lq), ('high', gt)))
    return match_keys(*sides, 'low', 'high')


def keys(pairing):
    return [pair.key for pair in pairing.pairs]


def test_pairs_equal_keys_in_their_order():
    pairing = match(['b', 'a/1'], ['a/1', 'b'])
    assert pairing.pairs == [Pair('a/1', 'low/a/1.png', 'high/a/1.png'), Pair('b', 'low/b.png', 'high/b.png')]
    assert pairing.strict('here') == pairing.pairs


def test_removes_prefixes_from_base_names_only():
    pairing = match(['low-light/low00001', 'low-light/low_2'], ['low-light/normal00001', 'low-light/Normal-2'])
    assert keys(pairing) == ['low-light/00001', 'low-light/2']


def test_names_that_merely_begin_like_a_prefix_are_kept():
    assert keys(match(['lowland', 'normalcy'], ['normalcy', 'lowland'])) == ['lowland', 'normalcy']


def test_reports_unpaired_images_of_both_sides():
    pairing = match(['1', '2'], ['2', '3'])
    assert [tuple(fault) for fault in pairing.unpaired] == [
        ('1', 'lq', 'low/1.png', 'high'),
        ('3', 'gt', 'high/3.png', 'low'),
    ]
    with pytest.raises(
        ValueError,
        match='here: 2 low-light and 2 normal-light images do not pair; the first without a counterpart is low/1.png, '
        'no image of its name is in high',
    ):
        pairing.strict('here')
    assert keys(pairing.without({'1', '3'}.__contains__)) == ['2']
    assert pairing.without({'1', '3'}.__contains__).strict('here') == [Pair('2', 'low/2.png', 'high/2.png')]


def test_reports_clashing_names():
    pairing = match_keys({'1.png': '1', '1.jpg': '1'}, {'1.png': '1'}, 'low', 'high')
    assert [tuple(fault) for fault in pairing.clashing] == [('1', 'lq', '1.png', '1.jpg')]
    with pytest.raises(ValueError, match='here: 1.png and 1.jpg share a name'):
        pairing.strict('here')
