"""The tables of docs/options.md: generated, current and complete."""

import re
from pathlib import Path

import pytest
import yaml

import basicsr_entropy
from basicsr_entropy.config import check_options
from basicsr_entropy.config.doc_tables import MARK, fill, sections, tables

PAGE = Path(basicsr_entropy.__file__).parents[1] / 'docs/options.md'
TEXT = PAGE.read_text(encoding='utf-8')
SECTIONS = sections()


def test_page_on_disk_is_current():
    assert fill(TEXT) == TEXT, 'run: make options'


def test_every_mark_is_closed_and_names_a_table():
    marked = [mark['name'] for mark in MARK.finditer(TEXT)]
    assert marked == re.findall(r'<!-- options: (.*?) -->', TEXT)
    assert set(marked) <= tables().keys()
    with pytest.raises(KeyError, match='no.such.table'):
        fill('<!-- options: no.such.table -->\n<!-- end -->')


def test_every_section_has_its_table_on_the_page_once():
    assert sorted(mark['name'] for mark in MARK.finditer(TEXT)) == sorted(SECTIONS)


@pytest.mark.parametrize('name', SECTIONS)
def test_every_key_has_a_row_with_a_meaning(name):
    rows = [re.split(r'(?<!\\) *\| *', row)[1:-1] for row in tables()[name].splitlines()[2:]]
    common = SECTIONS['datasets'].model_fields if name.endswith('Dataset') else {}
    keys = [row[0].strip('`') for row in rows]
    assert len(keys) == len(set(keys))
    assert set(SECTIONS[name].model_fields) == set(keys) | (set(common) & set(SECTIONS[name].model_fields))
    for key, values, default, meaning in rows:
        assert values, key
        assert default, key
        assert meaning[0].isupper() or meaning[0] == '`', key
        assert meaning.endswith('.'), key


def test_rows_show_choices_defaults_and_sections():
    rows = {row for table in tables().values() for row in table.splitlines()}
    for start in (
        '| `divergence` | `hellinger`, `relative`, `cross` or `jensen_shannon` | `hellinger` | ',
        '| `windows` | a list of integers or `global` | `[1, 3, 5]` | ',
        '| `manual_seed` | an integer of at least 0 | `~` | ',
        '| `ema_decay` | a number of at least 0 and below 1 | `0` | ',
        '| `sampler` | [section](#sampler) | `{}` | ',
        '| `scheduler` | [section](#scheduler) | required | ',
        "| `filename_tmpl` | text | `'{}'` | ",
        '| `type` | `Adam`, `AdamW`, ',
    ):
        assert any(row.startswith(start) for row in rows), start


def test_links_of_the_tables_lead_to_headings():
    headings = {heading.strip('`').lower() for heading in re.findall(r'^##+ (.*)$', TEXT, re.MULTILINE)}
    links = {link for table in tables().values() for link in re.findall(r'\]\(#(\w+)\)', table)}
    assert {'sde', 'network_g', 'degradation', 'losses'} <= links
    assert links <= headings


def test_example_of_the_page_is_valid():
    example = yaml.safe_load(re.search(r'```yaml\n(name: .*?)```', TEXT, re.DOTALL)[1])
    check_options(example, is_train=True, files=False)
