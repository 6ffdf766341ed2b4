"""The training loop, in this process: what a run trains on, how it goes on after an end, and what it refuses."""

import contextlib
import json
import logging
import os
import re
import runpy
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel
from helpers import STOCK, assert_one_line

from basicsr_entropy.entropy import MAP_MAXIMUM, detail_distance
from basicsr_entropy.models.irsde_model import IRSDEModel
from basicsr_entropy.training import loop
from basicsr_entropy.training.loop import new_log_file

TORTURE = runpy.run_path(str(Path(__file__).parents[2] / 'scripts/torture_resume.py'))
SRMODEL = {
    'model_type': 'SRModel',
    'network_g': STOCK['network_g'],
    'sde': None,
    'optim_g': STOCK['train__optim_g'],
    'pixel_opt': {'type': 'MixedLoss', 'losses': [{'type': 'L1Loss'}, {'type': 'SpatialEntropyLoss', 'levels': 4}]},
}


@pytest.fixture
def before_step(monkeypatch):
    """Calls a function with the model and the number of each training step, before it is taken."""

    def register(call, model=IRSDEModel):
        step = model.optimize_parameters
        monkeypatch.setattr(
            model,
            'optimize_parameters',
            lambda self, current_iter: (call(self, current_iter), step(self, current_iter)),
        )

    return register


def at(iterations: dict):
    """Does something before given steps, the first time that they are reached."""

    def call(model, current_iter):
        if (do := iterations.pop(current_iter, None)) is not None:
            do()

    return call


def kill():
    """Ends the run as SIGKILL does, without a last checkpoint."""
    raise SystemExit(9)


def send(number):
    return lambda: os.kill(os.getpid(), number)


VARIANTS = {
    'mixup, exposure jitter, gt_sizes': {},
    '2 workers, prefetch cpu': {'datasets.train.num_worker_per_gpu': 2, 'datasets.train.prefetch_mode': 'cpu'},
    'prefetch cpu without workers': {'datasets.train.prefetch_mode': 'cpu'},
    'fp16': {'amp': 'fp16'},
    'synthetic': {
        'datasets.train.type': 'SyntheticLowLightDataset',
        'datasets.train.dataroot': None,
        'datasets.train.exposure_jitter': None,
        'datasets.train.dataroot_gt': '{root}/Train/target',
    },
    'accumulate, no validation': {'train.accumulate': 2, 'val': None, 'datasets.val': None},
    'SRModel': {
        **{key: SRMODEL[key] for key in ('model_type', 'network_g', 'sde')},
        **{f'train.{key}': SRMODEL[key] for key in ('optim_g', 'pixel_opt')},
        **dict.fromkeys(['train.entropy_opt', 'train.grad_clip_norm', 'val.sampler']),
        **{f'datasets.train.{key}': None for key in ('gt_sizes', 'iters')},
        'datasets.train.gt_size': 16,
    },
}


