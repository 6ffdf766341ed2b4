import random

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.data.paired_image_dataset import PairedImageDataset
from helpers import photograph, write_image

from basicsr_entropy.data.datasets import LowLightPairedDataset, SyntheticLowLightDataset

ALL = {'rescale': {'scale': 0.8}, 'exposure_jitter': [0.5, 2], 'mixup': {'beta': 1.2}}


def paired(root, **options):
    options = {'name': 'LOL', 'phase': 'train', 'gt_size': 16, 'dataroot': str(root), **options}
    return LowLightPairedDataset(options)


@pytest.fixture
def flat(tmp_path):
    """Pairs of even images: lq 0.1 and 0.2, gt 0.4 and 0.8."""
    for name, level in (('1', 0.4), ('2', 0.8)):
        for folder, gain in (('low', 0.25), ('high', 1)):
            write_image(tmp_path / f'our485/{folder}/{name}.png', np.full((40, 48, 3), level * gain * 255, np.uint8))
    return tmp_path


@pytest.fixture
def photographs(tmp_path):
    for index in range(3):
        write_image(tmp_path / f'photographs/{index}.png', photograph(index))
    return tmp_path / 'photographs'


def draw(dataset, count=200, seed=0):
    random.seed(seed)
    return [dataset[index % len(dataset)] for index in range(count)]


def test_what_is_off_draws_nothing(lolv1):
    folders = {f'dataroot_{role}': str(lolv1 / f'our485/{name}') for role, name in (('lq', 'low'), ('gt', 'high'))}
    shared = {'phase': 'train', 'gt_size': 16, 'scale': 1, 'use_hflip': True, 'use_rot': True, **folders}
    states = []
    for dataset in (
        PairedImageDataset({**shared, 'io_backend': {'type': 'disk'}}),
        LowLightPairedDataset({**shared, 'rescale': None, 'exposure_jitter': None, 'mixup': None}),
    ):
        random.seed(3)
        dataset[0]
        states.append(random.getstate())
    assert states[0] == states[1]


def test_rescaling_takes_both_sides_and_the_share_asked_for(tmp_path):
    ramp = np.tile(np.arange(0, 192, 2, dtype=np.uint8)[None, :, None], (80, 1, 3))
    for folder in ('low', 'high'):
        write_image(tmp_path / f'our485/{folder}/1.png', ramp)
    items = draw(paired(tmp_path, gt_size=32, rescale={'prob': 0.3, 'scale': 0.5}))
    steps = [float((item['gt'][0, :, 1:] - item['gt'][0, :, :-1]).mean()) * 255 for item in items]
    assert set(np.round(steps)) == {2, 4}
    assert np.mean(np.round(steps) == 4) == pytest.approx(0.3, abs=0.1)
    assert all(torch.equal(item['lq'], item['gt']) for item in items)


def test_rescaling_keeps_the_factor_of_another_scale(tmp_path):
    image = photograph(1, 80, 120)
    write_image(tmp_path / 'gt/1.png', image)
    write_image(tmp_path / 'lq/1.png', image[::2, ::2])
    folders = {'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_gt': str(tmp_path / 'gt'), 'scale': 2}
    item = paired(None, dataroot=None, **folders, gt_size=16, rescale={'prob': 1, 'scale': 0.77})
    assert item[0]['lq'].shape == (3, 8, 8)
    assert item[0]['gt'].shape == (3, 16, 16)


def test_exposure_changes_the_input_only(flat):
    items = draw(paired(flat, exposure_jitter=[0.5, 8]))
    gains = [float(item['lq'].max() / item['gt'].max()) * 4 for item in items]
    assert {round(float(item['gt'].max()), 2) for item in items} == {0.4, 0.8}
    assert min(gains) == pytest.approx(0.5, abs=0.2)
    assert max(float(item['lq'].max()) for item in items) == 1  # clipped, as a sensor does


def test_mixup_mixes_both_sides_alike(flat):
    items = draw(paired(flat, mixup={'beta': 1.2, 'prob': 0.5}))
    gts = np.array([float(item['gt'].mean()) for item in items])
    lqs = np.array([float(item['lq'].mean()) for item in items])
    np.testing.assert_allclose(lqs, gts / 4, atol=0.004)
    mixed = (gts > 0.41) & (gts < 0.79)
    assert mixed.mean() == pytest.approx(0.25, abs=0.08)  # half of the draws mix, half of those with the other
    assert gts[mixed].std() > 0.05


