"""`basicsr-entropy train`, on small real files."""

import re
import subprocess
import time

import pytest
import torch
import yaml
from helpers import CLI, STOCK, assert_one_line, in_two_processes, photograph, write_image, write_pairs

from basicsr_entropy.data.prepare.prepare import prepare_lmdb
from basicsr_entropy.models.irsde_model import IRSDEModel


def weights(path, key='params'):
    state = torch.load(path)[key]
    return torch.cat([value.flatten() for value in state.values()])


def test_trains_and_tests_from_option_files(run, write_options, workdir, lolv1):
    code, _, log = run('train', '-opt', write_options())
    assert code == 0, log
    assert len(re.findall(r'iter: +\d+, .* l_entropy: ', log)) == 4
    assert 'GFLOPs' in log
    assert '# psnr: ' in log
    saved = sorted(path.name for path in (workdir / 'experiments/tiny/models').iterdir())
    assert saved == ['net_g_2.pth', 'net_g_4.pth', 'net_g_latest.pth']

    options = yaml.safe_load((workdir / 'tiny.yml').read_text())
    options = {key: options[key] for key in ('name', 'model_type', 'num_gpu', 'sde', 'network_g', 'val')}
    options['datasets'] = {'test_1': {'name': 'LOL', 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)}}
    options['path'] = {'pretrain_network_g': 'experiments/tiny/models/net_g_latest.pth', 'param_key_g': 'params_ema'}
    options['val']['suffix'] = None
    (workdir / 'test.yml').write_text(yaml.safe_dump(options))
    code, _, log = run('test', '-opt', 'test.yml')
    assert code == 0, log
    assert sorted(path.name for path in (workdir / 'results/tiny/visualization/LOL').iterdir()) == [
        '00011_tiny.png',
        '00012_tiny.png',
    ]
    assert '# psnr: ' in log


def test_one_option_file_trains_from_folders_and_from_databases(run, write_options, workdir, lolv1):
    code, out, _ = run('prepare', '--root', lolv1, '--out', workdir / 'databases')
    assert code == 0
    assert re.search('train: 4 pairs, .* MB in', out)
    trained = []
    for name, root in (('folders', lolv1), ('databases', workdir / 'databases')):
        code, _, log = run(
            'train',
            '-opt',
            write_options('same.yml'),
            '--force_yml',
            f'name={name}',
            f'datasets:train:dataroot={root}',
            f'datasets:val:dataroot={root}',
        )
        assert code == 0, log
        trained.append(weights(workdir / f'experiments/{name}/models/net_g_4.pth'))
    assert torch.equal(*trained)


def test_the_seed_draws_the_order_of_the_images(run, write_options, monkeypatch):
    orders = {}
    feed = IRSDEModel.feed_data
    for name, seed in (('first', 0), ('again', 0), ('other', 1)):
        seen = orders[name] = []
        monkeypatch.setattr(
            IRSDEModel, 'feed_data', lambda self, data, seen=seen: (seen.extend(data['lq_path']), feed(self, data))
        )
        code, _, log = run('train', '-opt', write_options(f'{name}.yml', manual_seed=seed, val=None))
        assert code == 0, log
    assert orders['first'] == orders['again']
    assert orders['first'] != orders['other']


@pytest.mark.parametrize(
    'loss',
    [
        {'type': 'SpatialEntropyLoss', 'levels': [4, 8], 'divergence': 'relative'},
        {'type': 'MixedLoss', 'losses': [{'type': 'L1Loss'}, {'type': 'SpatialEntropyLoss', 'levels': 4}]},
    ],
    ids=lambda loss: loss['type'],
)
def test_trains_a_stock_network_in_the_stock_model(run, write_options, workdir, loss):
    code, _, log = run('train', '-opt', write_options('stock.yml', **STOCK, train__pixel_opt=loss))
    assert code == 0, log
    assert len(re.findall(r'l_pix: \d', log)) == 4
    for term in loss.get('losses', ()):
        assert len(re.findall(rf'l_pix_{term["type"]}: \d', log)) == 4
    first, last = (weights(workdir / f'experiments/stock/models/net_g_{at}.pth') for at in (2, 4))
    assert not torch.equal(first, last)


