"""Which published split the options of a dataset point at."""

from helpers import write_pairs

from basicsr_entropy.data.prepare.prepare import prepare_lmdb
from basicsr_entropy.data.sets.selection import layout_and_split


def test_databases_record_their_layout_and_split(lolv1, tmp_path):
    write_pairs(tmp_path / 'Real_captured/Test/Low', tmp_path / 'Real_captured/Test/Normal', 1)
    prepare_lmdb(lolv1, tmp_path / 'v1')
    prepare_lmdb(tmp_path, tmp_path / 'v2', layout='lolv2_real')
    for root in (lolv1, tmp_path / 'v1'):
        assert layout_and_split({'dataroot': str(root), 'phase': 'train'}) == ('lolv1', 'train')
        assert layout_and_split({'dataroot': str(root), 'phase': 'val'}) == ('lolv1', 'test')
    assert layout_and_split({'dataroot': str(tmp_path / 'v2'), 'phase': 'val'}) == ('lolv2_real', 'test')
    stock = {'type': 'PairedImageDataset', 'phase': 'train', 'dataroot_lq': str(tmp_path / 'v1/train_lq.lmdb')}
    assert layout_and_split(stock) == ('lolv1', 'train')
    for unknown in ({}, {'dataroot': '/nowhere'}, {'dataroot_gt': str(lolv1)}):
        assert layout_and_split({'phase': 'train', **unknown}) is None
