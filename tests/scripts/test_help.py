"""Every script can be imported, and tells how it is used."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / 'scripts'
SHOW = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, '--help']
    try:
        runpy.run_path(script, run_name='__main__')
    except SystemExit as end:
        assert not end.code, script
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec('piq'), reason='needs the extra bench')
def test_every_script_shows_its_help():
    scripts = sorted(map(str, SCRIPTS.glob('*.py')))
    command = [sys.executable, '-c', SHOW, *scripts]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={'PYTHONPATH': str(SCRIPTS)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('usage: ') == len(scripts)
