"""`scripts/torture_resume.py`, with few kills."""

import random
import runpy
import signal
from pathlib import Path

import pytest
import torch

TORTURE = runpy.run_path(str(Path(__file__).parents[2] / 'scripts/torture_resume.py'))


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'workers'), [('SIGKILL', 0), ('SIGTERM', 2)])
def test_killed_runs_end_bit_equal(tmp_path, number, workers):
    random.seed(0)
    TORTURE['write_images'](tmp_path / 'data')
    line = TORTURE['torture'](signal.Signals[number], workers, 1, kills=2, iterations=15, folder=tmp_path)
    assert line.startswith(f'{number}, {workers} workers, 1 processes: 2 kills, ')


def test_every_bit_counts():
    first = {'a': [torch.zeros(2), 1.0], 'logged': {'iteration 1': 'x', 'best 2': '3'}}
    second = {'a': [torch.tensor([0, 1e-40]), 1.0], 'logged': {'iteration 1': 'y'}}
    assert list(TORTURE['differences'](first, second)) == ['/a/0', '/logged/iteration 1']
