import copy
import math
from types import SimpleNamespace

import cv2
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import logger as basicsr_logger
from helpers import photograph, train_options, write_image

from basicsr_entropy.diffusion import PREDICTIONS
from basicsr_entropy.models import IRSDEModel
from basicsr_entropy.models.results import distinct_names

L1 = {'type': 'L1Loss'}


@pytest.fixture
def options(lolv1, tmp_path):
    """Parsed options of a tiny run, as BasicSR's option parser leaves them."""

    def make(is_train=True, **changes):
        opt = train_options(lolv1, **changes)
        opt.update(is_train=is_train, dist=False, rank=0, world_size=1, num_gpu=torch.cuda.device_count())
        opt['datasets']['train']['phase'], opt['datasets']['val']['phase'] = 'train', 'val'
        for key in ('models', 'training_states', 'visualization'):
            opt['path'][key] = str(tmp_path / key)
            (tmp_path / key).mkdir(exist_ok=True)
        return opt

    return make


@pytest.fixture
def batch():
    gt = torch.rand(2, 3, 16, 16)
    return {'lq': gt / 8, 'gt': gt, 'lq_path': ['a.png', 'b.png']}


def one_step(model, batch):
    model.update_learning_rate(1)
    model.feed_data(batch)
    model.optimize_parameters(1)
    return model.get_current_log()


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.net_g.parameters()])


@pytest.mark.parametrize('prediction', PREDICTIONS)
@pytest.mark.parametrize('compare', ['state', 'x0', 'noise'])
def test_a_step_moves_the_weights_whatever_is_predicted_and_compared(options, batch, prediction, compare):
    loss = {'type': 'SpatialEntropyLoss', 'levels': 4, 'compare': compare, 'value_range': [-4, 4]}
    model = build_model(options(sde__prediction=prediction, train__entropy_opt=loss))
    before = weights(model)
    log = one_step(model, batch)
    assert log.keys() == {'l_entropy'}
    assert log['l_entropy'] > 0
    assert torch.isfinite(weights(model)).all()
    assert not torch.equal(before, weights(model))


def test_training_and_sampling_start_from_the_lifted_image(options, batch):
    """The condition of crops is that of the whole images, whose histogram the dataset gives."""
    model = build_model(options(sde__condition={'lift': 'auto', 'mean': 0.5}))
    seen = []
    for net in (model.net_g, model.net_g_ema):
        net.register_forward_hook(lambda net, inputs, output: seen.append(inputs[1].detach().clone()))
    histogram = torch.zeros(2, 256)
    histogram[:, 64] = 1  # flat images, of which these crops are untypical
    one_step(model, {**batch, 'lq_histogram': histogram})
    exponent = math.log(0.5) / math.log(64 / 255)
    torch.testing.assert_close(seen[0], batch['lq'] ** exponent)

    model.feed_data(batch)
    model.test()
    assert seen[1].mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_refuses_crops_of_unknown_images_for_automatic_lift(options, batch):
    model = build_model(options(sde__condition={'lift': 'auto'}))
    with pytest.raises(ValueError, match='sde.condition.lift: auto needs the histogram .* use lift: gamma with other'):
        one_step(model, batch)


def test_every_loss_is_logged_apart_under_its_name(options, batch):
    losses = {
        'train__pixel_opt': {**L1, 'loss_weight': 2.0},
        'train__blur_opt': {'type': 'GaussianBlurL1Loss', 'sigma': 1, 'compare': 'x0'},
        'train__smooth_opt': {'type': 'WeightedTVLoss', 'loss_weight': 0.1, 'compare': 'x0'},
    }
    log = one_step(build_model(options(**losses)), batch)
    assert log.keys() == {'l_entropy', 'l_pixel', 'l_blur', 'l_smooth'}
    assert all(value > 0 for value in log.values())


def test_terms_of_a_mixed_loss_are_logged_beside_their_sum(options, batch):
    mixed = {'type': 'MixedLoss', 'losses': [L1, {'type': 'SpatialEntropyLoss', 'levels': 4}]}
    log = one_step(build_model(options(train__mixed_opt=mixed)), batch)
    terms = ['l_mixed_L1Loss', 'l_mixed_SpatialEntropyLoss']
    assert list(log) == ['l_entropy', 'l_mixed', *terms]
    assert log['l_mixed'] == pytest.approx(sum(log[term] for term in terms))


