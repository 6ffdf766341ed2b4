"""The documentation agrees with the code: options, files, commands, and the notebook."""

import inspect
import re
from pathlib import Path

import pytest

import basicsr_entropy
from basicsr_entropy.data.datasets import LowLightDegradation, LowLightPairedDataset
from basicsr_entropy.data.datasets.options import IMAGE_KEYS
from basicsr_entropy.diffusion import FORMS, ORDERS, SAMPLERS, SPACINGS, MeanRevertingSDE
from basicsr_entropy.diffusion.tiling import MODES, Tiling
from basicsr_entropy.losses import SpatialEntropyLoss
from basicsr_entropy.models.execution import PRECISIONS, Speed
from basicsr_entropy.models.irsde_model import SAMPLER_DEFAULTS

ROOT = Path(basicsr_entropy.__file__).parents[1]
OPTIONS = (ROOT / 'docs/options.md').read_text()
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')))
API_PAGES = sorted(path.stem for path in (ROOT / 'docs/api').glob('*.md') if path.stem != 'index')


def table(heading):
    """The first table under a heading: its keys, each with the second column."""
    section = re.search(rf'^## {heading}\n(.*?)(?=^## |\Z)', OPTIONS, re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r'^\| (`.+?) \| (.*?) \|', section, re.MULTILINE)
    return {key: value for keys, value in rows for key in re.findall(r'`([^`]+)`', keys)}


def parameters(callee):
    return {name: p.default for name, p in inspect.signature(callee).parameters.items()}


def shown(default):
    if isinstance(default, bool):
        return str(default).lower()
    return str(list(default)) if isinstance(default, tuple) else str(default)


def same(documented, default):
    return documented.replace('.0', '') == shown(default).replace('.0', '')


def test_options_of_the_loss():
    documented, actual = table('SpatialEntropyLoss'), parameters(SpatialEntropyLoss)
    assert documented.keys() == actual.keys()
    assert all(same(documented[name], default) for name, default in actual.items())


def test_options_of_the_process():
    documented = {
        key.removeprefix('sde.'): value for key, value in table('IRSDEModel').items() if key.startswith('sde.')
    }
    actual = parameters(MeanRevertingSDE)
    assert documented.keys() == actual.keys()
    assert all(same(documented[name], default) for name, default in actual.items())


def test_options_of_the_sampler():
    rows = re.findall(r'^\| `val\.sampler\.(\w+)` \| (.*?) \| (.*) \|$', OPTIONS, re.MULTILINE)
    defaults, meanings = ({row[0]: row[column] for row in rows} for column in (1, 2))
    assert defaults.keys() == SAMPLER_DEFAULTS.keys()
    # None stands for what the process or the sampler's kind gives
    assert all(same(defaults[key], default) for key, default in SAMPLER_DEFAULTS.items() if default is not None)
    for key, known in (('type', SAMPLERS), ('order', ORDERS), ('form', FORMS), ('spacing', SPACINGS)):
        assert {*map(str, known)} <= {*re.findall(r'`(\w+)`', meanings[key])}


def test_options_of_tiles():
    documented, actual = table('Tiles'), parameters(Tiling)
    assert documented.keys() == actual.keys()
    assert all(same(documented[name], default) for name, default in actual.items())
    assert all(f'`{mode}`' in OPTIONS for mode in MODES)


def test_options_of_speed():
    documented = table('IRSDEModel')
    for name, default in parameters(Speed).items():
        assert same(documented[name], 'none' if default is None else default)
    assert all(f'`{name}`' in OPTIONS for name in PRECISIONS)


def test_options_of_the_degradation():
    documented, actual = table('SyntheticLowLightDataset'), parameters(LowLightDegradation)
    assert documented.keys() == actual.keys()
    assert all(same(documented[name], default) for name, default in actual.items())


def test_arguments_of_prepare(run):
    documented = {name.partition(' ')[0] for name in table('LMDB databases')}
    flags = set(re.findall(r'--[a-z][\w-]+', run('prepare', '--help')[1]))
    assert documented == flags - {'--help', '--root', '--out', '--traceback'}


def test_options_of_the_paired_dataset():
    assert table('LowLightPairedDataset').keys() == {*LowLightPairedDataset.KEYS, *IMAGE_KEYS, 'scale'}


@pytest.mark.parametrize('document', PAGES)
def test_files_and_links_exist(document):
    text = (ROOT / document).read_text()
    links = [link.partition('#')[0] for link in re.findall(r'\]\(([^)]+)\)', text) if '://' not in link]
    named = re.findall(r'(?:options|scripts)/[\w/]+\.(?:yml|py)', text)
    assert links or named or document == 'CHANGELOG.md'
    for path in [(ROOT / document).parent / link for link in links if link] + [ROOT / name for name in named]:
        assert path.exists(), path


def test_modules_that_contributing_names_exist():
    named = re.findall(r'`([\w/]+\.py)`', (ROOT / 'CONTRIBUTING.md').read_text())
    assert named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / 'basicsr_entropy' / path).exists(), path


def test_commands_of_the_readme_are_the_programs(run):
    commands = set(re.findall(r'^basicsr-entropy (\w+)', (ROOT / 'README.md').read_text(), re.MULTILINE))
    code, shown, _ = run('--help')
    assert code == 0
    assert commands == set(re.findall(r'^ {2,4}([a-z]\w*) ', shown, re.MULTILINE))


def test_readme_names_both_commands_and_the_result_on_lol():
    readme = (ROOT / 'README.md').read_text()
    assert {'make demo', 'make test'} <= set(re.findall(r'^make \w+', readme, re.MULTILINE))
    assert 'L1 is 0.6 dB ahead' in readme
    assert '0.6 dB ahead' in re.sub(r'\s+', ' ', (ROOT / 'docs/results.md').read_text())


def test_every_subpackage_has_a_page_in_the_api_reference():
    subpackages = {path.parent.name for path in Path(basicsr_entropy.__file__).parent.glob('*/__init__.py')}
    assert set(API_PAGES) == subpackages - {'cli'}
    for name in API_PAGES:
        assert f'::: basicsr_entropy.{name}\n' in (ROOT / f'docs/api/{name}.md').read_text()


@pytest.mark.parametrize('notebook', [path.name for path in (ROOT / 'docs/notebooks').glob('*.ipynb')])
@pytest.mark.slow
def test_notebook_runs(notebook):
    nbclient, nbformat = pytest.importorskip('nbclient'), pytest.importorskip('nbformat')
    pytest.importorskip('ipykernel')
    content = nbformat.read(ROOT / 'docs/notebooks' / notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=600).execute()