@pytest.fixture
def write_run(workdir, tmp_path):
    """Writes the option file of a run that ends within seconds; changes by path, None removes a key."""
    TORTURE['write_images'](tmp_path / 'data')

    def write(folder: str = '.', **changes) -> Path:
        options = yaml.safe_load(TORTURE['OPTIONS'])
        for phase in options['datasets'].values():
            phase['dataroot'] = str(tmp_path / 'data')
        options['train']['total_iter'] = 12
        options['datasets']['train']['iters'] = [6, 100]
        for path, value in changes.items():
            section, *keys = options, *path.split('.')
            for key in keys[:-1]:
                section = section[key]
            if isinstance(value, str):
                value = value.format(root=tmp_path / 'data')
            if value is None:
                section.pop(keys[-1], None)
            else:
                section[keys[-1]] = value
        path = workdir / folder / 'run.yml'
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(options))
        return path

    return write


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    run, write_run, workdir, monkeypatch, before_step, changes
):
    for folder in ('peace', 'torture'):
        write_run(folder, **changes)
    monkeypatch.chdir(workdir / 'peace')
    code, _, err = run('train', '-opt', 'run.yml')
    assert code == 0, err
    monkeypatch.chdir(workdir / 'torture')
    # before the first checkpoint, in the first epoch, at its border (8 iterations), after a validation
    moments = {3: kill, 7: send(signal.SIGTERM), 8: send(signal.SIGINT), 9: kill, 12: kill}
    before_step(at(moments), SRModel if changes.get('model_type') == 'SRModel' else IRSDEModel)
    codes = []
    while not codes or codes[-1] != 0:
        code, _, err = run('train', '-opt', 'run.yml', '--auto_resume')
        assert code in (0, 9, 130, 143), err
        codes.append(code)
    assert codes == [9, 143, 130, 9, 9, 0]
    if 'val' not in changes:
        peace, torture = (TORTURE['ending'](workdir / each) for each in ('peace', 'torture'))
        assert list(TORTURE['differences'](peace, torture)) == []
        assert len(peace['logged']) > 12
    else:
        files = [workdir / each / 'experiments/run/models/net_g_latest.pth' for each in ('peace', 'torture')]
        assert list(TORTURE['differences'](*map(torch.load, files))) == []


@pytest.mark.parametrize(('number', 'expected'), [('SIGTERM', 143), ('SIGINT', 130), ('SIGHUP', 129), ('SIGUSR1', 138)])
def test_a_signal_saves_the_state_after_the_step(run, write_run, workdir, before_step, number, expected):
    before_step(at({3: send(signal.Signals[number])}))
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    code, _, err = run('train', '-opt', write_run())
    assert code == expected
    assert f'{number}: stopped after iteration 3; the state is saved in {workdir}/experiments/run' in err
    assert torch.load(workdir / 'experiments/run/training_states/3.state')['iter'] == 3
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    record = json.loads((workdir / 'experiments/run/run.json').read_text())
    assert record['sessions'][-1]['ended'] == f'stopped by {number}'


def test_a_signal_ends_a_validation_at_once_with_the_state_before_it(run, write_run, workdir, monkeypatch):
    sampled = []
    sample = IRSDEModel.test
    monkeypatch.setattr(IRSDEModel, 'test', lambda self: (sampled.append(0), send(signal.SIGTERM)(), sample(self)))
    code, _, err = run('train', '-opt', write_run())
    assert code == 143
    assert len(sampled) == 1  # of two images
    assert 'stopped after iteration 7' in err
    monkeypatch.setattr(IRSDEModel, 'test', sample)
    code, _, err = run('train', '-opt', 'run.yml', '--auto_resume')
    assert code == 0, err
    assert re.search(r'Start training from epoch: \d, iter: 7.*Validation photographs.*iter: +8', err, re.DOTALL)