def test_perceptual_and_style_loss_are_logged_apart(options, batch, monkeypatch):
    from basicsr.archs.vgg_arch import vgg

    # BasicSR's own loss on an untrained trunk: its weights are a download
    trunk = SimpleNamespace(features=vgg.make_layers(vgg.cfgs['A']))
    monkeypatch.setattr(vgg, 'vgg11', lambda pretrained: trunk)
    perceptual = {
        'type': 'PerceptualLoss',
        'layer_weights': {'conv1_1': 1.0},
        'vgg_type': 'vgg11',
        'style_weight': 1.0,
        'compare': 'x0',
    }
    log = one_step(build_model(options(train__perceptual_opt=perceptual)), batch)
    assert log.keys() == {'l_entropy', 'l_perceptual', 'l_perceptual_style'}


def test_states_compared_are_those_of_the_process(options, batch):
    """With an exact prediction the Euler mean is near the optimum reverse state, and exactly x_0 and the noise."""
    model = build_model(options(sde__prediction='x0', sde__timesteps=1000))
    process, x0, mu = model.process, batch['gt'].double(), batch['lq'].double()
    t, noise = torch.tensor([500, 900]), torch.randn_like(x0)
    x_t = process.q_sample(x0, mu, t, noise)
    model.compared = {'a': 'state', 'b': 'x0', 'c': 'noise'}
    pairs = model._compared_pairs(x0, mu, t, noise, x_t, x0)
    for name, tolerance in (('state', 1e-4), ('x0', 0), ('noise', 1e-9)):
        torch.testing.assert_close(*pairs[name], rtol=0, atol=tolerance)


def test_gradient_clipping_bounds_the_step(options, batch):
    changes = {'train__optim_g': {'type': 'SGD', 'lr': 1.0}, 'train__pixel_opt': {**L1, 'loss_weight': 1e4}}
    moved = []
    for norm in (1e-3, 1e3):
        torch.manual_seed(0)
        model = build_model(options(train__grad_clip_norm=norm, **changes))
        before = weights(model)
        one_step(model, batch)
        moved.append((weights(model) - before).norm().item())
    assert moved[0] == pytest.approx(1e-3, rel=1e-3)
    assert moved[1] > 1
    with pytest.raises(ValueError, match='train.grad_clip_norm: must be a number above 0 and .*, got 0'):
        build_model(options(train__grad_clip_norm=0))


@pytest.mark.parametrize(
    'name', ['Adam', 'AdamW', 'Adamax', 'NAdam', 'RAdam', 'SGD', 'ASGD', 'RMSprop', 'Rprop', 'Lion']
)
def test_optimizers(options, batch, name):
    if name == 'Lion':
        pytest.importorskip('lion_pytorch')
    model = build_model(options(train__optim_g={'type': name, 'lr': 1e-3}))
    assert type(model.optimizer_g).__name__ == name
    one_step(model, batch)


@pytest.mark.parametrize(
    'scheduler',
    [
        {'type': 'MultiStepLR', 'milestones': [2, 3], 'gamma': 0.5},
        {'type': 'MultiStepRestartLR', 'milestones': [2], 'gamma': 0.5},
        {'type': 'CosineAnnealingRestartLR', 'periods': [4], 'eta_min': 1e-6},
    ],
    ids=lambda scheduler: scheduler['type'],
)
def test_schedulers(options, scheduler):
    model = build_model(options(train__scheduler=scheduler))
    start = model.get_current_learning_rate()
    for iteration in range(1, 5):
        model.optimizer_g.step()
        model.update_learning_rate(iteration)
    assert model.get_current_learning_rate()[0] < start[0]


def test_averaged_weights_follow_and_are_what_is_sampled_from(options, batch):
    model = build_model(options(train__ema_decay=0.5))
    start = weights(model)
    one_step(model, batch)
    averaged = torch.cat([parameter.flatten() for parameter in model.net_g_ema.parameters()])
    torch.testing.assert_close(averaged, (start + weights(model)) / 2)
    model.test()
    from_averaged = model.output
    del model.net_g_ema
    model.test()
    assert not torch.equal(from_averaged, model.output)
    assert model.net_g.training


def test_samples_depend_on_the_seed_alone(options, batch):
    def sampled(**changes):
        torch.manual_seed(5)
        model = build_model(options(**changes))
        torch.manual_seed(int(torch.randint(1000, ()).item()))
        model.feed_data(batch)
        model.test()
        return model.output

    first = sampled()
    assert first.shape == batch['gt'].shape
    assert torch.equal(first, sampled())
    assert not torch.equal(first, sampled(val__sampler={'steps': 2, 'seed': 7}))
    assert not torch.equal(first, sampled(val__sampler={'steps': 3, 'seed': 1}))


