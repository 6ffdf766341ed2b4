import random

import numpy as np
import pytest
import torch
from helpers import photograph, write_image

from basicsr_entropy.data.datasets import LowLightDegradation, SyntheticLowLightDataset
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb


@pytest.fixture
def photographs(tmp_path):
    for index in range(3):
        write_image(tmp_path / f'photographs/{index}.png', photograph(index))
    return tmp_path / 'photographs'


def dataset(root, **options):
    return SyntheticLowLightDataset({'dataroot_gt': str(root), 'name': 'photos', 'phase': 'val', **options})


def test_darkens_by_the_stops_asked_for():
    image = np.full((64, 64, 3), 0.8)
    for stops in (2, 5):
        camera = LowLightDegradation(exposure=(stops, stops), white_balance=(1, 1), full_well=(1e6, 1e6), bits=16)
        dark = camera(image, np.random.default_rng(0))
        assert dark.mean() == pytest.approx(0.8 * 2 ** (-stops / 2.2), rel=0.01)


def test_noise_has_the_variance_of_counted_photons_and_readout():
    image = np.full((200, 200, 3), 0.5)
    camera = LowLightDegradation(
        gamma=1, exposure=(2, 2), white_balance=(1, 1), full_well=(1000, 1000), read_noise=(0.005, 0.005), bits=16
    )
    dark = camera(image, np.random.default_rng(0))
    assert dark.var() == pytest.approx(0.125 / 1000 + 0.005**2, rel=0.03)


def test_quantises_and_stays_in_range():
    image = np.random.default_rng(1).random((32, 32, 3))
    dark = LowLightDegradation(bits=4)(image, np.random.default_rng(0))
    assert dark.dtype == np.float32
    assert 0 <= dark.min() <= dark.max() <= 1
    np.testing.assert_allclose(dark * 15, np.round(dark * 15), atol=1e-5)


def test_white_balance_leaves_green_alone():
    image = np.full((64, 64, 3), 0.8)
    camera = LowLightDegradation(gamma=1, exposure=(1, 1), white_balance=(0.5, 0.5), full_well=(1e7, 1e7), bits=16)
    red, green, blue = camera(image, np.random.default_rng(0)).mean(axis=(0, 1))
    assert red == pytest.approx(green / 2, rel=0.01)
    assert blue == pytest.approx(green / 2, rel=0.01)


def test_validation_is_the_same_every_time_and_another_for_each_image(photographs):
    first, again, other = dataset(photographs), dataset(photographs), dataset(photographs, seed=1)
    assert len(first) == 3
    for a, b, c in zip(first, again, other):
        assert torch.equal(a['lq'], b['lq'])
        assert not torch.equal(a['lq'], c['lq'])
        assert a['lq'].mean() < 0.6 * a['gt'].mean()
        assert a['lq'].shape == a['gt'].shape == (3, 40, 48)
    ratios = {round((item['lq'].mean() / item['gt'].mean()).item(), 3) for item in first}
    assert len(ratios) == 3


def test_training_is_new_every_time_and_repeats_from_a_seed(photographs):
    train = dataset(photographs, phase='train', gt_size=16, use_hflip=True, use_rot=True)
    random.seed(0)
    first, second = train[0], train[0]
    random.seed(0)
    assert torch.equal(first['lq'], train[0]['lq'])
    assert not torch.equal(first['lq'], second['lq'])
    assert first['lq'].shape == (3, 16, 16)


@pytest.mark.parametrize('encoding', ['keep', 'raw'])
def test_reads_databases(lolv1, tmp_path, encoding):
    prepare_lmdb(lolv1, tmp_path, lmdb_format=LmdbFormat(encoding))
    assert len(dataset(tmp_path / 'train_gt.lmdb')) == 4
    assert dataset(tmp_path / 'train_gt.lmdb')[0]['gt'].shape == (3, 40, 48)
    (tmp_path / 'train_gt.lmdb').rename(tmp_path / 'night')
    assert len(dataset(tmp_path / 'night', io_backend={'type': 'lmdb'})) == 4
    with pytest.raises(
        FileNotFoundError, match=r'datasets.val \(photos\).dataroot_gt: .*LOLv1 is not an LMDB database'
    ):
        dataset(lolv1, io_backend={'type': 'lmdb'})


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (
            {'degradation': {'exposur': [1, 2]}},
            KeyError,
            r"degradation.exposur: unknown option; did you mean 'exposure'",
        ),
        ({'degradation': {'exposure': 3}}, ValueError, r'degradation.exposure: must be a list of numbers, got 3'),
        ({'degradation': {'exposure': [5, 4]}}, ValueError, 'the lower first'),
        ({'degradation': {'gamma': 0}}, ValueError, 'degradation.gamma: must be positive'),
        ({'degradation': {'bits': 0}}, ValueError, 'degradation.bits: must be an integer from 1 to 16'),
        ({'dataroot_gt': None}, KeyError, r'datasets.val \(photos\).dataroot_gt: missing'),
        ({'dataroot_gt': '/nowhere'}, FileNotFoundError, 'dataroot_gt: no folder /nowhere'),
        ({'gt_sice': 3}, KeyError, 'gt_sice'),
    ],
    ids=str,
)
def test_refuses_wrong_options(photographs, options, error, message):
    with pytest.raises(error, match=message):
        dataset(photographs, **options)


def test_names_the_images_that_do_not_fit(photographs):
    with pytest.raises(ValueError, match='a crop of 64 is larger than .*0.png, which is 48x40'):
        dataset(photographs, phase='train', gt_size=64)[0]
    (photographs / '1.png').write_bytes(b'damaged')
    with pytest.raises(ValueError, match='1.png cannot be read as an image'):
        dataset(photographs)[1]
    (photographs.parent / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no image in'):
        dataset(photographs.parent / 'empty')
