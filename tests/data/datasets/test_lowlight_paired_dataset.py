import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from helpers import photograph, write_image, write_pairs

from basicsr_entropy._levels import level_histogram
from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb

ALL = {'rescale': {'prob': 0.5, 'scale': 0.8}, 'exposure_jitter': [0.5, 2], 'mixup': {'beta': 1.2}}
TRAIN = {'phase': 'train', 'name': 'LOL', 'gt_size': 16, 'use_hflip': True, 'use_rot': True}


def dataset(root, **options):
    return LowLightPairedDataset({'dataroot': str(root), 'name': 'LOL', 'phase': 'val', **options})


def test_splits_follow_the_phase(lolv1):
    assert len(dataset(lolv1, **TRAIN)) == 4
    assert len(dataset(lolv1)) == len(dataset(lolv1, phase='test')) == 2
    assert len(dataset(lolv1, split='train')) == 4
    with pytest.raises(
        FileNotFoundError, match=r"datasets.val \(LOL\): split: no 'val' under .*; splits there: test, train"
    ):
        dataset(lolv1, split='val')
    with pytest.raises(ValueError, match="split: must be one of train, val or test, got 'eval'"):
        dataset(lolv1, split='eval')


def test_falls_back_to_the_validation_split_where_there_is_no_test_split(tmp_path):
    write_pairs(tmp_path / 'mini_val/input', tmp_path / 'mini_val/gt', 3)
    assert len(dataset(tmp_path)) == 3


def test_items_are_those_of_the_stock_dataset(lolv1):
    options = {
        **TRAIN,
        'dataroot_lq': str(lolv1 / 'our485/low'),
        'dataroot_gt': str(lolv1 / 'our485/high'),
        'io_backend': {'type': 'disk'},
        'scale': 1,
        'mean': [0.5, 0.5, 0.5],
        'std': [0.5, 0.5, 0.5],
    }
    stock = PairedImageDataset(dict(options))
    order = {path['gt_path']: index for index, path in enumerate(stock.paths)}
    ours = LowLightPairedDataset(options)
    for index in range(4):
        random.seed(index)
        a = ours[index]
        random.seed(index)
        b = stock[order[a['gt_path']]]
        assert a.keys() == b.keys() | {'lq_histogram'}
        assert torch.equal(a['lq'], b['lq'])
        assert torch.equal(a['gt'], b['gt'])
        assert a['lq'].shape == (3, 16, 16)
        assert (a['lq_path'], a['gt_path']) == (b['lq_path'], b['gt_path'])


@pytest.mark.parametrize('augmentation', [{}, ALL], ids=['plain', 'augmented'])
@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
@pytest.mark.parametrize('encoding', ['keep', 'png', 'raw'])
def test_the_same_crops_whatever_the_encoding(tmp_path, encoding, depth, augmentation):
    for index, folder in itertools.product(range(3), ('input', 'target')):
        image = photograph(index, 40 + index, 51).astype(depth) * (257 if depth is np.uint16 else 1) + index
        write_image(tmp_path / f'Train/{folder}/{index}.png', image)
    prepare_lmdb(tmp_path, tmp_path / 'databases', lmdb_format=LmdbFormat(encoding))
    folders, databases = (dataset(root, **TRAIN, **augmentation) for root in (tmp_path, tmp_path / 'databases'))
    for seed, index in itertools.product(range(5), range(3)):
        items = []
        for source in (folders, databases):
            random.seed(seed)
            items.append(source[index])
        assert torch.equal(items[0]['lq'], items[1]['lq'])
        assert torch.equal(items[0]['gt'], items[1]['gt'])
    exact = torch.from_numpy(image[..., ::-1] / np.iinfo(depth).max).permute(2, 0, 1).float()
    whole = dataset(tmp_path / 'databases', split='train')[2]['gt']
    torch.testing.assert_close(whole, exact, atol=1e-7, rtol=0)


def test_color_y_gives_one_channel(lolv1):
    item = dataset(lolv1, color='y')[0]
    assert item['lq'].shape == item['gt'].shape == (1, 40, 48)


@pytest.mark.parametrize('color', [{}, {'color': 'y'}], ids=str)
def test_the_histogram_is_that_of_what_a_model_sees(lolv1, color):
    whole = LowLightPairedDataset({**TRAIN, **color, 'phase': 'val', 'dataroot': str(lolv1), 'split': 'train'})[0]
    crop = dataset(lolv1, **TRAIN, **color)[0]
    assert crop['lq_path'] == whole['lq_path']
    torch.testing.assert_close(crop['lq_histogram'], level_histogram(whole['lq'][None])[0])


def test_crops_of_a_pair_are_of_one_place(tmp_path):
    image = photograph(3, 64, 64)
    write_image(tmp_path / 'our485/low/1.png', image)
    write_image(tmp_path / 'our485/high/1.png', image)
    item = dataset(tmp_path, **TRAIN)[0]
    assert torch.equal(item['lq'], item['gt'])