def test_two_epochs_differ_and_workers_and_prefetching_change_nothing(run, write_run, monkeypatch):
    seen: list[dict] = []
    feed = IRSDEModel.feed_data
    monkeypatch.setattr(IRSDEModel, 'feed_data', lambda self, data: (seen.append(data), feed(self, data))[1])
    batches = []
    for changes in ({}, {'num_worker_per_gpu': 2}, {'prefetch_mode': 'cpu'}, {'num_worker_per_gpu': 1}):
        seen.clear()
        changes = {f'datasets.train.{key}': value for key, value in changes.items()}
        path = write_run(**changes, **{'val': None, 'datasets.val': None, 'datasets.train.dataset_enlarge_ratio': 1})
        code, _, err = run('train', '-opt', path)
        assert code == 0, err
        batches.append([(*data['lq_path'], data['lq']) for data in seen])
    assert all(list(TORTURE['differences'](batches[0], other)) == [] for other in batches[1:])
    crops = {}  # of each image, in its epochs
    for *names, lq in batches[0]:
        for name, crop in zip(names, lq):
            crops.setdefault(name, []).append(crop)
    for drawn in crops.values():
        assert len(drawn) >= 4
        assert not any(torch.equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize('batch', [4, 8])
def test_trains_exactly_as_many_iterations_as_asked(run, write_run, batch):
    changes = {'datasets.train.batch_size_per_gpu': batch, 'datasets.train.dataset_enlarge_ratio': 1}  # 5 images
    code, _, err = run('train', '-opt', write_run(**changes))
    assert code == 0, err
    assert re.findall(r'iter: +(\d+), lr', err) == [str(number) for number in range(1, 13)]


def poison(iterations):
    """Makes the ground truth NaN in some steps."""

    def call(model, current_iter):
        if current_iter in iterations:
            model.gt = model.gt * torch.nan

    return call


@pytest.mark.parametrize('loss', ['L1Loss', 'SpatialEntropyLoss', 'SRModel'])
def test_a_step_that_is_not_finite_moves_nothing_and_is_named(run, write_run, workdir, before_step, loss):
    changes = VARIANTS['SRModel'] if loss == 'SRModel' else {}
    changes = {
        **changes,
        'datasets.train.mixup': None,
        'logger.save_checkpoint_freq': 1,
        'logger.keep_checkpoints': None,
    }
    if loss == 'L1Loss':
        changes |= {'train.entropy_opt': None, 'train.pixel_opt': {'type': 'L1Loss'}}
    elif loss == 'SRModel':
        changes |= {'train.pixel_opt': {'type': 'L1Loss'}}
    before_step(poison({4}), SRModel if loss == 'SRModel' else IRSDEModel)
    code, _, err = run('train', '-opt', write_run(**changes))
    assert code == 0, err
    name = {'L1Loss': 'l_pixel', 'SpatialEntropyLoss': 'l_entropy', 'SRModel': 'l_pix'}[loss]
    terms = [name] if loss == 'SRModel' else [name, 'gradient']  # that of torch's L1 w.r.t. a difference of NaN is 0
    what = ' and '.join(terms)
    found = re.search(rf'Step skipped, 1 in a row: iteration 4: {what} not finite \(batch: (.*)\)', err)
    assert found, err
    assert all(Path(each).is_file() for each in found[1].split(', '))
    before, skipped, after = (torch.load(workdir / f'experiments/run/models/net_g_{at}.pth') for at in (3, 4, 5))
    assert list(TORTURE['differences'](before, skipped)) == []
    assert list(TORTURE['differences'](skipped, after)) != []
    optimizers = [torch.load(workdir / f'experiments/run/training_states/{at}.state')['optimizers'] for at in (3, 4)]
    moments = [each[0]['state'] for each in optimizers]
    assert list(TORTURE['differences'](*moments)) == []
    record = json.loads((workdir / 'experiments/run/run.json').read_text())
    assert [(each['iteration'], each['terms']) for each in record['skipped_steps']] == [(4, terms)]


def test_too_many_skipped_steps_stop_the_run_with_the_last_good_state(run, write_run, workdir, before_step):
    before_step(poison(range(5, 100)))
    code, _, err = run('train', '-opt', write_run(**{'train.max_skipped': 3}))
    assert_one_line(
        code, err, 'train.max_skipped: 3 steps in a row were skipped, the last in iteration 7: l_entropy and'
    )
    assert 'experiments/run/training_states/7.state' in err
    saved = torch.load(workdir / 'experiments/run/models/net_g_7.pth')
    assert all(torch.isfinite(each).all() for state in saved.values() for each in state.values())


def test_a_run_that_resumes_within_the_second_keeps_the_log_before(tmp_path):
    first = new_log_file(str(tmp_path), 'train_run_20261125_120000')
    Path(first).touch()
    second = new_log_file(str(tmp_path), 'train_run_20261125_120000')
    assert [Path(each).name for each in (first, second)] == [
        'train_run_20261125_120000.log',
        'train_run_20261125_120000_2.log',
    ]


def test_a_full_disk_under_the_log_is_one_line(run, write_run, monkeypatch, before_step):
    monkeypatch.setattr(loop, 'new_log_file', lambda folder, stem: '/dev/full')
    before_step(at({3: lambda: 1 / 0}))
    code, _, err = run('train', '-opt', write_run())
    for handler in logging.getLogger('basicsr').handlers:
        with contextlib.suppress(OSError):
            handler.close()
    warning = 'basicsr-entropy: warning: cannot write to /dev/full: No space left on device'
    assert re.findall('.*/dev/full.*', err) == [warning]
    assert_one_line(code, err, r'ZeroDivisionError: division by zero \(run with --traceback for details\)')


def test_a_gradient_that_overflows_is_not_clipped_to_nothing(run, write_run):
    heavy = {'type': 'MixedLoss', 'loss_weight': 1e12, 'losses': [{'type': 'L1Loss', 'loss_weight': 1e12}]}
    changes = {'train.entropy_opt': None, 'train.pixel_opt': heavy}
    code, _, err = run('train', '-opt', write_run(**changes, **{'train.max_skipped': 2}))
    assert_one_line(
        code, err, 'train.max_skipped: 2 steps in a row were skipped, the last in iteration 2: gradient not'
    )


def test_changed_options_are_listed_and_refused(run, write_run, workdir):
    run('train', '-opt', write_run(**{'train.total_iter': 5}))
    states = workdir / 'experiments/run/training_states'
    changes = {
        'sde.timesteps': 20,
        'manual_seed': 4,
        'train.optim_g.lr': 5e-4,
        'train.entropy_opt.levels': 8,
        'datasets.train.num_worker_per_gpu': 1,  # changes nothing
        'logger.print_freq': 2,
    }
    code, _, err = run('train', '-opt', write_run(**changes), '--auto_resume')
    names = 'manual_seed, sde.timesteps, train.entropy_opt.levels, train.optim_g.lr'
    message = rf'5.state was written with other options: {names}; change them back, or go on with --allow_changes'
    assert_one_line(code, err, message)
    assert 'Changed option sde.timesteps: 10 -> 20 (the network goes on with another process' in err
    assert [path.name for path in states.iterdir()] == ['5.state']
    assert not list((workdir / 'experiments').glob('*archived*'))

    code, _, err = run('train', '-opt', 'run.yml', '--auto_resume', '--allow_changes')
    assert code == 0, err
    assert 'WARNING: Changed option train.optim_g.lr: 0.001 -> 0.0005 (takes effect from here on)' in err
    group = torch.load(states / '10.state')['optimizers'][0]['param_groups'][0]
    assert group['initial_lr'] == 5e-4
    assert group['lr'] < 5e-4  # in the warm-up


def test_another_optimizer_starts_afresh_at_the_place_of_the_schedule(run, write_run, workdir):
    scheduler = {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}
    changes = {'train.scheduler': scheduler, 'train.warmup_iter': None}
    run('train', '-opt', write_run(**changes, **{'train.total_iter': 5}))
    path = write_run(**changes, **{'train.optim_g': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}})
    code, _, err = run('train', '-opt', path, '--auto_resume', '--allow_changes')
    assert code == 0, err
    assert 'train.optim_g.type: "AdamW" -> "SGD" (the new optimizer starts without the state of the old one)' in err
    optimizer = torch.load(workdir / 'experiments/run/training_states/10.state')['optimizers'][0]
    assert optimizer['param_groups'][0]['lr'] == pytest.approx(0.005)
    assert 'exp_avg' not in optimizer['state'][0]


