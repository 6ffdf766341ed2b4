"""`basicsr-entropy report` on the results of test runs."""

import json
import re

import cv2
import numpy as np
import pytest
import yaml
from basicsr.metrics import calculate_metric
from helpers import write_image, write_pairs

from basicsr_entropy.inference import Enhancer
from basicsr_entropy.inference.pretrained import write_model
from basicsr_entropy.metrics import calculate_psnr_gt_mean

METRICS = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
    'ssim': {'type': 'calculate_ssim', 'crop_border': 0},
    'psnr_gt_mean': {'type': 'calculate_psnr_gt_mean'},
}


def write_results(root, lolv1, metrics):
    """What a test run writes: outputs that are the ground truth, one gray level brighter, and their metrics."""
    images = []
    for path in sorted((lolv1 / 'eval15/high').iterdir()):
        gt, output = cv2.imread(str(path)), f'visualization/LOL/{path.stem}_perfect.png'
        bright = np.minimum(gt, 254) + 1
        write_image(root / output, bright)
        values = {name: calculate_metric({'img': bright, 'img2': gt}, each) for name, each in metrics.items()}
        images.append({'name': path.stem, 'output': output, 'metrics': values})
    content = {'metrics': metrics, 'datasets': {'test_1': {'name': 'LOL', 'images': images}}}
    (root / 'metrics.json').write_text(json.dumps(content))


@pytest.fixture
def tested(workdir, lolv1):
    """The option file of a test whose outputs are the ground truth, one gray level brighter."""
    options = {
        'name': 'perfect',
        'datasets': {'test_1': {'name': 'LOL', 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)}},
        'val': {'suffix': None, 'metrics': METRICS},
    }
    (workdir / 'test.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    write_results(workdir / 'results/perfect', lolv1, METRICS)
    return workdir / 'test.yml'


def change(path, **changes):
    """Changes an option file: val__metrics=... and the like."""
    options = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *sections, last = key.split('__')
        section = options
        for each in sections:
            section = section.setdefault(each, {})
        section[last] = value
    path.write_text(yaml.safe_dump(options, sort_keys=False))


def table_rows(out):
    """Cells of each row of a printed table but its first, by the first; also its header, as 'image'."""
    rows = [[cell.strip() for cell in re.split('[│┃]', line)[1:-1]] for line in out.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def after(row):
    """The output's value in the first column of a row."""
    return float(row[0].split(' -> ')[1])


def test_shows_a_table_and_a_picture(run, tested, workdir, lolv1):
    code, out, err = run('report', '-opt', tested)
    assert code == 0, err
    before = [
        calculate_psnr_gt_mean(*(cv2.imread(str(lolv1 / f'eval15/{side}/{name}.png')) for side in ('low', 'high')))
        for name in ('00011', '00012')
    ]
    rows = {row.split()[1]: re.findall(r'[\d.]+ -> [\d.]+', row) for row in out.splitlines() if '->' in row}
    assert rows.keys() >= {'00011', '00012', 'mean'}
    psnr = float(rows['00011'][0].split(' -> ')[1])
    assert psnr == pytest.approx(48.13, abs=0.05)  # one level of 255
    assert float(rows['mean'][2].split(' -> ')[0]) == pytest.approx(sum(before) / 2, abs=0.01)
    picture = cv2.imread(str(workdir / 'results/perfect/comparison.png'))
    assert picture.shape == (2 * (350 + 26), 3 * 420, 3)
    shown = picture[26:376]
    assert shown[:, :420].mean() < 0.25 * shown[:, 420:840].mean()
    assert abs(shown[:, 420:840].mean() - shown[:, 840:].mean()) < 2


def test_shows_another_model_beside_the_output(run, tested, workdir, lolv1, pretrained):
    write_model(pretrained, workdir / 'tiny.safetensors')
    code, _, err = run('report', '-opt', tested, '--model', 'tiny.safetensors')
    assert code == 0, err
    picture = cv2.imread('results/perfect/comparison.png')
    assert picture.shape == (2 * (350 + 26), 4 * 420, 3)
    source = cv2.imread(str(lolv1 / 'eval15/low/00011.png'))
    expected = Enhancer(pretrained)(source[..., ::-1].copy())[..., ::-1]
    assert picture[26:376, 840:1260].mean(axis=(0, 1)) == pytest.approx(expected.mean(axis=(0, 1)), abs=1)


def test_names_a_missing_output(run, tested, workdir):
    (workdir / 'results/perfect/visualization/LOL/00012_perfect.png').unlink()
    code, _, err = run('report', '-opt', tested)
    assert code == 1
    assert 'error: no output results/perfect/visualization/LOL/00012_perfect.png; run `basicsr-entropy test`' in err
    assert not (workdir / 'results/perfect/comparison.png').exists()


def test_follows_the_results_root_of_the_option_file(run, tested, workdir, tmp_path):
    options = yaml.safe_load(tested.read_text())
    options['path'] = {'results_root': str(tmp_path / 'elsewhere')}
    tested.write_text(yaml.safe_dump(options))
    (workdir / 'results/perfect').rename(tmp_path / 'elsewhere')
    code, _, err = run('report', '-opt', tested)
    assert code == 0, err
    assert (tmp_path / 'elsewhere/comparison.png').is_file()


def test_asks_for_a_test_run_first(run, tested, workdir):
    (workdir / 'results/perfect/metrics.json').unlink()
    code, _, err = run('report', '-opt', tested)
    assert code == 1
    assert 'error: no results/perfect/metrics.json; run `basicsr-entropy test` with this option file first' in err


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'val__metrics__lpips': {'type': 'calculate_lpips'}}, 'val.metrics.lpips: not measured with these options in'),
        (
            {'val__metrics__psnr__crop_border': 4},
            'val.metrics.psnr: not measured with these options in results/perfect',
        ),
        (
            {'datasets__test_2': {'name': 'other'}},
            'datasets: results/perfect/metrics.json has test_1, the option file te',
        ),
        ({'datasets__test_1__split': 'train'}, 'datasets.test_1: 4 images, but 2 in results/perfect/metrics.json; run'),
    ],
    ids=str,
)
def test_refuses_results_of_other_options(run, tested, changes, message):
    change(tested, **changes)
    code, _, err = run('report', '-opt', tested)
    assert code == 1
    assert f'error: {message}' in err
    assert '`basicsr-entropy test`' in err


