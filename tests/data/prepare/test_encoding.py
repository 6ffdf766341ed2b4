import numpy as np
import pytest
from helpers import photograph

from basicsr_entropy._images import decode_image
from basicsr_entropy.data.prepare.encoding import LmdbFormat


def starts_of_basicsr(length, size, step, thresh):
    """What BasicSR's extract_subimages computes along one side."""
    space = np.arange(0, length - size + 1, step)
    if length - (space[-1] + size) > thresh:
        space = np.append(space, length - size)
    return space.tolist()


@pytest.mark.parametrize('seed', range(30))
def test_boxes_are_those_of_basicsr(seed):
    rng = np.random.default_rng(seed)
    size, thresh = int(rng.integers(1, 40)), int(rng.integers(0, 20))
    step, height, width = int(rng.integers(1, size + 1)), *(int(n) for n in rng.integers(size, 130, 2))
    boxes = LmdbFormat('keep', size, step, thresh).boxes(height, width, 'x')
    tops, lefts = starts_of_basicsr(height, size, step, thresh), starts_of_basicsr(width, size, step, thresh)
    assert boxes == [(top, left) for top in tops for left in lefts]
    covered = np.zeros((height, width), bool)
    for top, left in boxes:
        assert top + size <= height
        assert left + size <= width
        covered[top : top + size, left : left + size] = True
    assert covered[: height - thresh, : width - thresh].all()  # only the rest strip may be lost


def test_names_and_defaults():
    lmdb_format = LmdbFormat('png', 20)
    assert (lmdb_format.step, lmdb_format.thresh) == (20, 0)
    assert list(lmdb_format.cut('a/b', photograph(0, 40, 48), 'x')) == [f'a/b_s{index:03d}' for index in range(1, 7)]
    assert LmdbFormat().cut('a', photograph(0), 'x')['a'].shape == (40, 48, 3)
    assert LmdbFormat('raw', 1).cut('a', photograph(0, 40, 48), 'x').keys() >= {'a_s999', 'a_s1920'}


@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
def test_encodes_without_loss(depth):
    image = photograph(2, 31, 17).astype(depth) * (257 if depth is np.uint16 else 1)
    view = image[3:20, 2:9]  # sub-images are no whole arrays
    decoded = decode_image(LmdbFormat('png').encode(view), 'x')
    pixels = np.frombuffer(LmdbFormat('raw').encode(view), image.dtype).reshape(view.shape)
    for each in (decoded, pixels):
        assert each.dtype == depth
        np.testing.assert_array_equal(each, view)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('jpeg',), "^encoding: must be one of keep, png, raw, got 'jpeg'"),
        (('keep', 0), '^crop_size: must be at least 1, got 0'),
        (('keep', 8, 0), '^step: must be at least 1, got 0'),
        (('keep', 8, 8, -1), '^thresh: must be at least 0, got -1'),
        (('keep', None, 8), '^step: has no effect without crop_size=...'),
        (('keep', None, None, 0), '^thresh: has no effect without crop_size=...'),
    ],
)
def test_refuses_wrong_formats(options, message):
    with pytest.raises(ValueError, match=message):
        LmdbFormat(*options)


def test_refuses_photographs_smaller_than_the_crop():
    with pytest.raises(ValueError, match='a.png is 48x40, smaller than crop_size=41'):
        LmdbFormat('keep', 41).boxes(40, 48, 'a.png')
