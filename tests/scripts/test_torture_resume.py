"""`scripts/torture_resume.py`, with few kills."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / 'scripts/torture_resume.py'


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'workers'), [('SIGKILL', '0'), ('SIGTERM', '2')])
def test_killed_runs_end_bit_equal(number, workers):
    # a process of its own, since it forks, and what this one has used of OpenCV would hang there
    arguments = ['--signals', number, '--workers', workers, '--kills', '2', '--iterations', '15']
    ended = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f'{number}, {workers} workers, 1 processes: 2 kills, ')


def test_every_bit_counts():
    differences = runpy.run_path(str(SCRIPT))['differences']
    first = {'a': [torch.zeros(2), 1.0], 'logged': {'iteration 1': 'x', 'best 2': '3'}}
    second = {'a': [torch.tensor([0, 1e-40]), 1.0], 'logged': {'iteration 1': 'y'}}
    assert list(differences(first, second)) == ['/a/0', '/logged/iteration 1']
