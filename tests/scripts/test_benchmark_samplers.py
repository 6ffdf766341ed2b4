"""`scripts/benchmark_samplers.py`, on a tiny model."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml

SCRIPTS = Path(__file__).parents[2] / 'scripts'


@pytest.fixture
def trunk(workdir):
    """File with random weights of LPIPS's AlexNet."""
    lpips = pytest.importorskip('lpips')
    network = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False).net
    state = {f'features.{key.partition(".")[2]}': value for key, value in network.state_dict().items()}
    torch.save(state, workdir / 'alexnet.pth')
    return 'alexnet.pth'


def test_benchmark_samplers_measures_what_is_missing(write_test, workdir, monkeypatch, trunk):
    test = write_test()

    def benchmark(*arguments):
        monkeypatch.setattr(sys, 'argv', ['benchmark_samplers.py', '-opt', str(test), *arguments])
        monkeypatch.setattr(sys, 'path', [str(SCRIPTS), *sys.path])
        runpy.run_path(str(SCRIPTS / 'benchmark_samplers.py'), run_name='__main__')
        return json.loads((workdir / 'results/benchmark_samplers/results.json').read_text())

    first = ('--samplers', 'posterior', 'mr_ode:order=1', '--evaluations', '1', '2')
    before = benchmark(*first)
    assert before['runs'].keys() == {
        f'{name} {steps} 0 {image}'
        for name in ('posterior', 'mr_ode:order=1')
        for steps in (1, 2)
        for image in ('00011', '00012')
    }
    assert all(run.keys() == {'psnr', 'seconds'} for run in before['runs'].values())
    after = benchmark('--samplers', 'posterior', '--evaluations', '1', '--seeds', '0', '1', '--lpips-trunk', trunk)
    assert after['metrics'].keys() == {'psnr', 'lpips'}
    for key, run in before['runs'].items():
        measured_again = key.startswith('posterior 1 ')
        assert after['runs'][key]['psnr'] == run['psnr']
        assert ('lpips' in after['runs'][key]) == measured_again
        assert (after['runs'][key]['seconds'] == run['seconds']) != measured_again
    table = (workdir / 'results/benchmark_samplers/samplers.md').read_text()
    assert table.startswith('| psnr / lpips | 1 |\n')
    assert (workdir / 'results/benchmark_samplers/samplers.png').is_file()

    options = yaml.safe_load(test.read_text())
    options['val']['metrics']['psnr']['crop_border'] = 4
    test.write_text(yaml.safe_dump(options))
    with pytest.raises(ValueError, match='results.json was measured with other options of psnr; choose another --out'):
        benchmark(*first)


def test_benchmark_samplers_gives_the_network_what_the_model_gives_it(write_test, run, workdir, monkeypatch):
    """One evaluation, hardly any noise: the lifted image and the network alone decide."""
    sde = {'prediction': 'residual', 'max_sigma': 0.001, 'condition': {'lift': 'gamma', 'gamma': 0.2}}
    test = write_test(sde=sde, val__sampler={'type': 'mr_ode', 'steps': 1})
    arguments = ['-opt', str(test), '--samplers', 'mr_ode', '--evaluations', '1']
    monkeypatch.setattr(sys, 'argv', ['benchmark_samplers.py', *arguments])
    monkeypatch.setattr(sys, 'path', [str(SCRIPTS), *sys.path])
    runpy.run_path(str(SCRIPTS / 'benchmark_samplers.py'), run_name='__main__')
    runs = json.loads((workdir / 'results/benchmark_samplers/results.json').read_text())['runs']
    code, _, err = run('test', '-opt', test)
    assert code == 0, err
    (of_images,) = json.loads((workdir / 'results/tiny/metrics.json').read_text())['datasets'].values()
    for image in of_images['images']:
        assert runs[f'mr_ode 1 0 {image["name"]}']['psnr'] == pytest.approx(image['metrics']['psnr'], abs=0.01)
