"""The scripts of an experiment: trainings, measurements, report; on a tiny model."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY

from basicsr_entropy.config.validate import check_options
from basicsr_entropy.diffusion import MeanRevertingSDE

SCRIPTS = Path(__file__).parents[2] / 'scripts'
METRICS = ['psnr', 'ssim', 'psnr_gt_mean', 'ssim_gt_mean', 'entropy', 'entropy_aligned', 'detail']


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, SCRIPTS / name, *arguments]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def experiment():
    """The script, with what it compares in the registries while the tests of this file run."""
    pytest.importorskip('piq')
    with pytest.MonkeyPatch.context() as patch:
        for registry in (LOSS_REGISTRY, MODEL_REGISTRY):
            patch.setattr(registry, '_obj_map', dict(registry._obj_map))
        patch.syspath_prepend(SCRIPTS)
        patch.chdir(SCRIPTS.parent)
        import_module('rival_losses')
        yield import_module('experiment')


@pytest.mark.parametrize('file', sorted((SCRIPTS / 'experiments').glob('*.yml')), ids=lambda file: file.stem)
def test_options_of_every_arm_are_valid(experiment, file):
    read = experiment.read_experiment(str(file))
    for arm in read['arms']:
        check_options(experiment.train_options(read, arm, 1, 'data'), is_train=True, files=False)
        for options in experiment.test_options(read, arm, 1, 'data').values():
            check_options(options, is_train=False, files=False)


@pytest.mark.parametrize(('name', 'weights'), [('EntropyEarlyModel', (0.5, 2)), ('EntropyLateModel', (1.5, 0))])
def test_weights_by_the_timestep_are_those_of_the_gradient(experiment, name, weights):
    model = object.__new__(MODEL_REGISTRY.get(name))
    model.process, model.compared = MeanRevertingSDE(timesteps=4), {'pixel': 'x0', 'entropy': model.WEIGHTED}
    x0, mu, noise, x_t = (torch.rand(2, 3, 4, 4) for _ in range(4))
    prediction = torch.rand(2, 3, 4, 4, requires_grad=True)
    pairs = model._compared_pairs(x0, mu, torch.tensor([1, 4]), noise, x_t, prediction)
    gradients = []
    for compared in ('x0', model.WEIGHTED):
        pred, target = pairs[compared]
        torch.testing.assert_close(pred, pairs['x0'][0], rtol=0, atol=0)
        torch.testing.assert_close(target, x0, rtol=0, atol=0)
        gradients += torch.autograd.grad(pred.square().sum(), prediction, retain_graph=True)
    factors = torch.tensor(weights)[:, None, None, None]
    torch.testing.assert_close(gradients[1], factors * gradients[0])


@pytest.mark.slow
def test_trains_measures_and_reports_every_arm_once(write_options, write_test, workdir, lolv1):
    pytest.importorskip('piq')
    l1 = {'pixel': {'type': 'L1Loss'}}
    experiment = {
        'train': str(write_options()),
        'test': str(write_test()),
        'defaults': {'seeds': [0], 'iterations': 2, 'lr': 0.001},
        'arms': {
            'l1': {'losses': l1, 'seeds': [0, 1]},
            'gmsd': {
                'from': 'l1',
                'iterations': 4,
                'steps': [1, 3],
                'vary': 'gmsd',
                'weights': [2],
                'losses': {**l1, 'gmsd': {'type': 'GMSDLoss'}},
                'force_yml': ['sde:condition={lift: gamma}'],
            },
        },
    }
    (workdir / 'experiment.yml').write_text(yaml.safe_dump(experiment, sort_keys=False))
    arguments = ('experiment.yml', '--dataroot', lolv1, '--out', 'out', '--jobs', '2')
    script('experiment.py', *arguments)
    results = json.loads((workdir / 'out/results.json').read_text())
    assert results.keys() == {'l1_seed0', 'l1_seed1', 'gmsd_2_steps1_seed0', 'gmsd_2_steps3_seed0'}
    for images in results.values():
        assert images.keys() == {'00011', '00012'}
        assert all(list(image) == METRICS for image in images.values())
    log = (workdir / 'out/logs/train_gmsd_2_seed0.log').read_text()
    assert 'Loaded ConditionalNAFNet from experiments/l1_seed0/models/net_g_latest.pth' in log
    assert 'l_gmsd: ' in log
    for name in ('train_gmsd_2_seed0', 'test_gmsd_2_steps1_seed0', 'test_gmsd_2_steps3_seed0'):
        options = yaml.safe_load((workdir / f'out/options/{name}.yml').read_text())
        assert options['sde']['condition'] == {'lift': 'gamma'}

    written = {path: path.stat().st_mtime_ns for path in (workdir / 'out').rglob('*.pth')}
    script('experiment.py', *arguments)
    assert written == {path: path.stat().st_mtime_ns for path in (workdir / 'out').rglob('*.pth')}
    assert results == json.loads((workdir / 'out/results.json').read_text())

    script('report_experiment.py', 'out', '--against', 'l1', '--x', 'entropy', '--dataroot', lolv1)
    table, difference = (
        (workdir / 'out' / name).read_text().splitlines()[2:] for name in ('table.md', 'differences.md')
    )
    assert [line.split(' | ')[:2] for line in table] == [
        ['| l1', '0, 1'],
        ['| gmsd_2_steps1', '0'],
        ['| gmsd_2_steps3', '0'],
    ]
    assert (workdir / 'out/table.md').read_text().startswith('| 2 images | seeds | PSNR |')
    means = [sum(each['psnr'] for each in results[f'{arm}_seed0'].values()) / 2 for arm in ('l1', 'gmsd_2_steps1')]
    assert difference[0].startswith(f'| gmsd_2_steps1 | 0 | {means[1] - means[0]:+.2f} [')
    assert (workdir / 'out/tradeoff.png').is_file()
    assert (workdir / 'out/crops.png').is_file()
    assert not (workdir / 'out/curves.png').exists()  # no arm has several weights
