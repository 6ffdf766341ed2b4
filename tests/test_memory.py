import subprocess
import sys
from pathlib import Path

import basicsr_entropy

MEASURE = """
import resource, runpy, sys

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        block = bytearray(64 << 20)
        block[::4096] = b'x' * (64 << 20 >> 12)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

handed_back = faults()
runpy.run_path(sys.argv[1])['keep_freed_memory']()
faults()
print(handed_back, faults())
"""


def test_freed_memory_is_used_again():
    module = Path(basicsr_entropy.__file__).with_name('_memory.py')
    run = subprocess.run([sys.executable, '-c', MEASURE, module], capture_output=True, text=True, check=True)
    handed_back, kept = map(int, run.stdout.split())
    assert handed_back > 100
    assert kept < handed_back / 10
