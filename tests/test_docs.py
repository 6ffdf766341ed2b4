"""The documentation agrees with the code: files, links, commands, and the notebook.

The tables of options are generated; see config/test_doc_tables.py.
"""

import json
import re
import statistics
from functools import partial
from pathlib import Path

import pytest
import torch

import basicsr_entropy

ROOT = Path(basicsr_entropy.__file__).parents[1]
OPTIONS = (ROOT / 'docs/options.md').read_text()
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')))
API_PAGES = sorted(path.stem for path in (ROOT / 'docs/api').glob('*.md') if path.stem != 'index')


def test_arguments_of_prepare(run):
    section = OPTIONS.partition('\n## LMDB databases\n')[2]
    rows = re.findall(r'^\| (`--.+?) \|', section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r'`(--[\w-]+)', row)}
    flags = set(re.findall(r'--[a-z][\w-]+', run('prepare', '--help')[1]))
    assert documented == flags - {'--help', '--root', '--out', '--traceback'}


@pytest.mark.parametrize('document', PAGES)
def test_files_and_links_exist(document):
    text = (ROOT / document).read_text()
    links = [link.partition('#')[0] for link in re.findall(r'\]\(([^)]+)\)', text) if '://' not in link]
    named = re.findall(r'(?<!tests/)(?:options|scripts)/[\w/]+\.(?:yml|py)', text)
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


def test_readme_names_both_commands():
    readme = (ROOT / 'README.md').read_text()
    assert {'make demo', 'make test'} <= set(re.findall(r'^make \w+', readme, re.MULTILINE))


def test_the_sampling_example_of_own_project_runs():
    section = (ROOT / 'docs/own_project.md').read_text().partition('## The diffusion process')[2]
    mu = torch.rand(1, 3, 16, 16)
    names = {'mu': mu, 'network': lambda state, condition, timestep: torch.zeros_like(state)}
    exec(re.search(r'```python\n(.+?)```', section, re.DOTALL)[1], names)
    assert names['restored'].shape == mu.shape


def measured(file, arm, metric='lpips', seeds=None):
    """Mean of a metric over the seeds of an arm and their images."""
    models = json.loads((ROOT / 'docs' / file).read_text())
    wanted = [f'{arm}_seed{seed}' for seed in seeds or ()]
    names = wanted or [name for name in models if name.startswith(f'{arm}_seed')]
    return statistics.fmean(image[metric] for name in names for image in models[name].values())


def lower_by(file, arm, other):
    """By how many percent LPIPS is lower, over the seeds that both arms have."""
    models = json.loads((ROOT / 'docs' / file).read_text())
    seeds = [seed for seed in range(9) if f'{arm}_seed{seed}' in models and f'{other}_seed{seed}' in models]
    return 100 - 100 * measured(file, arm, seeds=seeds) / measured(file, other, seeds=seeds)


def prose(name):
    return re.sub(r'\s+', ' ', (ROOT / name).read_text())


def test_readme_and_results_state_the_measured_gain_of_the_entropy_loss():
    mean = partial(measured, 'losses.json', seeds=range(3))
    scratch, tuned = (('entropy_scratch_3_steps2', 'l1_base_steps4'), ('entropy_tuned_3_steps2', 'l1_tuned_steps4'))
    lower = {arms: 1 - mean(arms[0]) / mean(arms[1]) for arms in (scratch, tuned)}
    gain = {name: mean(scratch[0], name) - mean(scratch[1], name) for name in ('psnr', 'psnr_gt_mean', 'ssim')}
    readme, results = prose('README.md'), prose('docs/results.md')
    assert f'LPIPS is {100 * lower[scratch]:.0f} % lower than with L1 alone' in readme
    decibels = f'GT-mean PSNR {gain["psnr_gt_mean"]:.1f} dB and plain PSNR {gain["psnr"]:.1f} dB higher'
    assert f'SSIM {gain["ssim"]:.3f}, {decibels}' in readme
    assert f'LPIPS is {100 * lower[scratch]:.0f} % lower' in results
    for text in (readme, results):
        assert f'LPIPS is {100 * lower[tuned]:.0f} % lower' in text


