import random

import pytest
import torch
from helpers import photograph, write_image

from basicsr_entropy._levels import level_histogram
from basicsr_entropy.data.datasets import SyntheticLowLightDataset
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb


@pytest.fixture
def photographs(tmp_path):
    for index in range(3):
        write_image(tmp_path / f'photographs/{index}.png', photograph(index))
    return tmp_path / 'photographs'


def dataset(root, **options):
    return SyntheticLowLightDataset({'dataroot_gt': str(root), 'name': 'photos', 'phase': 'val', **options})


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


def test_crops_of_a_photograph_know_how_dark_the_whole_of_it_is(photographs):
    even = {name: [0, 0] for name in ('local_exposure', 'shadows', 'vignette', 'light_sources', 'warmth')}
    degradation = {**even, 'exposure': [2, 2], 'contrast': [1, 1]}
    train = dataset(photographs, phase='train', gt_size=16, degradation=degradation)
    random.seed(0)
    histograms = torch.stack([train[0]['lq_histogram'] for _ in range(2)])
    whole = level_histogram(dataset(photographs, degradation=degradation)[0]['lq'][None])
    assert histograms.sum(dim=1).tolist() == pytest.approx([1, 1])
    means = (torch.cat([histograms, whole]) * torch.linspace(0, 1, 256)).sum(dim=1)
    assert means.max() < 1.1 * means.min()
    assert 'lq_histogram' not in dataset(photographs)[0]


def test_leaves_out_listed_photographs(photographs, tmp_path):
    (tmp_path / 'list.txt').write_text('# graphics\n1\ta poster\n')
    kept = dataset(photographs, exclude=str(tmp_path / 'list.txt'))
    assert [path.rpartition('/')[2] for path in kept.paths] == ['0.png', '2.png']
    with pytest.raises(FileNotFoundError, match=r'datasets.val \(photos\).exclude: no file /nowhere'):
        dataset(photographs, exclude='/nowhere')


def test_brings_ground_truths_into_a_range_of_means(photographs):
    plain, bright = dataset(photographs), dataset(photographs, gt_mean=[0.6, 0.7])
    for before, after in zip(plain, bright):
        assert before['gt'].mean() < 0.58
        assert after['gt'].mean() == pytest.approx(0.6, abs=0.01)
    kept = dataset(photographs, gt_mean=[0.01, 1])
    assert all(torch.equal(a['gt'], b['gt']) for a, b in zip(plain, kept))


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
        ({'degradation': {'gamma': 0}}, ValueError, 'degradation.gamma: must be a positive'),
        ({'degradation': {'bits': 0}}, ValueError, 'degradation.bits: must be an integer from 1 to 16'),
        ({'dataroot_gt': None}, KeyError, r'datasets.val \(photos\).dataroot_gt: missing'),
        ({'dataroot_gt': '/nowhere'}, FileNotFoundError, 'dataroot_gt: no folder /nowhere'),
        ({'gt_sice': 3}, KeyError, 'gt_sice'),
        ({'degradation': {'jpeg_quality': [50, 101]}}, ValueError, 'degradation.jpeg_quality: must be at most 100'),
        ({'gt_mean': [0.6, 0.4]}, ValueError, r'gt_mean: must be two numbers, the lower first, got \[0.6, 0.4\]'),
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