def test_the_stock_model_logs_the_terms_of_a_mixed_loss_beside_their_sum(run, write_options):
    blurs = [{'type': 'GaussianBlurL1Loss', 'sigma': sigma} for sigma in (1, 3)]
    loss = {'type': 'MixedLoss', 'loss_weight': 2, 'losses': [blurs[0], {'type': 'L1Loss'}, blurs[1]]}
    code, _, log = run('train', '-opt', write_options(**STOCK, train__total_iter=1, train__pixel_opt=loss))
    assert code == 0, log
    logged = {name: float(value) for name, value in re.findall(r'(l_pix\w*): (\d\S+)', log)}
    terms = ['l_pix_GaussianBlurL1Loss_1', 'l_pix_L1Loss', 'l_pix_GaussianBlurL1Loss_2']
    assert list(logged) == ['l_pix', *terms]
    assert logged['l_pix'] == pytest.approx(sum(logged[term] for term in terms), rel=1e-3)


def test_whole_numbers_may_be_written_as_floats(run, write_options, workdir):
    changes = {
        'manual_seed': 1.0,
        'datasets__train__batch_size_per_gpu': 2.0,
        'datasets__train__dataset_enlarge_ratio': 10.0,
        'network_g__width': 8.0,
        'network_g__enc_blk_nums': [1.0],
        'train__accumulate': 2.0,
        'train__total_iter': 4.0,
        'logger__keep_checkpoints': 1.0,
    }
    code, _, err = run('train', '-opt', write_options(**changes))
    assert code == 0, err
    assert {each.name for each in (workdir / 'experiments/tiny/training_states').iterdir()} == {'4.state'}


def test_lower_lpips_is_better_without_being_told(run, write_options, workdir, monkeypatch):
    values = iter([0.3, 0.3, 0.2, 0.2, 0.4, 0.4])  # of two images each
    monkeypatch.setattr('basicsr_entropy.models.irsde_model.calculate_metric', lambda data, options: next(values))
    metrics = {'lpips': {'type': 'calculate_lpips'}}
    monkeypatch.setattr('basicsr_entropy.metrics.calculate_lpips.prepare', lambda **_: None)
    changes = {'val__val_freq': 1, 'val__save_img': False, 'val__save_best': 'lpips'}
    code, _, err = run('train', '-opt', write_options(train__total_iter=3, val__metrics=metrics, **changes))
    assert code == 0, err
    assert re.search(r'# lpips: 0\.2000\s+Best: 0\.2000 @ 2 iter', err)
    assert re.search(r'# lpips: 0\.4000\s+Best: 0\.2000 @ 2 iter', err)


def test_outputs_of_several_validation_sets_are_kept(run, write_options, workdir, lolv1):
    sets = {name: {'name': name, 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)} for name in ('a', 'b')}
    changes = {'datasets__val': sets['a'], 'datasets__val_2': sets['b'], 'val__val_freq': 2}
    code, _, err = run('train', '-opt', write_options(train__total_iter=2, **changes))
    assert code == 0, err
    written = sorted((workdir / 'experiments/tiny/visualization').rglob('*.png'))
    names = ['00011', '00012']
    expected = [f'{folder}/{name}/{name}_2.png' for folder in sets for name in names]
    assert [str(path.relative_to(workdir / 'experiments/tiny/visualization')) for path in written] == expected


def test_stops_and_goes_on_at_the_right_iteration(run, write_options, workdir):
    run('train', '-opt', write_options(train__total_iter=3))
    path = write_options(train__total_iter=6)
    code, _, log = run('train', '-opt', path, '--auto_resume')
    assert code == 0, log
    assert 'Resuming training from epoch: 0, iter: 2.' in log
    assert re.findall(r'iter: +(\d+), lr', log) == ['3', '4', '5', '6']
    states = {path.name for path in (workdir / 'experiments/tiny/training_states').iterdir()}
    assert states == {'2.state', '4.state', '6.state'}
    assert not list((workdir / 'experiments').glob('*archived*'))


