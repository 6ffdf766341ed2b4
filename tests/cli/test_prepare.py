"""`basicsr-entropy prepare`, on small real files."""

import numpy as np
import pytest
from helpers import assert_one_line


def test_prepare_reports_errors_in_one_line(run, lolv1, workdir):
    code, _, err = run('prepare', '--root', workdir / 'absent', '--out', workdir / 'databases')
    assert_one_line(code, err, 'error: --root: no folder .*absent')
    (lolv1 / 'our485/low/00001.png').write_bytes(np.zeros(10).tobytes())
    code, _, err = run('prepare', '--root', lolv1, '--out', workdir / 'databases')
    assert_one_line(code, err, 'low/00001.png cannot be read as an image')


def test_prepare_tells_what_it_would_write_then_writes_it(run, lolv1, workdir):
    command = ('prepare', '--root', lolv1, '--out', workdir / 'databases', '--crop-size', 20, '--encoding', 'raw')
    _, foreseen, _ = run(*command, '--dry-run')
    assert 'train: about 4 pairs cut into 24 images, 0.1 MB would go to' in foreseen
    assert not (workdir / 'databases').exists()
    code, written, err = run(*command, '--workers', 0)
    assert code == 0, err
    assert 'train: 4 pairs cut into 24 images, 0.1 MB in' in written
    code, _, err = run(*command)
    assert_one_line(code, err, 'train_lq.lmdb exists; remove it')
    assert run(*command, '--resume')[:2] == (0, written)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--crop-size', 0), 'error: --crop-size: must be at least 1, got 0'),
        (('--step', 8), 'error: --step: has no effect without --crop-size '),
        (('--crop-size', 41), 'is 48x40, smaller than --crop-size 41 .*--skip-bad leaves'),
        (('--split', 'val'), "error: --split: no 'val' under"),
        (('--layout', 'ntire2024'), 'error: --root: no split of a known layout'),
    ],
)
def test_errors_name_the_flags(run, lolv1, arguments, message):
    for kind in ((), ('--dry-run',)):
        code, _, err = run('prepare', '--root', lolv1, '--out', 'databases', '--workers', 0, *arguments, *kind)
        assert_one_line(code, err, message)


def test_a_resumed_run_names_the_flag_that_differs(run, lolv1):
    prepare = ('prepare', '--root', lolv1, '--out', 'databases', '--workers', 0)
    assert run(*prepare, '--encoding', 'png')[0] == 0
    code, _, err = run(*prepare, '--encoding', 'raw', '--resume')
    assert_one_line(code, err, 'error: --resume: .* was begun with --encoding png, not raw')


def test_workers_are_a_number(run):
    code, _, err = run('prepare', '--root', 'LOL', '--out', 'databases', '--workers', 'two')
    assert code == 2
    assert "argument --workers: must be an integer of at least 0, got 'two'" in err


def test_a_run_that_skipped_every_pair_leaves_nothing_to_resume(run, lolv1, workdir):
    prepare = ('prepare', '--root', lolv1, '--out', 'databases', '--workers', 0, '--skip-bad', '--split', 'train')
    code, _, err = run(*prepare, '--crop-size', 41)
    assert_one_line(code, err, "split 'train': every pair was skipped, none is left")
    assert '--resume' not in err
    assert not list((workdir / 'databases').iterdir())
    code, _, err = run(*prepare, '--crop-size', 20)
    assert code == 0, err


def test_a_split_that_is_named_twice_is_written_once(run, lolv1):
    prepare = ('prepare', '--root', lolv1, '--out', 'databases', '--workers', 0, '--split', 'train', 'train')
    for kind in (('--dry-run',), ()):
        code, out, err = run(*prepare, *kind)
        assert code == 0, err
        assert out.count('train: ') == 1


@pytest.mark.parametrize(
    ('out', 'message'),
    [
        ('file', 'error: --out: cannot write to file: .*; give another folder'),
        ('file/below', 'error: --out: cannot write to file/below: Not a directory; give another folder'),
        ('', r'error: --out: the path is empty; write \. for the current folder'),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(run, lolv1, workdir, out, message):
    (workdir / 'file').write_text('mine')
    code, _, err = run('prepare', '--root', lolv1, '--out', out, '--workers', 0)
    assert_one_line(code, err, message)
    assert [path.name for path in workdir.iterdir()] == ['file']
    assert (workdir / 'file').read_text() == 'mine'
