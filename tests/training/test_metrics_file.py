"""The metrics file of a test run, written by real test runs of this package's model and of stock ones."""

import json

import cv2
import pytest
from basicsr.metrics import calculate_metric
from helpers import STOCK, in_two_processes, photograph, write_image

from basicsr_entropy.training.metrics_file import read_metrics

STOCK_NETWORK = STOCK['network_g']
METRICS = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
    'ssim_gt_mean': {'type': 'calculate_ssim_gt_mean', 'better': 'higher'},
    'psnr_again': {'type': 'calculate_psnr', 'crop_border': 0},
}
MODELS = {
    'IRSDEModel': {},
    'SRModel': {'model_type': 'SRModel', 'network_g': STOCK_NETWORK, 'sde': None, 'val__sampler': None},
}


def expected(lolv1, results, image, metric):
    """A metric of the output file that an entry of the metrics file names."""
    gt = cv2.imread(str(lolv1 / f'eval15/high/{image["name"]}.png'))
    return calculate_metric({'img': cv2.imread(str(results / image['output'])), 'img2': gt}, METRICS[metric])


@pytest.mark.parametrize('model', MODELS)
def test_holds_the_metrics_of_each_image(run, write_test, workdir, lolv1, model):
    code, _, err = run('test', '-opt', write_test(val__metrics=METRICS, **MODELS[model]))
    assert code == 0, err
    results = workdir / 'results/tiny'
    written = json.loads((results / 'metrics.json').read_text())
    assert (written['name'], written['model_type'], written['metrics']) == ('tiny', model, METRICS)
    assert written['pretrain_network_g'] == 'net.pth'
    dataset = written['datasets']['test_1']
    assert dataset['name'] == 'LOL'
    assert [(image['name'], image['output']) for image in dataset['images']] == [
        ('00011', 'visualization/LOL/00011_tiny.png'),
        ('00012', 'visualization/LOL/00012_tiny.png'),
    ]
    for metric in METRICS:
        values = [image['metrics'][metric] for image in dataset['images']]
        assert values == pytest.approx([expected(lolv1, results, image, metric) for image in dataset['images']])
        assert dataset['mean'][metric] == pytest.approx(sum(values) / 2)
        assert f'# {metric}: {dataset["mean"][metric]:.4f}' in err  # what BasicSR logs
    assert {path.name for path in results.iterdir() if path.suffix != '.log'} == {'metrics.json', 'visualization'}


@pytest.mark.parametrize('model', MODELS)
def test_keeps_several_datasets_apart(run, write_test, workdir, lolv1, model):
    for name in ('00021', '00022', '00023'):
        image = photograph(int(name))
        write_image(lolv1.parent / f'more/low/{name}.png', image // 4)
        write_image(lolv1.parent / f'more/high/{name}.png', image)
    more = {
        'name': 'more',
        'type': 'PairedImageDataset',
        'dataroot_lq': str(lolv1.parent / 'more/low'),
        'dataroot_gt': str(lolv1.parent / 'more/high'),
        'io_backend': {'type': 'disk'},
    }
    # written before test_1, tested after it: BasicSR sorts the keys
    path = write_test(datasets={'test_2': more, **write_test.datasets}, **MODELS[model])
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    datasets = json.loads((workdir / 'results/tiny/metrics.json').read_text())['datasets']
    assert {key: dataset['name'] for key, dataset in datasets.items()} == {'test_1': 'LOL', 'test_2': 'more'}
    assert sorted(image['name'] for image in datasets['test_2']['images']) == ['00021', '00022', '00023']
    assert datasets['test_2']['mean']['psnr'] > datasets['test_1']['mean']['psnr'] > 0


@pytest.mark.parametrize('model', MODELS)
def test_without_ground_truth_metrics_or_outputs(run, write_test, workdir, lolv1, model):
    unpaired = {
        'name': 'mine',
        'type': 'SingleImageDataset',
        'dataroot_lq': str(lolv1 / 'eval15/low'),
        'io_backend': {'type': 'disk'},
    }
    changes = {'datasets': {'test_1': unpaired}, 'val__metrics': None, 'val__save_img': False}
    code, _, err = run('test', '-opt', write_test(**changes, **MODELS[model]))
    assert code == 0, err
    written = json.loads((workdir / 'results/tiny/metrics.json').read_text())
    assert written['metrics'] == {}
    assert written['datasets']['test_1'] == {
        'name': 'mine',
        'images': [{'name': name, 'output': None, 'metrics': {}} for name in ('00011', '00012')],
        'mean': {},
    }


@pytest.mark.slow
@pytest.mark.parametrize('model', MODELS)
def test_two_processes_write_what_one_does(run, write_test, workdir, model):
    path = write_test(val__metrics=METRICS, **MODELS[model])
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    alone = (workdir / 'results/tiny/metrics.json').read_text()
    result = in_two_processes('test', path, workdir)
    assert result.returncode == 0, result.stderr
    assert 'world_size: 2' in result.stderr
    together = (workdir / 'results/tiny/metrics.json').read_text()
    assert together == alone


def test_a_failed_test_writes_no_metrics(run, write_test, workdir, lolv1):
    (lolv1 / 'eval15/low/00012.png').write_bytes(b'damaged')
    code, _, err = run('test', '-opt', write_test())
    assert code == 1
    assert '00012.png cannot be read as an image' in err
    assert not list((workdir / 'results').rglob('metrics.json'))


def test_follows_the_results_root(run, write_test, tmp_path):
    path = write_test(path__results_root=str(tmp_path / 'elsewhere'))
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    options = {'name': 'tiny', 'path': {'results_root': str(tmp_path / 'elsewhere')}}
    image = read_metrics(options)['datasets']['test_1']['images'][0]
    assert (tmp_path / 'elsewhere' / image['output']).is_file()


def test_leaves_basicsr_as_it_was(run, write_test):
    from basicsr import test
    from basicsr.models import build_model, sr_model
    from basicsr.utils import imwrite

    run('test', '-opt', write_test(**MODELS['SRModel']))
    assert test.build_model is build_model
    assert sr_model.calculate_metric is calculate_metric
    assert sr_model.imwrite is imwrite


def test_reading_names_what_is_missing_or_damaged(workdir):
    with pytest.raises(FileNotFoundError, match='no results/x/metrics.json; run `basicsr-entropy test`'):
        read_metrics({'name': 'x'})
    (workdir / 'results/x').mkdir(parents=True)
    (workdir / 'results/x/metrics.json').write_text('{"name"')
    with pytest.raises(ValueError, match='results/x/metrics.json is damaged; run `basicsr-entropy test`'):
        read_metrics({'name': 'x'})
