"""Two training processes without CUDA: one, or their launcher, comes to an end; or one process resumes their run."""

import contextlib
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from helpers import STOCK, assert_one_line, in_two_processes

pytestmark = pytest.mark.slow


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f'/proc/{process}/task/{process}/children').read_text().split()]


def runs(process: int) -> bool:
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.fixture
def start(write_options, workdir):
    """Starts a training in two processes; gives the launcher, its two processes and the file of their output."""
    started = []

    def launch(**changes):
        path = write_options(train__total_iter=90_000, **changes)
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
        output = workdir / 'output.txt'
        with output.open('w') as file:
            launcher = subprocess.Popen(
                [*command, '-m', 'basicsr_entropy.train', '-opt', str(path), '--launcher', 'pytorch'],
                stdout=file,
                stderr=file,
                cwd=workdir,
                env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'},
            )
        started.append(launcher)
        deadline = time.monotonic() + 900  # a busy machine
        while not re.search('iter: +3, ', output.read_text()):
            assert launcher.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ranks = children(launcher.pid)
        started.extend(ranks)
        return launcher, ranks, output

    yield launch
    launchers = [each for each in started if isinstance(each, subprocess.Popen) and runs(each.pid)]
    started += [rank for each in launchers for rank in children(each.pid)]
    for each in started:
        process = each if isinstance(each, int) else each.pid
        if runs(process):
            os.kill(process, signal.SIGKILL)


def wait_for_all(processes: list[int]) -> None:
    deadline = time.monotonic() + 120  # a busy machine; the product's own bounds add up to less than 10 seconds
    while any(map(runs, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT], ids=['SIGTERM', 'SIGINT'])
def test_a_signal_to_the_launcher_saves_one_state(start, workdir, number):
    launcher, ranks, output = start(logger__save_checkpoint_freq=100_000)
    launcher.send_signal(number)
    wait_for_all(ranks)
    launcher.wait(60)
    (state,) = (workdir / 'experiments/tiny/training_states').glob('*.state')
    assert len(torch.load(state)['random']) == 2
    assert f'{number.name}: stopped after iteration {state.stem}' in output.read_text()


def test_no_process_outlives_a_killed_one(start):
    launcher, ranks, output = start()
    os.kill(ranks[1], signal.SIGKILL)
    wait_for_all(ranks)
    assert launcher.wait(60) != 0
    # the launcher may notice first
    ours = rf'rank \d \(process {ranks[1]}\) was killed'
    theirs = rf'exitcode: -9\) local_rank: \d \(pid: {ranks[1]}\)'
    assert re.search(f'{ours}|{theirs}', output.read_text())


def test_no_process_outlives_the_launcher(start):
    launcher, ranks, output = start()
    launcher.kill()
    launcher.wait()
    wait_for_all(ranks)
    assert re.search(r'rank \d ends: its launcher \(process \d+\) has ended', output.read_text())


def test_a_full_disk_of_one_process_ends_all(start, workdir):
    launcher, ranks, output = start(logger__save_checkpoint_freq=1)
    (first,) = (rank for rank in ranks if b'\0RANK=0\0' in Path(f'/proc/{rank}/environ').read_bytes())
    weights, state = (
        (workdir / f'experiments/tiny/{each}').stat().st_size
        for each in ('models/net_g_1.pth', 'training_states/1.state')
    )
    # the state does not fit whenever the limit comes, also between weights and state of one checkpoint
    limit = (weights + state) // 2
    resource.prlimit(first, resource.RLIMIT_FSIZE, (limit, limit))
    wait_for_all(ranks)
    assert launcher.wait(60) != 0
    text = output.read_text()
    full = r'could not write \S+/experiments/tiny/training_states/\d+\.state; is the disk full\?'
    assert len(re.findall(f'^basicsr-entropy: error: {full}', text, re.MULTILINE)) == 1
    assert len(re.findall(f'^basicsr-entropy: error: rank 1 ends: rank 0 failed: {full}', text, re.MULTILINE)) == 1


def test_a_folder_that_cannot_be_made_ends_all(write_options, workdir):
    (workdir / 'experiments').write_text('a file')
    result = in_two_processes('train', write_options(), workdir)
    assert result.returncode != 0
    line = r'^basicsr-entropy: error: (rank 1 ends: rank 0 failed: )?.*Not a directory.*experiments/tiny'
    assert sorted(re.findall(line, result.stderr, re.MULTILINE)) == ['', 'rank 1 ends: rank 0 failed: ']