def test_a_drawn_seed_is_kept(run, write_run, workdir):
    run('train', '-opt', write_run(manual_seed=None, **{'train.total_iter': 5}))
    seed = json.loads((workdir / 'experiments/run/run.json').read_text())['seed']
    code, _, err = run('train', '-opt', write_run(manual_seed=None), '--auto_resume')
    assert code == 0, err
    assert json.loads((workdir / 'experiments/run/run.json').read_text())['seed'] == seed


def test_what_a_loss_draws_at_the_start_is_kept_with_a_drawn_seed(run, write_run, before_step):
    drawn = []
    before_step(lambda model, _: drawn.append(model.losses['entropy'].weights.clone()))
    changes = {
        'manual_seed': None,
        'train.entropy_opt': {'type': 'SpatialEntropyLoss', 'levels': 4, 'resample': 'once'},
    }
    for iterations, arguments in ((5, []), (6, ['--auto_resume'])):
        code, _, err = run('train', '-opt', write_run(**changes, **{'train.total_iter': iterations}), *arguments)
        assert code == 0, err
    assert all(torch.equal(each, drawn[0]) for each in drawn)


def test_the_best_metric_may_be_that_of_the_last_validation(run, write_run, workdir, monkeypatch):
    values = iter([10.0, 30.0, 20.0])  # at 4, at the end, and after resuming at 8
    validation, current = IRSDEModel.validation, [0.0]

    def validate(self, *args, **kwargs):
        current[0] = next(values)
        return validation(self, *args, **kwargs)

    monkeypatch.setattr(IRSDEModel, '_measure', lambda *_: {'psnr': current[0]})
    monkeypatch.setattr(IRSDEModel, 'validation', validate)
    for total, arguments in ((5, []), (8, ['--auto_resume'])):
        code, _, err = run('train', '-opt', write_run(**{'val.val_freq': 4, 'train.total_iter': total}), *arguments)
        assert code == 0, err
    assert 'psnr: 20.0000\tBest: 30.0000 @ 5 iter' in err
    best = json.loads((workdir / 'experiments/run/run.json').read_text())['best']
    assert best == {'photographs': {'psnr': {'value': 30.0, 'iteration': 5}}}