def test_samples_as_the_option_file_asks(options, batch):
    def sampled(**sampler):
        torch.manual_seed(5)
        model = build_model(options(val__sampler=sampler))
        model.feed_data(batch)
        model.test()
        return model.output

    asked = {'type': 'mr_ode', 'steps': 4, 'order': 2, 'form': 'noise', 'spacing': 'karras'}
    result = sampled(**asked)
    assert torch.equal(result, sampled(**asked, seed=0, progress=True))
    for change in ({'type': 'mr_sde'}, {'steps': 3}, {'order': 1}, {'form': 'data'}, {'spacing': 'log_snr'}):
        assert not torch.equal(result, sampled(**{**asked, **change}))


@pytest.mark.parametrize(
    'speed', [{'amp': 'bf16'}, {'amp': 'fp16'}, {'channels_last': True}, {'compile': True}], ids=str
)
def test_speed_changes_neither_checkpoints_nor_resuming(options, batch, tmp_path, speed):
    torch.manual_seed(0)
    plain = build_model(options())
    one_step(plain, batch)
    with torch.compiler.set_stance('force_eager'):  # compilation takes a minute, and is torch's
        torch.manual_seed(0)
        model = build_model(options(**speed))
        one_step(model, batch)
        torch.testing.assert_close(weights(model), weights(plain), rtol=0, atol=2.1e-3)  # twice the step of Adam
        model.save(0, 1)
        saved = torch.load(tmp_path / 'models/net_g_1.pth')
        for key, state in (('params', plain.net_g.state_dict()), ('params_ema', plain.net_g_ema.state_dict())):
            assert saved[key].keys() == state.keys()
            assert all(value.dtype == torch.float32 for value in saved[key].values())
        resumed = build_model(options(path__pretrain_network_g=str(tmp_path / 'models/net_g_1.pth'), **speed))
        resumed.resume_training(torch.load(tmp_path / 'training_states/1.state'))
        assert torch.equal(weights(resumed), weights(model))
        one_step(resumed, batch)
        resumed.test()
    assert torch.isfinite(resumed.output).all()
    assert resumed.output.dtype == torch.float32


@pytest.mark.parametrize('val', [{'tile': {'size': 8, 'overlap': 4}}, {'self_ensemble': True}], ids=str)
def test_samples_in_tiles_and_over_views(options, batch, val):
    outputs = []
    for changes in ({}, {f'val__{key}': value for key, value in val.items()}):
        torch.manual_seed(0)
        model = build_model(options(**changes))
        with torch.no_grad():
            model.net_g_ema.intro.weight.mul_(3)
        model.feed_data(batch)
        model.test()
        outputs.append(model.output)
    assert outputs[0].shape == outputs[1].shape
    assert not torch.equal(*outputs)


def validate(model, opt):
    dataset = build_dataset(opt['datasets']['val'])
    model.validation(build_dataloader(dataset, opt['datasets']['val']), 7, None, save_img=True)


def test_validation_saves_and_measures_each_image(options, tmp_path):
    metrics = {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
        'ssim_gt_mean': {'type': 'calculate_ssim_gt_mean', 'better': 'higher'},
    }
    opt = options(val__metrics=metrics)
    model = build_model(opt)
    validate(model, opt)
    outputs = sorted((tmp_path / 'visualization').rglob('*.png'))
    assert [path.name for path in outputs] == ['00011_7.png', '00012_7.png']
    assert cv2.imread(str(outputs[0])).shape == (40, 48, 3)
    assert model.metric_results.keys() == metrics.keys()
    assert model.best_metric_results['LOLv1']['psnr']['iter'] == 7
    truth = [cv2.imread(path.gt) for path in build_dataset(opt['datasets']['val']).pairs]
    from basicsr.metrics import calculate_psnr

    expected = sum(calculate_psnr(cv2.imread(str(a)), b, 0) for a, b in zip(outputs, truth)) / 2
    assert model.metric_results['psnr'] == pytest.approx(expected)