def test_another_number_of_processes_goes_on_with_the_same_samples(run, write_options, workdir):
    """2 processes with 2 samples each, then 1 with 4, then 2 again train like 1 with 4 all along, but for rounding."""
    epochs = {'datasets__train__dataset_enlarge_ratio': 3}  # of 12 samples
    loss = {**STOCK, **epochs, 'train__pixel_opt': {'type': 'L1Loss'}}

    def losses_of(err):
        return [(int(number), float(value)) for number, value in re.findall(r'iter: +(\d+), .* l_pix: (\S+)', err)]

    def weights_of(name):
        weights = torch.load(workdir / f'experiments/{name}/models/net_g_10.pth')['params']
        return torch.cat([each.flatten() for each in weights.values()])

    code, _, err = run(
        'train', '-opt', write_options('alone.yml', train__total_iter=10, **loss, datasets__train__batch_size_per_gpu=4)
    )
    assert code == 0, err
    expected = losses_of(err)
    found = []
    for processes, total in ((2, 4), (1, 8), (2, 10)):
        path = write_options(train__total_iter=total, **loss, datasets__train__batch_size_per_gpu=4 // processes)
        if processes == 2:
            result = in_two_processes('train', path, workdir, '--auto_resume')
            code, err = result.returncode, result.stderr
        else:
            code, _, err = run('train', '-opt', path, '--auto_resume')
        assert code == 0, err
        assert ('WARNING: Resuming a run of' in err) == (total > 4)
        assert 'their order goes on at sample' not in err
        found += losses_of(err)
    assert [number for number, _ in found] == list(range(1, 11))
    assert found == [(number, pytest.approx(value, rel=1e-3)) for number, value in expected]  # four digits are logged
    torch.testing.assert_close(weights_of('tiny'), weights_of('alone'), rtol=0, atol=1e-5)

    # a batch that does not divide is refused; where each process keeps its own, the log says where the order goes on
    uneven = write_options(train__total_iter=12, **loss, datasets__train__batch_size_per_gpu=3)
    code, _, err = run('train', '-opt', uneven, '--auto_resume')
    assert_one_line(code, err, r'10\.state was written with other options: datasets\.train\.batch_size_per_gpu;')
    kept = write_options(train__total_iter=12, **loss, datasets__train__batch_size_per_gpu=2)
    code, _, err = run('train', '-opt', kept, '--auto_resume')
    assert code == 0, err
    assert 'WARNING: An iteration now takes 2 samples and took 4; their order goes on at sample 40.' in err


def free_port():
    """A port that nobody listens on, below those that the kernel gives to any connection meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)  # tests seed the other generator
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(('localhost', port))
            return port


def in_ranks(workdir, code):
    """Runs code in two processes without a launcher; gives their exit codes and outputs."""
    port = free_port()
    environment = {**os.environ, 'MASTER_ADDR': 'localhost', 'MASTER_PORT': str(port), 'WORLD_SIZE': '2'}
    environment |= {'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=workdir,
            env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
        )
        for rank in range(2)
    ]
    try:
        outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], outputs


def test_all_processes_draw_the_same_seed(write_options, workdir):
    code = f"""
        import argparse, torch
        from basicsr_entropy.config.parse import add_arguments, parse_options
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        args = parser.parse_args(['-opt', {str(write_options(manual_seed=None))!r}, '--launcher', 'pytorch'])
        print('seed', parse_options('.', args=args)[0]['manual_seed'])
        torch.distributed.destroy_process_group()  # its threads abort a process that ends with them
    """
    codes, outputs = in_ranks(workdir, code)
    assert codes == [0, 0], outputs
    seeds = [re.findall(r'^seed (\d+)$', output, re.MULTILINE) for output in outputs]
    assert seeds[0] == seeds[1] != []


def test_a_process_that_waits_for_a_stopped_one_ends_too(workdir):
    code = """
        import torch
        from basicsr_entropy.training.distributed import Peers
        torch.distributed.init_process_group('gloo')
        try:
            with Peers():
                torch.distributed.barrier()
                if torch.distributed.get_rank() == 0:
                    raise SystemExit(143)
                torch.distributed.barrier()
        finally:
            torch.distributed.destroy_process_group()
    """
    codes, outputs = in_ranks(workdir, code)
    assert codes == [143, 143], outputs


def test_no_thread_is_left_to_abort_the_end_of_a_process(workdir):
    """A thread that returns from the store while the interpreter shuts down ends the process with SIGABRT."""
    code = """
        import datetime, threading, torch
        from basicsr_entropy.training.distributed import Peers
        class SlowStore(Peers):
            def _find_cause(self, processes):
                looked.set()
                self._store.wait(['never set'], datetime.timedelta(seconds=1))
        looked = threading.Event()
        torch.distributed.init_process_group('gloo')
        threads = threading.active_count()
        with SlowStore():
            looked.wait()
            torch.distributed.barrier()
        print('left', threading.active_count() - threads)
        torch.distributed.destroy_process_group()
    """
    codes, outputs = in_ranks(workdir, code)
    assert codes == [0, 0], outputs
    assert ['left 0' in output for output in outputs] == [True, True], outputs


def test_the_reason_of_an_error_is_told_without_the_thread_and_after_a_signal(workdir):
    """The thread may look too late, and the launcher ends a process whose peer has ended."""
    code = """
        import os, signal, threading, torch
        from basicsr_entropy.training.distributed import Peers
        class Late(Peers):
            def _watch(self):
                self._left.wait()
            def _explain(self, error):
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
                super()._explain(error)
        torch.distributed.init_process_group('gloo')
        try:
            with Late() as peers:
                peers._launcher = 1
                raise RuntimeError('Connection reset by peer')
        except ConnectionError as error:
            print('found:', error)
        torch.distributed.destroy_process_group()
    """
    codes, outputs = in_ranks(workdir, code)
    assert codes == [0, 0], outputs
    for rank, output in enumerate(outputs):
        assert f'found: rank {rank} ends: its launcher (process 1) has ended' in output