def test_a_larger_batch_in_the_same_samples_per_iteration_is_no_change(run, write_run, workdir):
    run('train', '-opt', write_run(**{'train.total_iter': 5}))
    changes = {'datasets.train.batch_size_per_gpu': 1, 'train.accumulate': 2}
    code, _, err = run('train', '-opt', write_run(**changes, **{'train.total_iter': 6}), '--auto_resume')
    assert code == 0, err
    code, _, err = run('train', '-opt', write_run(**{'datasets.train.batch_size_per_gpu': 4}), '--auto_resume')
    assert_one_line(code, err, 'with other options: datasets.train.batch_size_per_gpu;')


def test_the_best_weights_and_metrics_survive(run, write_run, workdir, monkeypatch):
    """The best of four validations is the second; the run stops after it."""
    values = iter([10.0, 30.0, 20.0, 25.0])
    measure = lambda self, images: {'psnr': current[0]}  # noqa: E731
    current = [0.0]
    validation = IRSDEModel.validation

    def validate(self, *args, **kwargs):
        current[0] = next(values)
        return validation(self, *args, **kwargs)

    monkeypatch.setattr(IRSDEModel, '_measure', measure)
    monkeypatch.setattr(IRSDEModel, 'validation', validate)
    changes = {'val.val_freq': 2, 'logger.save_checkpoint_freq': 5}
    run('train', '-opt', write_run(**changes, **{'train.total_iter': 5}))  # validations 2, 4 and a last one, 5
    code, _, err = run('train', '-opt', write_run(**changes, **{'train.total_iter': 6}), '--auto_resume')
    assert code == 0, err
    assert re.findall(r'# psnr: (\S+)\s+Best: (\S+) @ (\d+) iter', err) == [('25.0000', '30.0000', '4')]
    record = json.loads((workdir / 'experiments/run/run.json').read_text())
    assert record['best'] == {'photographs': {'psnr': {'value': 30.0, 'iteration': 4}}}
    assert [(each['first'], each['last'], each['ended']) for each in record['sessions']] == [
        (1, 5, 'finished'),
        (6, 6, 'finished'),
    ]
    assert record['options']['sde']['timesteps'] == 10
    assert record['versions']['torch'] == torch.__version__
    models = workdir / 'experiments/run/models'
    best, latest = (torch.load(models / f'net_g_{name}.pth')['params'] for name in ('best', 'latest'))
    assert list(TORTURE['differences'](best, latest)) != []


