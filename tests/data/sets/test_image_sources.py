"""Image sources: folders, LMDB databases, and images that are read through mmengine's backends."""

import logging
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import photograph, write_image, write_pairs

from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb
from basicsr_entropy.data.sets.image_sources import FolderImages, LmdbImages, MMEngineImages, image_source


@pytest.fixture
def server(tmp_path):
    """Address of an HTTP server of tmp_path."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def dataset(lq, gt, backend, **options):
    return LowLightPairedDataset(
        {'phase': 'val', 'dataroot_lq': str(lq), 'dataroot_gt': str(gt), 'io_backend': backend, **options}
    )


def same(a, b):
    return all(torch.equal(x[role], y[role]) for x, y in zip(a, b, strict=True) for role in ('lq', 'gt'))


MMENGINE = {'type': 'mmengine'}


@pytest.mark.parametrize('backend', [MMENGINE, {**MMENGINE, 'backend': 'local'}], ids=str)
def test_lists_and_reads_through_a_local_backend(lolv1, backend):
    roots = lolv1 / 'our485/low', lolv1 / 'our485/high'
    (roots[0] / '.hidden.png').write_bytes(b'')
    assert same(dataset(*roots, backend), dataset(*roots, None))


def test_excludes_what_a_list_names(lolv1, tmp_path, server):
    roots = lolv1 / 'our485/low', lolv1 / 'our485/high'
    (roots[0] / '00002.png').unlink()
    (tmp_path / 'exclude.txt').write_text('00002\n00003\tdark\n')
    (tmp_path / 'meta.txt').write_text('00001.png\n00003.png 00003.png\n00004.png\n')
    exclude = {'exclude': str(tmp_path / 'exclude.txt')}
    local = dataset(*roots, MMENGINE, **exclude)
    assert [pair.key for pair in local.pairs] == ['00001', '00004']
    below = (f'{server}/LOLv1/our485/{folder}' for folder in ('low', 'high'))
    assert same(dataset(*below, MMENGINE, meta_info_file=str(tmp_path / 'meta.txt'), **exclude), local)


def test_reads_what_a_list_names_over_http(tmp_path, server):
    write_pairs(tmp_path / 'lq', tmp_path / 'gt', 3, 'low')
    (tmp_path / 'lq/low00002.png').rename(tmp_path / 'lq/夜 2.png')
    meta = tmp_path / 'meta.txt'
    meta.write_text('low00001.png 00001.png\n夜 2.png\t00002.png\n\nlow00003.png\t00003.png\n', encoding='utf-8')
    options = {'meta_info_file': str(meta)}
    remote = dataset(f'{server}/lq', f'{server}/gt', MMENGINE, **options)
    assert remote[1]['lq_path'] == f'{server}/lq/夜 2.png'
    assert same(remote, dataset(tmp_path / 'lq', tmp_path / 'gt', {'type': 'disk'}, **options))
    (tmp_path / 'gt/00003.png').unlink()
    with pytest.raises(OSError, match='http://.*/gt/00003.png cannot be read: .*404'):
        remote[2]


def test_lists_in_basicsrs_format_keep_their_meaning(tmp_path, server):
    write_pairs(tmp_path / 'lq', tmp_path / 'gt', 3)
    for path in list((tmp_path / 'lq').iterdir()):
        path.rename(path.with_name(f'{path.stem}_dark.png'))
    (tmp_path / 'meta.txt').write_text('00001.png (40,48,3)\n00003.png\n')
    options = {'meta_info_file': str(tmp_path / 'meta.txt'), 'filename_tmpl': '{}_dark'}
    remote = dataset(f'{server}/lq', f'{server}/gt/', {**MMENGINE, 'backend': 'http'}, **options)
    assert [item['gt_path'] for item in remote] == [f'{server}/gt/0000{n}.png' for n in (1, 3)]
    assert remote[0]['lq_path'] == f'{server}/lq/00001_dark.png'


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({}, ValueError, 'meta_info_file: missing; HTTPBackend cannot list the images of http://'),
        ({'backend': {**MMENGINE, 'backend': 'ftp'}}, ValueError, "io_backend: mmengine has no backend 'ftp'"),
        ({'backend': {**MMENGINE, 'color': 1}}, ValueError, 'io_backend: mmengine cannot make a backend.*'),
        ({'meta_info_file': '/absent.txt'}, FileNotFoundError, 'meta_info_file: no file /absent.txt'),
        ({'meta_info_file': '/dev/null'}, FileNotFoundError, 'meta_info_file: no file /dev/null'),
        (
            {'filename_tmpl': '{}x'},
            ValueError,
            'filename_tmpl: with io_backend.type mmengine it needs a meta_info_file',
        ),
        ({'dataroot_gt': None}, KeyError, 'dataroot: missing; give it, or dataroot_lq and dataroot_gt'),
        (
            {'dataroot': 'x', 'dataroot_lq': None, 'dataroot_gt': None},
            ValueError,
            'io_backend.type: mmengine needs dataroot_lq and dataroot_gt instead of dataroot',
        ),
    ],
    ids=str,
)
def test_refuses_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        dataset('http://127.0.0.1:1/lq', 'http://127.0.0.1:1/gt', **{'backend': MMENGINE, **options})


@pytest.mark.parametrize(
    ('root', 'io_backend', 'source'),
    [
        ('images', None, FolderImages(Path('images'))),
        ('images.lmdb', None, LmdbImages(Path('images.lmdb'))),
        ('images.lmdb', {'type': 'disk'}, FolderImages(Path('images.lmdb'))),
        ('images', {'type': 'lmdb'}, LmdbImages(Path('images'))),
        ('~/images', {}, FolderImages(Path('~/images').expanduser())),
        (
            's3://images',
            {'type': 'mmengine', 'backend': 'petrel'},
            MMEngineImages('s3://images', {'backend': 'petrel'}),
        ),
    ],
    ids=str,
)
def test_one_place_chooses_the_source(root, io_backend, source):
    assert image_source(root, io_backend) == source


@pytest.mark.parametrize('kind', ['folder', 'keep', 'raw', 'mmengine'])
def test_every_source_lists_and_opens_the_same_images(tmp_path, kind):
    write_image(tmp_path / 'LOL/Train/target/a/2.png', photograph(2))
    write_image(tmp_path / 'LOL/Train/target/1.png', photograph(1))
    folder = tmp_path / 'LOL/Train/target'
    if kind in ('keep', 'raw'):
        (tmp_path / 'LOL/Train/input').symlink_to(folder)
        prepare_lmdb(tmp_path / 'LOL', tmp_path / 'databases', lmdb_format=LmdbFormat(kind))
        source = image_source(tmp_path / 'databases/train_gt.lmdb')
    else:
        source = image_source(folder, {'type': 'mmengine' if kind == 'mmengine' else 'disk'})
    names = source.names()
    assert [source.key(name) for name in names] == ['1', 'a/2']
    assert all(source.path(name).startswith(str(source.root)) for name in names)
    for name, seed in zip(names, (1, 2)):
        with source.open(name) as image:
            np.testing.assert_array_equal(image, photograph(seed))
        file = source.open_file(name)
        assert (file is None) == (kind == 'raw')
        if file is not None:
            with file:
                assert file.read(4) == b'\x89PNG'


def test_names_images_that_a_folder_holds_but_cannot_be_read(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', warnings.append)
    write_image(tmp_path / 'a.png', photograph(1))
    assert FolderImages(tmp_path).names() == [str(tmp_path / 'a.png')]
    assert warnings == []
    for name in ('IMG_1.HEIC', 'b.avif', '.c.gif', 'notes.txt'):
        (tmp_path / name).write_bytes(b'')
    assert FolderImages(tmp_path).names() == [str(tmp_path / 'a.png')]
    (warning,) = warnings
    assert warning.startswith(f'{tmp_path / "IMG_1.HEIC"} and 1 more: left out; of images, datasets read .png')
