"""A few random cases of every backend against the independent oracle; the script runs thousands."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / 'scripts/fuzz_entropy.py'
BACKENDS = [('eager', torch.float64), ('eager', torch.float32), ('compiled', torch.float32)]


@pytest.fixture(scope='module')
def fuzz():
    spec = importlib.util.spec_from_file_location('fuzz_entropy', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_backend_agrees_with_the_oracle(fuzz):
    for _, case in fuzz.cases(seed=0, first=0, count=25):
        # one library per divergence is enough: their number decides how long this takes
        windows = case.options['windows'] if case.options['windows'] == 'global' else (1, 3)
        case = dataclasses.replace(case, options={**case.options, 'levels': 5, 'windows': windows})
        assert fuzz.faults(case, BACKENDS) == []


def test_triton_agrees_with_the_oracle(fuzz):
    pytest.importorskip('triton')
    for _, case in fuzz.cases(seed=1, first=0, count=5):
        assert fuzz.faults(fuzz.smaller(case), [('triton', torch.float32)]) == []


@pytest.mark.parametrize('wrong', [(1.01, 1.0), (1.0, 1.1), (float('nan'), 1.0)])
def test_wrong_values_and_derivatives_are_found(fuzz, monkeypatch, wrong):
    (_, case), *_ = fuzz.cases(seed=0, first=0, count=1)
    value, along = fuzz.oracle(case)
    monkeypatch.setattr(fuzz, 'computed', lambda *_: (value * wrong[0], along * wrong[1], abs(along)))
    assert fuzz.faults(case, [('eager', torch.float64)])
