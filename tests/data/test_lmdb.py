"""Databases that were damaged, and databases that many processes read."""

import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from helpers import write_image
from torch.utils.data import DataLoader

from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.lmdb import LmdbReader
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb


@pytest.fixture(params=['keep', 'raw'])
def databases(request, lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path / 'databases', splits=['train'], lmdb_format=LmdbFormat(request.param))
    return tmp_path / 'databases'


@pytest.mark.parametrize('size', [0, 100, 4096, 8192, 20_000, -4096])
def test_a_cut_database_is_named_and_does_not_kill_the_process(databases, size):
    data = databases / 'train_gt.lmdb/data.mdb'
    os.truncate(data, size if size >= 0 else data.stat().st_size + size)
    with pytest.raises(
        ValueError, match=r'train_gt.lmdb/data.mdb (is truncated: \d+ of \d+ bytes|cannot be opened as LMDB)'
    ):
        LmdbReader(databases / 'train_gt.lmdb').get('00001')


def test_keys_that_only_the_list_has_are_named(databases):
    with open(databases / 'train_lq.lmdb/meta_info.txt', 'a') as meta:
        meta.write('00009.png (40,48,3) 1\n')
    with (
        pytest.raises(KeyError, match="train_lq.lmdb holds no image '00009'"),
        LmdbReader(databases / 'train_lq.lmdb').image('00009'),
    ):
        pass


def test_pixels_that_do_not_fit_their_shape_are_named(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['test'], lmdb_format=LmdbFormat('raw'))
    meta = tmp_path / 'test_lq.lmdb/meta_info.txt'
    meta.write_text(meta.read_text().replace('(40,48,3)', '(41,48,3)'))
    with (
        pytest.raises(
            ValueError, match=r'test_lq.lmdb/00011 cannot be read: 5760 bytes are not the pixels of shape \(41, 48, 3\)'
        ),
        LmdbReader(tmp_path / 'test_lq.lmdb').image('00011'),
    ):
        pass


@pytest.mark.parametrize('key', ['..', 'a/..', '../a', 'a/../b', '/a'])
def test_keys_that_lead_out_of_a_folder_are_refused(databases, key):
    meta = databases / 'train_lq.lmdb/meta_info.txt'
    meta.write_text(meta.read_text().replace('00002.png', f'{key}.png'))
    with pytest.raises(ValueError, match=f"meta_info.txt, line 2: the key '{key}' leads out of its folder"):
        LmdbReader(databases / 'train_lq.lmdb')


@pytest.mark.parametrize('content', ['{', '[]', '{"options": {}}'])
def test_a_damaged_manifest_is_named(databases, content):
    (databases / 'train_lq.lmdb/manifest.json').write_text(content)
    with pytest.raises(ValueError, match='train_lq.lmdb/manifest.json is damaged'):
        LowLightPairedDataset({'dataroot': str(databases), 'phase': 'val', 'split': 'train'})


def total(dataset, rounds):
    return sum(item['lq'].double().sum().item() for _ in range(rounds) for item in dataset)


def read(databases, rounds, results):
    results.put(total(LowLightPairedDataset({'dataroot': str(databases), 'phase': 'val', 'split': 'train'}), rounds))


def test_two_processes_read_a_database_at_once(databases):
    context = multiprocessing.get_context('fork')
    results = context.SimpleQueue()
    processes = [context.Process(target=read, args=(databases, 20, results)) for _ in range(2)]
    for process in processes:
        process.start()
    read(databases, 20, results)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({results.get() for _ in range(3)}) == 1


def test_spawned_workers_read_a_database(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['train'], lmdb_format=LmdbFormat('raw'))
    dataset = LowLightPairedDataset({'dataroot': str(tmp_path), 'phase': 'val', 'split': 'train'})
    here = list(dataset)
    loader = DataLoader(dataset, batch_size=1, num_workers=1, multiprocessing_context='spawn')
    for a, b in zip(here, loader):
        assert torch.equal(a['lq'], b['lq'][0])
        assert torch.equal(a['gt'], b['gt'][0])


def test_an_image_of_a_raw_database_is_a_view_that_cannot_be_written(lolv1, tmp_path):
    prepare_lmdb(lolv1, tmp_path, splits=['test'], lmdb_format=LmdbFormat('raw'))
    with LmdbReader(tmp_path / 'test_lq.lmdb').image('00011') as image:
        assert not image.flags.writeable
        assert not image.flags.owndata
        assert image.dtype == np.uint8


def test_a_database_prepared_anew_is_read_anew(databases, lolv1):
    for level in (10, 200):
        for path in (lolv1 / 'our485').rglob('*.png'):
            write_image(path, np.full((40, 48, 3), level, np.uint8))
        shutil.rmtree(databases)
        prepare_lmdb(lolv1, databases, splits=['train'])
        item = LowLightPairedDataset({'phase': 'train', 'gt_size': 16, 'dataroot': str(databases)})[0]
        assert round(255 * item['gt'].mean().item()) == level