def test_resumes_under_another_experiments_root(run, write_options, workdir, tmp_path):
    root = tmp_path / 'elsewhere/run'
    for total in (2, 4):
        path = write_options(path__experiments_root=str(root), train__total_iter=total)
        code, _, log = run('train', '-opt', path, '--auto_resume')
        assert code == 0, log
    assert 'Resuming training from epoch: 0, iter: 2.' in log
    assert {path.name for path in (root / 'training_states').iterdir()} == {'2.state', '4.state'}
    assert not (workdir / 'experiments').exists()


@pytest.mark.slow
def test_a_killed_run_resumes(write_options, workdir):
    """kill -9 at some moment after the first checkpoint; what auto-resume finds is whole."""
    path = write_options(train__total_iter=90_000, logger__save_checkpoint_freq=1)
    command = [*CLI, 'train', '-opt', str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=workdir)
    states = workdir / 'experiments/tiny/training_states'
    deadline = time.monotonic() + 900  # a busy machine
    try:
        while len(list(states.glob('*.state'))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    newest = max(int(path.stem) for path in states.glob('*.state'))
    path = write_options(train__total_iter=newest + 2, logger__save_checkpoint_freq=1)
    result = subprocess.run(
        [*CLI, 'train', '-opt', str(path), '--auto_resume'], capture_output=True, text=True, cwd=workdir, check=False
    )
    assert result.returncode == 0, result.stderr
    resumed = int(re.search(r'Resuming training from epoch: \d+, iter: (\d+)', result.stderr)[1])
    assert resumed in (newest, newest - 1)
    assert (states / f'{newest + 2}.state').is_file()


@pytest.mark.slow
def test_two_processes_train_together_without_cuda(write_options, workdir):
    path = write_options(train__total_iter=2)
    result = in_two_processes('train', path, workdir)
    assert result.returncode == 0, result.stderr
    assert 'World size (gpu number): 2' in result.stderr
    outputs = {path.parent.name for path in (workdir / 'experiments/tiny/visualization').rglob('*.png')}
    assert outputs == {'00011', '00012'}  # one from each
    assert result.stderr.count('# psnr: ') == 1


def rename_high(root):
    (root / 'our485/high').rename(root / 'our485/tall')


def empty_low(root):
    for path in (root / 'our485/low').iterdir():
        path.unlink()


BROKEN_DATA = [
    (lambda root: root.rename(root.with_name('gone')), r'datasets.train.dataroot: no folder .*/LOLv1'),
    (rename_high, r"datasets.train.split: no 'train' under .*LOLv1; splits there: test"),
    (empty_low, r"datasets.train: split 'train': no low-light images in .*our485/low"),
    (
        lambda root: (root / 'our485/low/00002.png').unlink(),
        r"split 'train': 3 low-light and 4 normal-light images do not pair; .* is .*high/00002.png",
    ),
    (
        lambda root: write_image(root / 'our485/low/00002.png', photograph(2, 40, 44)),
        r'datasets.train \(LOLv1\): sizes do not fit: .*low/00002.png is 44x40, .*high/00002.png is 48x40',
    ),
    (
        lambda root: (root / 'our485/high/00001.png').write_bytes(b'damaged'),
        r'high/00001.png cannot be read as an image',
    ),
]


@pytest.mark.parametrize(('damage', 'message'), BROKEN_DATA)
@pytest.mark.parametrize('workers', [0, 1])
def test_broken_data_is_one_line_that_names_it(run, write_options, lolv1, damage, message, workers):
    damage(lolv1)
    code, _, err = run(
        'train', '-opt', write_options(train__total_iter=20, datasets__train__num_worker_per_gpu=workers)
    )
    assert_one_line(code, err, message)


def test_an_image_that_cannot_be_read_ends_a_run_that_prefetches(run, write_options, lolv1):
    (lolv1 / 'our485/high/00001.png').write_bytes(b'damaged')
    path = write_options(train__total_iter=20, datasets__train__prefetch_mode='cpu')
    code, _, err = run('train', '-opt', path)
    assert_one_line(code, err, 'high/00001.png cannot be read as an image')


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_a_missing_gpu_is_one_line(run, write_options):
    code, _, err = run('train', '-opt', write_options(num_gpu=1))
    assert_one_line(code, err, 'num_gpu: 1 asked for, but torch sees no CUDA device; use auto or 0')


def test_a_crop_larger_than_an_image_is_one_line(run, write_options):
    code, _, err = run('train', '-opt', write_options(datasets__train__gt_size=64))
    assert_one_line(code, err, r'datasets.train \(LOLv1\).gt_size: a crop of 64 is larger than .*png')


def test_wrong_loss_of_a_stock_model_is_named_too(run, write_options):
    loss = {'type': 'SpatialEntropyLoss', 'levels': 0}
    code, _, err = run('train', '-opt', write_options(**STOCK, train__pixel_opt=loss))
    assert_one_line(code, err, 'train.pixel_opt.levels: must be')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, '-opt: no file option.yml'),
        ('name: [1, 2', 'option.yml, line 1: not valid YAML'),
        ('just text', 'option.yml: an option file is a mapping of options, got str'),
        ('model_type: SRModel', 'train: missing; training needs this section'),
    ],
)
def test_unreadable_option_files(run, workdir, content, message):
    if content is not None:
        (workdir / 'option.yml').write_text(content)
    code, _, err = run('train', '-opt', 'option.yml')
    assert_one_line(code, err, message)


