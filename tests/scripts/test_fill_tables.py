"""Tables of measurements in pages of the documentation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('matplotlib')

ROOT = Path(__file__).parents[2]
RESULTS = {
    f'{arm}_seed{seed}': {image: {'psnr': psnr + seed + bright} for image, bright in (('a', 0), ('b', 4))}
    for arm, psnr in (('l1', 20), ('entropy_3', 22))
    for seed in (0, 1)
}
PAGE = """Before:

<!-- measured
file: results.json
arms: {L1: l1, entropy: entropy_3}
metrics: [psnr]
-->
%s
Between.

<!-- measured
file: results.json
arms: {L1: l1, entropy: entropy_3}
against: L1
metrics: [psnr]
-->
%s
After.
"""
TABLES = (
    """
| 2 images | seeds | PSNR |
|---|---|---|
| L1 | 0, 1 | 22.50 ± 0.71 |
| entropy | 0, 1 | 24.50 ± 0.71 |
""",
    """
| less L1 | seeds | PSNR |
|---|---|---|
| entropy | 0, 1 | +2.00 [+2.00, +2.00] |
""",
)


def fill(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / 'scripts/fill_tables.py', *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_writes_means_and_differences_and_replaces_old_tables(tmp_path):
    (tmp_path / 'results.json').write_text(json.dumps(RESULTS))
    page = tmp_path / 'page.md'
    for tables in (('', ''), ('\n| old |\n|---|\n| 1 |\n', ''), TABLES):
        page.write_text(PAGE % tables)
        assert fill('--check', page).returncode == (tables != TABLES)
        assert page.read_text() == PAGE % tables
        assert fill(page).returncode == 0
        assert page.read_text() == PAGE % TABLES


@pytest.mark.parametrize('page', ['docs/results.md', 'docs/models.md'])
def test_documentation_shows_what_was_measured(page):
    assert '<!-- measured' in (ROOT / page).read_text()
    result = fill('--check', ROOT / page)
    assert result.returncode == 0, result.stderr