def test_lower_may_be_better(run, tested, workdir, lolv1):
    """The direction of a metric decides which images count as improved; a file with fewer metrics shows fewer."""
    metrics = {'up': METRICS['psnr'], 'down': {**METRICS['psnr'], 'better': 'lower'}, 'unused': METRICS['ssim']}
    write_results(workdir / 'results/perfect', lolv1, metrics)
    change(tested, val__metrics={name: metrics[name] for name in ('down', 'up')})
    code, out, err = run('report', '-opt', tested)
    assert code == 0, err
    rows = table_rows(out)
    assert rows['image'] == ['down ↓', 'up ↑']
    assert rows['improved'] == ['0 of 2', '2 of 2']
    assert rows['mean'][0] == rows['mean'][1]


@pytest.mark.parametrize('model', ['IRSDEModel', 'SRModel'])
def test_reports_a_test_run(run, write_test, workdir, lolv1, model):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'upscale': 1}
    stock = {'model_type': 'SRModel', 'network_g': network, 'sde': None, 'val__sampler': None}
    more = {'name': 'more', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    for side, folder in (('lq', 'low'), ('gt', 'high')):
        more[f'dataroot_{side}'] = str(lolv1 / 'our485' / folder)
    changes = {'datasets': {**write_test.datasets, 'test_2': more}, **(stock if model == 'SRModel' else {})}
    path = write_test(**changes)
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    code, out, err = run('report', '-opt', path)
    assert code == 0, err
    written = json.loads((workdir / 'results/tiny/metrics.json').read_text())['datasets']
    first, second = out.split('tiny on ')[1:]
    assert first.startswith('LOL: input -> output')
    assert second.startswith('more: input -> output')
    for text, dataset in ((first, written['test_1']), (second, written['test_2'])):
        rows = table_rows(text)
        for image in dataset['images']:
            assert after(rows[image['name']]) == pytest.approx(image['metrics']['psnr'], abs=0.006)
        assert after(rows['mean']) == pytest.approx(dataset['mean']['psnr'], abs=0.006)
    assert cv2.imread(str(workdir / 'results/tiny/comparison.png')).shape == (6 * (350 + 26), 3 * 420, 3)


def test_reports_inputs_without_ground_truth(run, write_test, workdir, lolv1):
    unpaired = {
        'name': 'mine',
        'type': 'SingleImageDataset',
        'dataroot_lq': str(lolv1 / 'eval15/low'),
        'io_backend': {'type': 'disk'},
    }
    path = write_test(datasets={'test_1': unpaired}, val__metrics=None)
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    code, out, err = run('report', '-opt', path)
    assert code == 0, err
    assert 'no metrics: val.metrics names none' in out
    assert cv2.imread(str(workdir / 'results/tiny/comparison.png')).shape == (2 * (350 + 26), 2 * 420, 3)
    code, _, err = run(
        'test', '-opt', write_test(datasets={'test_1': unpaired}, val__metrics=None, val__save_img=False)
    )
    assert code == 0, err
    code, _, err = run('report', '-opt', path)
    assert code == 1
    assert 'error: val.save_img: the test wrote no images; set it to true and run `basicsr-entropy test`' in err


def test_reports_paired_and_unpaired_images_with_the_metrics_that_each_can_have(run, write_test, workdir):
    write_pairs(workdir / 'low', workdir / 'high', 2, height=200, width=200)  # of which NIQE needs two blocks of 96
    paired = {'name': 'pairs', 'type': 'LowLightPairedDataset', 'dataroot_lq': 'low', 'dataroot_gt': 'high'}
    unpaired = {'name': 'mine', 'type': 'SingleImageDataset', 'dataroot_lq': 'low', 'io_backend': {'type': 'disk'}}
    metrics = {'psnr': METRICS['psnr'], 'niqe': {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'}}
    path = write_test(datasets={'test_1': unpaired, 'test_2': paired}, val__metrics=metrics)
    code, _, err = run('test', '-opt', path)
    assert code == 0, err
    written = json.loads((workdir / 'results/tiny/metrics.json').read_text())['datasets']
    assert [list(written[key]['mean']) for key in ('test_1', 'test_2')] == [['niqe'], ['psnr', 'niqe']]
    code, out, err = run('report', '-opt', path)
    assert code == 0, err
    first, second = out.split('tiny on ')[1:]
    assert table_rows(first)['image'] == ['niqe ↓']
    assert table_rows(second)['image'] == ['psnr ↑', 'niqe ↓']
    assert cv2.imread(str(workdir / 'results/tiny/comparison.png')).shape == (4 * (420 + 26), 3 * 420, 3)


def test_reports_gray_images(run, write_test, workdir):
    datasets = {'test_1': {**write_test.datasets['test_1'], 'color': 'y'}}
    network = {'type': 'ConditionalNAFNet', 'img_channel': 1, 'width': 8, 'enc_blk_nums': [1], 'dec_blk_nums': [1]}
    path = write_test(datasets=datasets, network_g={**network, 'middle_blk_num': 1})
    for command in ('test', 'report'):
        code, _, err = run(command, '-opt', path)
        assert code == 0, err
    assert cv2.imread(str(workdir / 'results/tiny/comparison.png')).shape == (2 * (350 + 26), 3 * 420, 3)