@pytest.mark.parametrize('databases', [False, True])
def test_warns_of_images_shared_between_sets(run, write_options, lolv1, tmp_path, databases):
    real = tmp_path / 'LOLv2/Real_captured'
    write_pairs(real / 'Test/Low', real / 'Test/Normal', 1, 'low', 'normal')
    roots = {'train': lolv1, 'val': tmp_path / 'LOLv2'}
    if databases:
        for name, root in roots.items():
            prepare_lmdb(root, tmp_path / name)
            roots[name] = tmp_path / name
    roots = {f'datasets__{name}__dataroot': str(root) for name, root in roots.items()}
    path = write_options(**roots, train__total_iter=1)
    with pytest.warns(UserWarning, match='LOL v1 training images reappear in the LOL v2 real test set'):
        code, _, err = run('train', '-opt', path)
    assert code == 0, err


SCHEDULE = {
    'datasets__train__gt_size': None,
    'datasets__train__gt_sizes': [8, 16, 24],
    'datasets__train__iters': [1, 2, 1],
    'datasets__train__mini_batch_sizes': [2, 2, 1],
}


@pytest.mark.parametrize('model', ['IRSDEModel', 'ProgressiveSRModel'])
def test_crops_grow_while_a_run_stops_and_goes_on(run, write_options, monkeypatch, model):
    from basicsr_entropy.models.progressive_model import ProgressiveCrop

    seen, cut = [], ProgressiveCrop.crop

    def spy(self, lq, gt, current_iter):
        lq, gt = cut(self, lq, gt, current_iter)
        assert lq.shape == gt.shape
        seen.append((current_iter, gt.shape[-1], len(gt)))
        return lq, gt

    monkeypatch.setattr(ProgressiveCrop, 'crop', spy)
    changes = {**STOCK, 'model_type': model, 'train__pixel_opt': {'type': 'L1Loss'}} if model != 'IRSDEModel' else {}
    for total in (2, 4):
        options = write_options(**{**changes, **SCHEDULE, 'train__total_iter': total})
        code, _, log = run('train', '-opt', options, '--auto_resume')
        assert code == 0, log
    assert seen == [(1, 8, 2), (2, 16, 2), (3, 16, 2), (4, 24, 1)]


def test_a_model_that_follows_no_schedule_is_named(run, write_options):
    path = write_options(**STOCK, **SCHEDULE, train__pixel_opt={'type': 'L1Loss'})
    code, _, err = run('train', '-opt', path)
    assert_one_line(code, err, 'datasets.train.gt_sizes: SRModel ignores it; IRSDEModel and ProgressiveSRModel')
    code, _, err = run('train', '-opt', write_options(**{**SCHEDULE, 'datasets__train__iters': [1]}))
    assert_one_line(code, err, r'datasets.train.iters: must be 3 integers, one per size in gt_sizes, got \[1\]')


def test_the_launcher_needs_torchrun(run, write_options, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    code, _, err = run('train', '-opt', write_options(), '--launcher', 'pytorch')
    assert_one_line(code, err, 'error: --launcher: pytorch needs torchrun')
