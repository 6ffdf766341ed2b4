import subprocess
import sys
from pathlib import Path

import basicsr_entropy

MEASURE = """
import resource, runpy, sys
from concurrent.futures import ThreadPoolExecutor

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        blocks = [bytearray(48 << 20) for _ in range(3)]  # two do not fit into one heap of a thread
        for block in blocks:
            block[::4096] = b'x' * (48 << 20 >> 12)
        del blocks, block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

handed_back = faults()
runpy.run_path(sys.argv[1])['keep_freed_memory'](in_threads=True)
with ThreadPoolExecutor(1) as threads:
    for run in (lambda measure: measure(), lambda measure: threads.submit(measure).result()):
        run(faults)
        print(handed_back, run(faults))
"""


def test_freed_memory_is_used_again_in_threads_too():
    module = Path(basicsr_entropy.__file__).parent / 'cli/_memory.py'
    run = subprocess.run([sys.executable, '-c', MEASURE, module], capture_output=True, text=True, check=True)
    for line in run.stdout.splitlines():
        handed_back, kept = map(int, line.split())
        assert handed_back > 100
        assert kept < handed_back / 10
