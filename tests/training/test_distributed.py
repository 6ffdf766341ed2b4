"""Two training processes without CUDA, of which one, or their launcher, comes to an end."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

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
