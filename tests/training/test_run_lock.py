"""Two processes that want to train in one folder."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import CLI, assert_one_line

from basicsr_entropy.config.folders import is_run_folder
from basicsr_entropy.training.run_lock import RunLock


@pytest.mark.slow
def test_a_second_start_in_a_folder_that_is_in_use_is_refused(run, write_options, workdir):
    keys = {'logger__save_checkpoint_freq': 1, 'datasets__train__num_worker_per_gpu': 1}
    path = write_options(train__total_iter=90_000, **keys)
    output = workdir / 'output.txt'
    with output.open('w') as file:
        first = subprocess.Popen([*CLI, 'train', '-opt', str(path)], stdout=file, stderr=file, cwd=workdir)
    try:
        deadline = time.monotonic() + 300  # a busy machine
        while not (workdir / 'experiments/tiny/training_states/2.state').exists():
            assert first.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for arguments in ([], ['--auto_resume']):
            code, _, err = run('train', '-opt', path, *arguments)
            assert_one_line(
                code, err, rf'experiments/tiny is in use: process {first.pid} on \S+ trains there; wait for its end'
            )
        assert [each.name for each in (workdir / 'experiments').iterdir()] == ['tiny']
        assert first.poll() is None
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        # at once, while the worker process still lives
        code, _, err = run('train', '-opt', write_options(train__total_iter=3, **keys), '--auto_resume')
        assert code == 0, err
        assert re.search(r'Resuming training from epoch: \d+, iter: \d', err)
    finally:
        first.kill()
        first.wait()


def locked_elsewhere(folder: Path) -> bool:
    """Whether another process finds the folder locked."""
    child = os.fork()
    if child == 0:
        try:
            RunLock().take(folder)
        except BlockingIOError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_the_lock_moves_to_a_new_folder_and_ends_with_the_context(tmp_path):
    folder, archived = tmp_path / 'run', tmp_path / 'archived'
    with RunLock() as lock:
        lock.take(folder)  # there is none yet
        assert not folder.exists()
        folder.mkdir()
        for _ in range(2):  # a second time changes nothing
            lock.take(folder)
            assert locked_elsewhere(folder)
        folder.rename(archived)
        folder.mkdir()
        lock.take(folder)
        assert locked_elsewhere(folder)
        assert not locked_elsewhere(archived)
    assert not locked_elsewhere(folder)
    assert is_run_folder(folder, is_train=True)  # the file of the lock is one of a run


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    import errno
    import fcntl

    def unsupported(file, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'lockf', unsupported)
    with pytest.warns(UserWarning, match=r'\.lock: cannot be locked \(No locks available\)'), RunLock() as lock:
        lock.take(tmp_path)