def test_folders_and_databases_of_one_set_are_the_same(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path / 'databases')
    folders = dataset(lolv1)
    for options in ({}, {'io_backend': {'type': 'lmdb'}}):
        databases = dataset(tmp_path / 'databases', **options)
        assert len(databases) == len(folders)
        for a, b in zip(databases, folders):
            assert torch.equal(a['lq'], b['lq'])
            assert torch.equal(a['gt'], b['gt'])
    named = LowLightPairedDataset(
        {
            'phase': 'val',
            'dataroot_lq': str(tmp_path / 'databases/test_lq.lmdb'),
            'dataroot_gt': str(tmp_path / 'databases/test_gt.lmdb'),
        }
    )
    assert torch.equal(named[1]['lq'], folders[1]['lq'])


@pytest.mark.parametrize('workers', [0, 2])
def test_databases_serve_the_workers_of_basicsrs_loader(lolv1, tmp_path, workers):
    prepare_lmdb(lolv1, tmp_path / 'databases')
    options = {
        **TRAIN,
        'type': 'LowLightPairedDataset',
        'dataroot': str(tmp_path / 'databases'),
        'batch_size_per_gpu': 2,
        'num_worker_per_gpu': workers,
    }
    databases = build_dataset(options)
    databases[0]  # the parent process has the database open
    loader = build_dataloader(databases, options, num_gpu=0, seed=0)
    batches = list(loader)
    assert [batch['lq'].shape for batch in batches] == [(2, 3, 16, 16)] * 2
    assert databases[0]['gt'].shape == (3, 16, 16)  # and has it again after the workers were forked
    assert pickle.loads(pickle.dumps(databases))[0]['gt'].shape == (3, 16, 16)  # as spawned workers receive it


def test_filename_template_and_meta_info_keep_their_meaning(tmp_path):
    write_pairs(tmp_path / 'lq', tmp_path / 'gt', 3)
    for path in list((tmp_path / 'lq').iterdir()):
        path.rename(path.with_name(f'{path.stem}_dark.png'))
    folders = {'phase': 'val', 'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_gt': str(tmp_path / 'gt')}
    assert len(LowLightPairedDataset({**folders, 'filename_tmpl': '{}_dark'})) == 3
    with pytest.raises(ValueError, match='filename_tmpl: .*_night.png is not in lq_paths'):
        LowLightPairedDataset({**folders, 'filename_tmpl': '{}_night'})
    (tmp_path / 'meta.txt').write_text('00001.png (40,48,3)\n00003.png (40,48,3)\n')
    chosen = LowLightPairedDataset(
        {**folders, 'filename_tmpl': '{}_dark', 'meta_info_file': str(tmp_path / 'meta.txt')}
    )
    assert [item['gt_path'][-9:] for item in chosen] == ['00001.png', '00003.png']


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'gt_sise': 16}, KeyError, r"datasets.train \(LOL\).gt_sise: unknown option; did you mean 'gt_size'"),
        ({'gt_size': None}, KeyError, 'gt_size: missing; it is the side of the training crops'),
        ({'layout': 'lolv3'}, ValueError, r"datasets.train \(LOL\).layout: must be one of auto, .*, got 'lolv3'"),
        ({'io_backend': {'type': 'zip'}}, ValueError, 'io_backend.type: must be one of disk, lmdb or mmengine'),
        ({'dataroot_lq': 'x'}, ValueError, 'not both'),
        ({'dataroot': None}, KeyError, 'dataroot: missing; give it, or dataroot_lq and dataroot_gt'),
        ({'dataroot': '/nowhere/at/all'}, FileNotFoundError, 'dataroot: no folder /nowhere/at/all'),
    ],
    ids=str,
)
def test_refuses_wrong_options(lolv1, options, error, message):
    with pytest.raises(error, match=message):
        dataset(lolv1, **{**TRAIN, **options})


def test_needs_a_crop_size_in_training(lolv1):
    with pytest.raises(KeyError, match=r'datasets.train \(LOL\).gt_size: missing'):
        dataset(lolv1, phase='train')


def test_names_the_images_that_do_not_fit(lolv1):
    low = lolv1 / 'our485/low/00001.png'
    with pytest.raises(ValueError, match=r'gt_size: a crop of 41 is larger than .*high/00001.png, which is 48x40'):
        dataset(lolv1, **{**TRAIN, 'gt_size': 41})[0]
    write_image(low, np.zeros((40, 47, 3), np.uint8))
    with pytest.raises(ValueError, match='sizes do not fit: .*low/00001.png is 47x40, .*high/00001.png is 48x40'):
        dataset(lolv1, **TRAIN)[0]
    low.write_bytes(b'not an image')
    with pytest.raises(ValueError, match='low/00001.png cannot be read as an image'):
        dataset(lolv1, **TRAIN)[0]


def test_databases_must_hold_the_same_keys(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path)
    message = '2 low-light and 4 normal-light images do not pair; the first without a counterpart is 00011, .*train_gt'
    with pytest.raises(ValueError, match=message):
        LowLightPairedDataset(
            {
                'phase': 'val',
                'dataroot_lq': str(tmp_path / 'test_lq.lmdb'),
                'dataroot_gt': str(tmp_path / 'train_gt.lmdb'),
            }
        )