def test_repeats_from_a_seed(lolv1, photographs):
    synthetic = SyntheticLowLightDataset(
        {
            'phase': 'train',
            'dataroot_gt': str(photographs),
            'gt_size': 16,
            'mixup': {'beta': 1},
            'rescale': {'scale': 0.8},
        }
    )
    for dataset in (paired(lolv1, **ALL), synthetic):
        first, again, other = (draw(dataset, 8, seed) for seed in (1, 1, 2))
        assert all(torch.equal(a['lq'], b['lq']) and torch.equal(a['gt'], b['gt']) for a, b in zip(first, again))
        assert any(not torch.equal(a['gt'], b['gt']) for a, b in zip(first, other))
        assert all(item['lq'].shape == item['gt'].shape == (3, 16, 16) for item in first)


@pytest.mark.parametrize('workers', [0, 2])
def test_repeats_in_the_workers_of_basicsrs_loader(lolv1, workers):
    options = {'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': workers}
    runs = []
    for _ in range(2):
        random.seed(5)
        torch.manual_seed(5)
        loader = build_dataloader(paired(lolv1, **ALL), options, num_gpu=0, seed=5)
        runs.append(torch.cat([batch['lq'] for batch in loader]))
    assert torch.equal(*runs)


def test_validation_is_left_alone(lolv1):
    plain, augmented = paired(lolv1, phase='val'), paired(lolv1, phase='val', **ALL)
    assert all(torch.equal(a['lq'], b['lq']) and torch.equal(a['gt'], b['gt']) for a, b in zip(plain, augmented))


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'rescale': 0.8}, ValueError, r'datasets.train \(LOL\).rescale: must be a mapping of options, got 0.8'),
        ({'rescale': {'prob': 0.2}}, KeyError, 'rescale.scale: missing'),
        ({'rescale': {'scale': 0}}, ValueError, 'rescale.scale: must be a number above 0, got 0'),
        (
            {'rescale': {'prob': 2, 'scale': 1}},
            ValueError,
            'rescale.prob: must be a number above 0 and at most 1, got 2',
        ),
        ({'rescale': {'skale': 1}}, KeyError, "rescale.skale: unknown option; did you mean 'scale'"),
        ({'mixup': {'prob': 1}}, KeyError, 'mixup.beta: missing'),
        ({'mixup': {'beta': True}}, ValueError, 'mixup.beta: must be a number above 0, got true'),
        ({'mixupp': {'beta': 1}}, KeyError, "mixupp: unknown option; did you mean 'mixup'"),
        ({'exposure_jitter': 1.5}, ValueError, 'exposure_jitter: must be a list of 2 numbers above 0, got 1.5'),
        ({'exposure_jitter': [2, 1]}, ValueError, 'the lower first'),
        ({'gt_sizes': []}, ValueError, 'gt_sizes: must be a list of integers of at least 1'),
        ({'gt_sizes': [8, 32]}, ValueError, r'gt_size: must be the largest of gt_sizes, 32, got 16'),
    ],
    ids=str,
)
def test_refuses_wrong_options(lolv1, options, error, message):
    with pytest.raises(error, match=message):
        paired(lolv1, **options)


def test_names_an_image_too_small_once_rescaled(lolv1):
    with pytest.raises(ValueError, match=r'a crop of 36 is larger than .*, which is 38x32 \(rescaled\)'):
        paired(lolv1, gt_size=36, rescale={'prob': 1, 'scale': 0.8})[0]


def test_crops_are_of_the_largest_size_of_a_schedule(lolv1, photographs):
    sizes = {'gt_sizes': [8, 24, 16], 'gt_size': None}
    assert paired(lolv1, **sizes)[0]['gt'].shape == (3, 24, 24)
    options = {'phase': 'train', 'dataroot_gt': str(photographs), **sizes}
    assert SyntheticLowLightDataset(options)[0]['gt'].shape == (3, 24, 24)
    with pytest.raises(KeyError, match='exposure_jitter: unknown option'):
        SyntheticLowLightDataset({**options, 'exposure_jitter': [1, 2]})
