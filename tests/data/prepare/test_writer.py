"""Runs that are killed, disturbed or out of disk space, and how they are resumed."""

import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import threading
import time
from pathlib import Path

import pytest
from helpers import manifest_of, write_pairs
from tqdm import tqdm

from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.lmdb import LmdbReader, read_shapes
from basicsr_entropy.data.prepare import encoding, writer
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb

LMDB_FORMAT = LmdbFormat('png', 20, 12)


@pytest.fixture
def source(tmp_path):
    write_pairs(tmp_path / 'set/Train/input', tmp_path / 'set/Train/target', 12)
    return tmp_path / 'set'


def start(source, out, pause=0.002, workers=0, file_size=None):
    """A process that writes each pair as it comes, and pauses at each image it decodes."""

    def prepare(begun, failed):
        tqdm.set_lock(threading.RLock())  # the one it shares with this process stays locked if a kill finds it so
        decode = encoding.decode_image
        encoding.decode_image = lambda content, name: (time.sleep(pause), decode(content, name))[1]
        writer._BATCH_BYTES = 1
        if file_size:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        begun.set()
        try:
            prepare_lmdb(source, out, lmdb_format=LMDB_FORMAT, workers=workers)
        except Exception as error:
            failed.put(repr(error))

    context = multiprocessing.get_context('fork')
    begun, failed = context.Event(), context.SimpleQueue()
    process = context.Process(target=prepare, args=(begun, failed))
    process.start()
    begun.wait()
    return process, failed


def contents(out):
    """All that a reader sees of the databases of the training split."""
    found = {}
    for role in ('lq', 'gt'):
        database = Path(out) / f'train_{role}.lmdb'
        reader = LmdbReader(database)
        found[role] = manifest_of(database), {key: reader.get(key) for key in read_shapes(database)}
    return found


def test_a_killed_run_leaves_no_database_and_resumes_to_the_same_result(source, tmp_path):
    prepare_lmdb(source, tmp_path / 'whole', lmdb_format=LMDB_FORMAT)
    whole, rng, partial = contents(tmp_path / 'whole'), random.Random(0), 0
    for moment in range(20):
        out = tmp_path / f'out{moment}'
        process, _ = start(source, out)
        while moment >= 5 and process.is_alive() and not (out / 'train.partial').exists():  # a busy machine
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.12))
        process.kill()
        process.join()
        databases = [path for path in (out / 'train_lq.lmdb', out / 'train_gt.lmdb') if path.exists()]
        if len(databases) < 2:
            with pytest.raises(FileNotFoundError):
                LowLightPairedDataset({'dataroot': str(out), 'phase': 'val', 'split': 'train'})
            if (out / 'train.partial').exists():
                partial += 1
                with pytest.raises(
                    FileExistsError,
                    match='train.partial holds finished pairs of an interrupted run; rerun with resume=True',
                ):
                    prepare_lmdb(source, out, lmdb_format=LMDB_FORMAT)
        prepare_lmdb(source, out, lmdb_format=LMDB_FORMAT, resume=True)
        assert contents(out) == whole
        assert sorted(path.name for path in out.iterdir()) == ['train_gt.lmdb', 'train_lq.lmdb']
    assert partial > 5  # the moments were not all before or after the work


def test_resumes_where_it_stopped_even_from_a_truncated_line(source, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, '_BATCH_BYTES', 1)
    broken = source / 'Train/target/00009.png'
    good = broken.read_bytes()
    broken.write_bytes(b'damaged')
    with pytest.raises(
        ValueError, match=r'00009.png cannot be read .* are kept in .*train.partial, rerun with resume=True'
    ):
        prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT)
    journal = tmp_path / 'out/train.partial/journal.jsonl'
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    journal.write_bytes(b''.join(lines[:6]) + lines[6][:40])  # two pairs are in the databases and not in the journal
    broken.write_bytes(good)
    prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT, resume=True)
    prepare_lmdb(source, tmp_path / 'whole', lmdb_format=LMDB_FORMAT)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')
    before = os.stat(tmp_path / 'out/train_lq.lmdb/data.mdb').st_mtime_ns
    prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT, resume=True)  # nothing is left to do
    assert os.stat(tmp_path / 'out/train_lq.lmdb/data.mdb').st_mtime_ns == before


def change_a_read_file(source):
    path = source / 'Train/input/00001.png'
    path.write_bytes(path.read_bytes() + b'\0')


def take_a_pair_away(source):
    for folder in ('input', 'target'):
        (source / f'Train/{folder}/00011.png').unlink()


