"""The Triton kernel compiles for GPUs that are not here. In a process of its own: this one has Triton's interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / 'scripts'
COUNT = """
import dataclasses, json
from count_triton import SETTINGS, count
pairs = (("published", 80), ("published", 90), ("small", 90))
counts = [count(SETTINGS[name], True, capability) for name, capability in pairs]
print(json.dumps([dataclasses.asdict(each) for each in counts]))
"""


def test_the_kernel_compiles_and_spills_nothing_in_its_loop():
    triton = pytest.importorskip('triton')
    if not (Path(triton.__file__).parent / 'backends/nvidia/bin/ptxas').exists():
        pytest.skip('this build of triton has no ptxas')
    result = subprocess.run([sys.executable, '-c', COUNT], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    ampere, hopper, small = json.loads(result.stdout)
    assert ampere['mma'] > 0
    assert hopper['loop'] > hopper['mma'] > 0
    assert hopper['loop_local'] == 0
    assert hopper['spilled'] < 128  # before and after the loop; without care for registers it is a kilobyte
    assert small['spilled'] == 0