def test_a_metric_that_draws_random_numbers_changes_no_training(run, write_run, workdir, monkeypatch):
    weights = []
    for draws in (False, True):
        monkeypatch.setattr(
            IRSDEModel, '_measure', lambda *_, count=int(draws): {'psnr': torch.rand(count).sum().item()}
        )
        code, _, err = run('train', '-opt', write_run(**{'val.val_freq': 2, 'train.total_iter': 5}))
        assert code == 0, err
        weights.append(torch.load(workdir / 'experiments/run/models/net_g_latest.pth')['params'])
        shutil.rmtree(workdir / 'experiments')
    assert list(TORTURE['differences'](*weights)) == []


def test_save_best_needs_a_metric(run, write_run):
    code, _, err = run('train', '-opt', write_run(**{'val.save_best': 'ssim'}))
    assert_one_line(code, err, "val.save_best: must be a name under metrics, got 'ssim'")


def test_a_state_of_basicsrs_loop_is_continued_as_far_as_it_goes(run, write_run, workdir):
    run('train', '-opt', write_run(**{'train.total_iter': 5}))
    path = workdir / 'experiments/run/training_states/5.state'
    state = torch.load(path)
    torch.save({key: state[key] for key in ('epoch', 'iter', 'optimizers', 'schedulers')}, path)
    code, _, err = run('train', '-opt', write_run(**{'train.total_iter': 6}), '--auto_resume')
    assert code == 0, err
    assert "The state is of BasicSR's own loop" in err
    assert re.findall(r'iter: +(\d+), lr', err) == ['6']


def test_logs_scalars_and_images_to_tensorboard(run, write_run, workdir, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = run('train', '-opt', write_run(**{'logger.use_tb_logger': True, 'train.total_iter': 7}))
    assert code == 0, err
    events = EventAccumulator(str(workdir / 'tb_logger/run'))
    events.Reload()
    assert [event.step for event in events.Scalars('losses/l_entropy')] == list(range(1, 8))
    images = [tag for tag in events.Tags()['images'] if tag.startswith('photographs/')]
    assert images == ['photographs/5', 'photographs/6']
    shown = events.Images(images[0])[0]
    assert (shown.step, shown.width, shown.height) == (7, 4 * 48, 40)
    strip = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    lq, output, gt, distance = np.hsplit(strip, 4)
    paths = (tmp_path / f'data/Test/{role}/5.png' for role in ('input', 'target'))
    assert all(np.array_equal(shown, cv2.imread(str(path))) for shown, path in zip((lq, gt), paths))
    pair = [torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (output, gt)]
    known = (255 * detail_distance(*pair)[0] / MAP_MAXIMUM).clamp(0, 255).byte().numpy()
    assert known.std() > 5
    assert np.array_equal(distance, cv2.applyColorMap(known, cv2.COLORMAP_MAGMA))


def test_shows_a_progress_bar_on_a_terminal(run, write_run, workdir, monkeypatch):
    import sys

    monkeypatch.setattr(type(sys.stderr), 'isatty', lambda self: True, raising=False)
    code, _, err = run('train', '-opt', write_run(**{'train.total_iter': 3, 'val': None, 'datasets.val': None}))
    assert code == 0, err
    assert re.search(r'run: 100%\|.*\| 3/3 \[.*it/s\]|run: 100%\|.*\| 3/3 \[.*s/it\]', err)
    log = next((workdir / 'experiments/run').glob('*.log')).read_text()
    assert re.findall(r'iter: +(\d+), lr', log) == ['1', '2', '3']
