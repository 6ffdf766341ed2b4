"""Writes the tables of measurements in pages of the documentation.

    python scripts/fill_tables.py docs/results.md docs/models.md

A table stands below a comment in YAML that says what is in it:

    <!-- measured
    file: losses.json
    arms:
      L1: l1_base_steps4
      3 entropy: entropy_scratch_3_steps2
    -->

`file` is a results.json of `scripts/experiment.py`, relative to the page; `arms` names the rows. With `against`, the
name of a row, the table shows paired differences to that row. `metrics` lists the columns. --check changes nothing, and
fails if a page is not up to date.
"""

import argparse
import json
import re
from functools import cache
from pathlib import Path

import yaml
from report_experiment import Metrics, by_arm, differences, table

METRICS = ['psnr', 'ssim', 'psnr_gt_mean', 'ssim_gt_mean', 'lpips', 'lpips_gt_mean', 'detail']
BLOCK = re.compile(r'(<!-- measured\n(.*?)-->\n)(?:\n(?:\|[^\n]*\n)+)?', re.DOTALL)


@cache
def results(file: Path) -> dict[str, Metrics]:
    return json.loads(file.read_text())


def measured_table(folder: Path, wanted: dict) -> str:
    """The table that a comment asks for; its file lies in `folder`."""
    arms, metrics = wanted['arms'], wanted.get('metrics', METRICS)
    found = by_arm(results(folder / wanted['file']), list(arms.values()))
    named = {name: found[arm] for name, arm in arms.items()}
    return differences(named, metrics, wanted['against']) if 'against' in wanted else table(named, metrics)


def filled(page: Path) -> str:
    """The text of a page with its tables as measured."""
    return BLOCK.sub(
        lambda block: f'{block[1]}\n{measured_table(page.parent, yaml.safe_load(block[2]))}', page.read_text()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pages', nargs='+', type=Path, help='Markdown files')
    parser.add_argument('--check', action='store_true', help='change nothing, fail if a page is not up to date')
    args = parser.parse_args()
    for page in args.pages:
        text = filled(page)
        if not args.check:
            page.write_text(text)
        elif text != page.read_text():
            parser.exit(1, f'{page} is not up to date: run python scripts/fill_tables.py {page}\n')


if __name__ == '__main__':
    main()