@pytest.mark.parametrize(
    ('change', 'lmdb_format', 'message'),
    [
        (None, LmdbFormat('raw', 20, 12), '^resume: .*train.partial was begun with encoding=png, not raw'),
        (None, LmdbFormat('png', 20, 10), '^resume: .* was begun with step=12, not 10'),
        (take_a_pair_away, LMDB_FORMAT, '^resume: .* was begun with other image files'),
        (change_a_read_file, LMDB_FORMAT, 'input/00001.png or .*target/00001.png has changed since'),
    ],
)
def test_resumes_only_with_the_same_options_and_files(source, tmp_path, monkeypatch, change, lmdb_format, message):
    monkeypatch.setattr(writer, '_BATCH_BYTES', 1)
    (source / 'Train/input/00012.png').write_bytes(b'damaged')
    with pytest.raises(ValueError, match='00012'):
        prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT)
    if change:
        change(source)
    with pytest.raises(ValueError, match=message):
        prepare_lmdb(source, tmp_path / 'out', lmdb_format=lmdb_format, resume=True)
    assert (tmp_path / 'out/train.partial').exists()


@pytest.mark.parametrize('renamed', ['none', 'one', 'both', 'emptied'])
def test_killed_while_it_renames(source, tmp_path, renamed):
    out, staging = tmp_path / 'out', tmp_path / 'out/train.partial'
    for folder in (out, tmp_path / 'whole'):
        prepare_lmdb(source, folder, lmdb_format=LMDB_FORMAT)
    whole = contents(tmp_path / 'whole')
    staging.mkdir()
    if renamed != 'emptied':
        plan = {key: whole['lq'][0][key] for key in ('package', 'layout', 'split', 'source', 'names', 'options')}
        (staging / 'plan.json').write_text(json.dumps(plan))
    if renamed == 'none':
        os.rename(out / 'train_gt.lmdb', staging / 'gt.lmdb')
    if renamed in ('none', 'one'):
        os.rename(out / 'train_lq.lmdb', staging / 'lq.lmdb')
        with pytest.raises(FileNotFoundError, match="no 'train'|no split"):
            LowLightPairedDataset({'dataroot': str(out), 'phase': 'train', 'gt_size': 16})
    if renamed == 'none':  # its journal lists all of it
        rows = [json.dumps(row) for row in journal_rows(source)]
        (staging / 'journal.jsonl').write_text(''.join(f'{row}\n' for row in rows))
    prepare_lmdb(source, out, lmdb_format=LMDB_FORMAT, resume=True)
    assert contents(out) == whole
    assert sorted(path.name for path in out.iterdir()) == ['train_gt.lmdb', 'train_lq.lmdb']


def journal_rows(source):
    from basicsr_entropy.data.prepare.encoding import PairEncoder
    from basicsr_entropy.data.prepare.journal import _entry
    from basicsr_entropy.data.sets.splits import find_splits

    (split,) = find_splits(source)
    return map(_entry, PairEncoder(split.pairs, LMDB_FORMAT))


def test_does_not_touch_a_run_that_is_working(source, tmp_path):
    process, _ = start(source, tmp_path / 'out', pause=1, workers=1)
    try:
        while not (tmp_path / 'out/train.partial/plan.json').exists():
            assert process.is_alive()
            time.sleep(0.01)
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match='train.partial: another run is writing there'):
                prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT, resume=resume)
    finally:
        process.kill()
        process.join()
    # a worker that outlives its parent for a moment does not keep the folder locked
    prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT, resume=True)
    assert len(contents(tmp_path / 'out')['lq'][1]) == 12 * 12


def test_a_full_disk_is_named_and_leaves_no_database(source, tmp_path):
    process, failed = start(source, tmp_path / 'out', file_size=60_000)
    process.join()
    assert re.search('lq.lmdb cannot be written: .* MB are free there; .*rerun with resume=True', failed.get())
    assert not list((tmp_path / 'out').glob('*.lmdb'))
    prepare_lmdb(source, tmp_path / 'whole', lmdb_format=LMDB_FORMAT)
    prepare_lmdb(source, tmp_path / 'out', lmdb_format=LMDB_FORMAT, resume=True)  # once there is room
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


@pytest.mark.parametrize('target', ['file', 'proc'])
def test_a_target_that_cannot_be_written_is_named(source, tmp_path, target):
    (tmp_path / 'file').write_text('mine')
    out = tmp_path / 'file/out' if target == 'file' else Path('/proc/databases')
    with pytest.raises(OSError, match=str(out)):
        prepare_lmdb(source, out)
    assert (tmp_path / 'file').read_text() == 'mine'


def test_a_damaged_journal_or_database_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, '_BATCH_BYTES', 1)
    (source / 'Train/input/00012.png').write_bytes(b'damaged')
    staging = tmp_path / 'out/train.partial'
    with pytest.raises(ValueError, match='00012'):
        prepare_lmdb(source, tmp_path / 'out')
    shutil.copytree(staging, tmp_path / 'copy')
    (staging / 'journal.jsonl').write_bytes(b'{"key"\n')
    with pytest.raises(ValueError, match='journal.jsonl, line 1 is damaged; remove'):
        prepare_lmdb(source, tmp_path / 'out', resume=True)
    shutil.rmtree(staging)
    os.rename(tmp_path / 'copy', staging)
    shutil.rmtree(staging / 'gt.lmdb')
    with pytest.raises(ValueError, match='gt.lmdb lacks images that .*journal.jsonl lists'):
        prepare_lmdb(source, tmp_path / 'out', resume=True)