def test_results_state_what_plain_losses_of_detail_give():
    mean = partial(measured, 'losses.json', seeds=range(3))
    entropy, l1, l2 = 'entropy_scratch_3_steps2', 'high_pass_scratch_18_steps2', 'high_pass_l2_scratch_540_steps2'
    mixture = mean('entropy_and_high_pass_l2_scratch_3_steps2')
    behind = mean(entropy, 'psnr_gt_mean') - mean(l1, 'psnr_gt_mean')
    results = prose('docs/results.md')
    assert f'comes within {mean(l1) - mean(entropy):.3f} of its LPIPS and {behind:.1f} dB' in results
    assert f'has a lower LPIPS, by {mean(entropy) - mean(l2):.3f}' in results
    below = 1 - mixture / mean('l1_base_steps4')
    assert f'together, {100 * below:.0f} % below L1: {mean(l2) - mixture:.3f} [' in results


@pytest.mark.parametrize('file', ['losses.json', 'losses_budget.json', 'losses_large.json'])
def test_the_images_of_the_measurements_are_those_of_the_list(file):
    listed = [line.split() for line in (ROOT / 'docs/lolv1_split.txt').read_text().splitlines()]
    tested = {Path(name).stem for part, name in listed if part == 'eval15'}
    assert (len(listed), len({name for _, name in listed}), len(tested)) == (205, 205, 55)
    models = json.loads((ROOT / 'docs' / file).read_text()).values()
    assert all(images.keys() <= tested and len(images) in (15, 55) for images in models)


IN_README = {  # the columns of its table
    'losses.json': ('l1_base_steps4', '{}_scratch_{}_steps2'),
    'losses_budget.json': ('l1_48000_steps4', '{}_48000_steps2'),
    'losses_large.json': ('l1_large_steps4', '{}_large_{}_steps2'),
}
LOSSES = {
    ' + `HighPassLoss`': ('high_pass', 18),
    ' + `HighPassLoss` (L2)': ('high_pass_l2', 540),
    ' + `SpatialEntropyLoss`': ('entropy', 3),
}


@pytest.mark.parametrize('loss', ['', *LOSSES])
def test_the_table_of_the_readme_is_measured(loss):
    cells = []
    for file, (l1, other) in IN_README.items():
        mean = partial(measured, file, other.format(*LOSSES[loss]) if loss else l1)
        cells.append(f'{mean("lpips"):.3f}, {mean("psnr_gt_mean"):.1f} dB')
    assert f'| L1{loss} | {" | ".join(cells)} |\n' in (ROOT / 'README.md').read_text()


def test_readme_and_results_state_what_longer_trainings_and_larger_networks_change():
    lead = {}
    for file, (l1, other) in list(IN_README.items())[1:]:
        plain, plain_l2, entropy = (other.format(*loss) for loss in LOSSES.values())
        lead[file] = [f'{lower_by(file, entropy, each):.0f} %' for each in (l1, plain, plain_l2)]
    readme, results = prose('README.md'), prose('docs/results.md')
    for l1, plain, plain_l2 in lead.values():
        assert f'{l1} below L1, {plain} below high-pass L1 and {plain_l2} below high-pass L2' in results
    longer, larger = lead.values()
    assert f'LPIPS is still {longer[0]} lower (one seed)' in results
    assert f'LPIPS is then {longer[2]} and {larger[1]} below that of the better of the two' in readme
    assert f'LPIPS is {longer[2]} and {larger[1]} below that of the best plain loss (two seeds each)' in results
    lower = [lower_by('losses_budget.json', 'entropy_12000', f'{name}_12000') for name in ('high_pass_l2', 'high_pass')]
    assert f'its LPIPS is {lower[0]:.0f} % and {lower[1]:.0f} % lower (three seeds and one)' in results


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