def test_tests_without_ground_truth(options, lolv1, tmp_path, monkeypatch):
    dataset = {
        'name': 'mine',
        'type': 'SingleImageDataset',
        'dataroot_lq': str(lolv1 / 'eval15/low'),
        'io_backend': {'type': 'disk'},
    }
    opt = options(is_train=False, datasets__val=dataset, val__metrics=None)
    validate(build_model(opt), opt)
    assert (tmp_path / 'visualization/mine/00011_tiny.png').is_file()
    for name in ('a', 'b'):
        write_image(tmp_path / f'large/{name}.png', photograph(1, 200, 200))  # NIQE needs two blocks of 96
    opt = options(is_train=False, datasets__val={**dataset, 'dataroot_lq': str(tmp_path / 'large')})
    opt['val']['metrics']['niqe'] = {'type': 'calculate_niqe', 'crop_border': 0}
    model = build_model(opt)
    warnings = []
    monkeypatch.setattr(basicsr_logger.get_root_logger(), 'warning', warnings.append)
    model.gt = torch.zeros(2, 3, 16, 16)  # of the last step, if this is a validation
    validate(model, opt)
    assert model.metric_results.keys() == {'niqe'}
    assert warnings == ["dataset 'mine' has no ground truth: psnr not measured"]


@pytest.mark.parametrize('module', ['', 'module.'])
def test_published_weights_load_strictly(options, golden, tmp_path, module):
    numbers = golden('conditional_nafnet')
    bare = {module + key[3:]: value for key, value in numbers.items() if key.startswith('sd:')}
    torch.save(bare, tmp_path / 'official.pth')
    network = {
        'type': 'ConditionalNAFNet',
        'width': 8,
        'enc_blk_nums': [1, 2],
        'middle_blk_num': 1,
        'dec_blk_nums': [1, 1],
    }
    opt = options(network_g=network, path__pretrain_network_g=str(tmp_path / 'official.pth'))
    for is_train in (True, False):
        model = build_model({**opt, 'is_train': is_train})
        for net in [model.net_g] + ([model.net_g_ema] if is_train else []):
            with torch.no_grad():
                out = net.eval()(numbers['xt'], numbers['mu'], numbers['t'])
            torch.testing.assert_close(out, numbers['out'], rtol=1e-5, atol=1e-5)
    wider = {**opt, 'network_g': {**network, 'width': 16}}
    with pytest.raises(
        ValueError, match='official.pth does not fit network_g .* have a different shape.*strict_load_g: false'
    ):
        build_model(wider)


def test_logs_parameters_and_flops_once(options, monkeypatch):
    messages = []
    monkeypatch.setattr(basicsr_logger.get_root_logger(), 'info', messages.append)
    model = build_model(options())
    counted = [message for message in messages if 'GFLOPs' in message]
    assert len(counted) == 1
    parameters = sum(parameter.numel() for parameter in model.net_g.parameters())
    assert f'{parameters / 1e6:.2f} M parameters' in counted[0]


def test_leaves_the_callers_options_as_they_are(options):
    opt = options()
    before = copy.deepcopy(opt)
    build_model(opt)
    assert opt == before


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'sde__timestep': 9}, KeyError, "sde.timestep: unknown option; did you mean 'timesteps'"),
        ({'sde__prediction': 'eps'}, ValueError, 'sde.prediction: must be one of'),
        ({'network_g__widht': 9}, KeyError, "network_g.widht: unknown option; did you mean 'width'"),
        ({'network_g__type': 'ConditionalNAFNEt'}, KeyError, "network_g.type: no 'ConditionalNAFNEt'"),
        ({'val__sampler': {'type': 'ddim'}}, ValueError, "val.sampler.type: must be one of posterior, .*, got 'ddim'"),
        (
            {'val__sampler': {'steps': 11}},
            ValueError,
            'val.sampler.steps: must be at most 10, the timesteps of the process',
        ),
        ({'val__sampler': {'steps': 0}}, ValueError, 'val.sampler.steps: must be an integer of at least 1, got 0'),
        ({'val__sampler': {'order': 1}}, ValueError, 'val.sampler.order: applies to mr_ode and mr_sde only'),
        (
            {'val__sampler': {'type': 'mr_ode', 'form': 'x0'}},
            ValueError,
            'val.sampler.form: must be one of data or noise',
        ),
        ({'val__sampler': {'spacing': 'linear'}}, ValueError, 'val.sampler.spacing: must be one of trailing'),
        (
            {'val__sampler': {'seed': -1}},
            ValueError,
            'val.sampler.seed: must be an integer of at least 0 and at most 9223372036854775807, got -1',
        ),
        ({'val__sampler': {'progress': 'yes'}}, ValueError, 'val.sampler.progress: must be true or false'),
        ({'val__sampler': {'step': 1}}, KeyError, 'val.sampler.step: unknown option'),
        ({'val__tile': {'sise': 9}}, KeyError, "val.tile.sise: unknown option; did you mean 'size'"),
        ({'val__tile': {'mode': 'grid'}}, ValueError, 'val.tile.mode: must be one of per_step'),
        ({'amp': 'half'}, ValueError, "amp: must be one of bf16 or fp16, got 'half'"),
        ({'train__entropy_opt': None}, ValueError, 'train: no loss; add one as train.<name>_opt'),
        (
            {'train__entropy_opt': {'type': 'SpatialEntropyLoss', 'level': 4}},
            KeyError,
            'train.entropy_opt.level: unknown option',
        ),
        ({'train__pixel_opt': {**L1, 'compare': 'mean'}}, ValueError, 'train.pixel_opt.compare: must be one of state'),
        ({'train__gan_opt': {'type': 'GANLoss', 'gan_type': 'lsgan'}}, ValueError, 'train.gan_opt: GANLoss takes'),
        (
            {'train__optim_g': {'type': 'AdamX', 'lr': 1}},
            ValueError,
            "train.optim_g.type: no optimizer 'AdamX'; did you",
        ),
        ({'train__optim_g': {'type': 'Adam', 'lr': 1, 'beta': 1}}, KeyError, 'train.optim_g.beta: unknown option'),
        ({'path__pretrain_network_g': 'absent.pth'}, FileNotFoundError, 'path.pretrain_network_g: no file absent.pth'),
    ],
    ids=str,
)
def test_refuses_wrong_options(options, changes, error, message):
    with pytest.raises(error, match=message):
        IRSDEModel(options(**changes))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_trains_saves_and_resumes_on_cuda(options, batch, tmp_path):
    model = build_model(options())
    one_step(model, batch)
    model.save(0, 1)
    resumed = build_model(options(path__pretrain_network_g=str(tmp_path / 'models/net_g_1.pth')))
    resumed.resume_training(torch.load(tmp_path / 'training_states/1.state', map_location='cpu'))
    torch.testing.assert_close(weights(resumed), weights(model))
    one_step(resumed, batch)
    assert weights(resumed).is_cuda


def test_accumulated_batches_step_like_one_larger_batch(options):
    gt = torch.rand(4, 3, 16, 16)
    batch = {'lq': gt / 8, 'gt': gt}
    loss = {'type': 'SpatialEntropyLoss', 'levels': 4, 'neighbor': 'uniform'}  # draws nothing in its calls
    moved = []
    for parts in (1, 2, 4):
        torch.manual_seed(0)
        changes = {'train__optim_g': {'type': 'SGD', 'lr': 0.1}, 'train__entropy_opt': loss, 'train__accumulate': parts}
        model = build_model(options(**changes))
        log = one_step(model, batch)
        moved.append((weights(model), torch.tensor(log['l_entropy'])))
    for other in moved[1:]:
        torch.testing.assert_close(other, moved[0])


def test_the_decay_of_the_ema_weights_warms_up(options):
    model = build_model(options(train__ema_warmup=True))
    assert [model._ema_decay_at(iteration) for iteration in (1, 8, 1000)] == [2 / 11, 0.5, 0.9]
    assert build_model(options())._ema_decay_at(1) == 0.9


def test_cyclic_cosine_schedule(options):
    """Each cycle begins at the initial rate and ends at its own, with the keys of Retinexformer's option files."""
    scheduler = {
        'type': 'CosineAnnealingRestartCyclicLR',
        'periods': [4, 8],
        'restart_weights': [1, 1],
        'eta_mins': [3e-4, 1e-6],
    }
    model = build_model(options(train__scheduler=scheduler))
    rates = []
    for iteration in range(1, 14):
        model.update_learning_rate(iteration)
        rates += model.get_current_learning_rate()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[2] == pytest.approx((1e-3 + 3e-4) / 2)
    assert rates[4] == pytest.approx(3e-4)
    assert rates[8] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[12] == pytest.approx(1e-6)


def test_outputs_of_one_name_get_distinct_names():
    class Listed:
        paths = (
            'd/a/1.png',
            'd/b/1.png',
            'e/a/2.png',
            'd/a/2.png',
            '/x/3.png',
            '/x/3.jpg',
            'y/4.png',
            '5',
            'z/5',
            '/6',
            '/w/6',
        )

    assert distinct_names(Listed()) == {
        'd/a/1.png': 'a_1',
        'd/b/1.png': 'b_1',
        'e/a/2.png': 'e_a_2',
        'd/a/2.png': 'd_a_2',
        '/x/3.png': '3_png',
        '/x/3.jpg': '3_jpg',
        '5': '5',
        'z/5': 'z_5',
        '/6': '6',
        '/w/6': 'w_6',
    }
    assert distinct_names(object()) == {}
