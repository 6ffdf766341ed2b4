"""Wrong option files: each ends in one line that names the option and the remedy, before anything is created."""

import copy
import re

import pytest
from helpers import STOCK, train_options

from basicsr_entropy.config import find_problems, validate

NIGHT = {
    'name': 'night',
    'type': 'SyntheticLowLightDataset',
    'dataroot_gt': 'absent',
    'gt_size': 16,
    'batch_size_per_gpu': 1,
    'num_worker_per_gpu': 0,
}
UNPAIRED = {'name': 'a', 'type': 'SingleImageDataset', 'dataroot_lq': '.', 'io_backend': {'type': 'disk'}}

# changes to a sound training file (None removes a key), and what the one line says
WRONG = [
    # unknown and misspelt keys, in every section
    ({'sdee': {'prediction': 'noise'}}, r"sdee: unknown option; did you mean 'sde'\?"),
    ({'manual_sed': 1}, r"manual_sed: unknown option; did you mean 'manual_seed'\?"),
    ({'modeltype': 'SRModel'}, r"modeltype: unknown option; did you mean 'model_type'\?"),
    ({'channel_last': True}, r"channel_last: unknown option; did you mean 'channels_last'\?"),
    ({'sde__timestep': 50}, r"sde\.timestep: unknown option; did you mean 'timesteps'\?"),
    ({'sde__zzz': 1}, r'sde\.zzz: unknown option; known: condition, eps, max_sigma, prediction, schedule, timesteps'),
    ({'sde__steps': 4}, r"sde\.steps: unknown option; did you mean 'val\.sampler\.steps'\?"),
    ({'train__amp': 'bf16'}, r"train\.amp: unknown option; did you mean 'amp' at the top level\?"),
    ({'network_g__lift': 'auto'}, r"network_g\.lift: unknown option; did you mean 'sde\.condition\.lift'\?"),
    ({'train__ema_deacy': 0.9}, r"train\.ema_deacy: unknown option; did you mean 'ema_decay'\?"),
    ({'train__grad_clip': 1.0}, r"train\.grad_clip: unknown option; did you mean 'grad_clip_norm'\?"),
    ({'train__total_iters': 5}, r"train\.total_iters: unknown option; did you mean 'total_iter'\?"),
    (
        {'train__total_iter': None, 'train__total_itr': 5},
        r"train\.total_itr: unknown option; did you mean 'total_iter'",
    ),
    ({'train__optim_g__bettas': [0.9, 0.99]}, r"train\.optim_g\.bettas: unknown option; did you mean 'betas'\?"),
    ({'train__scheduler__eta_mn': 0}, r"train\.scheduler\.eta_mn: unknown option; did you mean 'eta_min'\?"),
    ({'train__entropy_opt__level': 8}, r"train\.entropy_opt\.level: unknown option; did you mean 'levels'\?"),
    ({'train__entropy_opt__compar': 'x0'}, r"train\.entropy_opt\.compar: unknown option; did you mean 'compare'\?"),
    ({'val__samplr': {'steps': 2}}, r"val\.samplr: unknown option; did you mean 'sampler'\?"),
    ({'val__save_img': None, 'val__save_image': True}, r"val\.save_image: unknown option; did you mean 'save_img'\?"),
    ({'val__sampler__step': 2}, r"val\.sampler\.step: unknown option; did you mean 'steps'\?"),
    ({'val__tile': {'sise': 64}}, r"val\.tile\.sise: unknown option; did you mean 'size'\?"),
    (
        {'val__metrics__psnr__crop_boarder': 0},
        r"val\.metrics\.psnr\.crop_boarder: unknown option; did you mean 'crop_border'\?",
    ),
    ({'path__pretrain_network': 'a.pth'}, r"path\.pretrain_network: unknown option; did you mean 'pretrain_network_g'"),
    ({'path__strict_load': True}, r"path\.strict_load: unknown option; did you mean 'strict_load_g'\?"),
    ({'logger__print_frequency': 1}, r"logger\.print_frequency: unknown option; did you mean 'print_freq'\?"),
    ({'logger__wandb': {'projekt': 'a'}}, r"logger\.wandb\.projekt: unknown option; did you mean 'project'\?"),
    ({'network_g__zzz': 3}, r'network_g\.zzz: unknown option; known: dec_blk_nums, enc_blk_nums'),
    ({'datasets__train__gt_sise': 64}, r"datasets\.train\.gt_sise: unknown option; did you mean 'gt_size'\?"),
    ({'datasets__val__exlude': 'a.txt'}, r"datasets\.val\.exlude: unknown option; did you mean 'exclude'\?"),
    ({'datasets__train__mixup': {'bta': 1}}, r"datasets\.train\.mixup\.bta: unknown option; did you mean 'beta'\?"),
    # unknown names
    ({'model_type': 'IRSDE'}, r"model_type: no 'IRSDE' in the model registry; did you mean 'IRSDEModel'\?"),
    ({'network_g__type': 'NAFNet'}, r"network_g\.type: no 'NAFNet' in the arch registry; did you mean '"),
    ({'datasets__train__type': 'LowLight'}, r"datasets\.train\.type: no 'LowLight' in the dataset registry"),
    ({'train__entropy_opt__type': 'SpatialEntropy'}, r"train\.entropy_opt\.type: no 'SpatialEntropy' .*; did you mean"),
    ({'val__metrics__psnr__type': 'psnr'}, r"val\.metrics\.psnr\.type: no 'psnr' in the metric registry"),
    ({'train__optim_g__type': 'AdamX'}, r"train\.optim_g\.type: no optimizer 'AdamX'; did you mean 'Adam"),
    ({'train__scheduler__type': 'CosineLR'}, r"train\.scheduler\.type: no schedule 'CosineLR'; known: Cosine"),
    ({'val__sampler': {'type': 'ddim'}}, r"val\.sampler\.type: must be one of posterior, .*, got 'ddim'"),
    ({'datasets__vall': {'name': 'a', 'type': 'b'}}, r'datasets\.vall: unknown phase; training takes train, val'),
    # missing
    ({'train': None}, r'train: missing; training needs this section'),
    ({'logger': None}, r'logger: missing; training needs this section'),
    ({'path': None}, r'path: missing; weights to start from'),
    ({'network_g': None}, r'network_g: missing; the network'),
    ({'num_gpu': None}, r'num_gpu: missing; GPUs of this process'),
    ({'datasets__train': None}, r'datasets\.train: missing; training needs a dataset'),
    ({'datasets__train__batch_size_per_gpu': None}, r'datasets\.train\.batch_size_per_gpu: missing; images per GPU'),
    ({'datasets__train__gt_size': None}, r'datasets\.train\.gt_size: missing; it is the side of the training crops'),
    ({'train__optim_g__lr': None}, r'train\.optim_g\.lr: missing; learning rate'),
    ({'train__entropy_opt': None}, r'train: no loss; add one, e\.g\. pixel_opt: \{type: L1Loss\}'),
    ({'train__entropy_opt__type': None}, r'train\.entropy_opt\.type: missing; it names an entry of the loss registry'),
    ({'val__val_freq': None}, r'val\.val_freq: missing; iterations between validations'),
    ({'logger__print_freq': None}, r'logger\.print_freq: missing; iterations between log lines'),
    ({'val__metrics__psnr__crop_border': None}, r'val\.metrics\.psnr\.crop_border: missing'),
    # wrong types: text for numbers, numbers for switches
    (
        {'train__total_iter': '400'},
        r"train\.total_iter: must be an integer of .*, got '400': .* without quotes",
    ),
    ({'train__optim_g__lr': '1e-3'}, r'train\.optim_g\.lr: .*: YAML reads 1e-3 as text; write !!float 1e-3'),
    ({'train__scheduler__periods': ['1e5']}, r'train\.scheduler\.periods: must be a list of integers of at least 1'),
    (
        {'datasets__train__gt_size': '16'},
        r"datasets\.train\.gt_size: must be .*, got '16': .* without quotes",
    ),
    ({'datasets__train__use_hflip': 'yes'}, r"datasets\.train\.use_hflip: must be true or false, got 'yes'"),
    ({'logger__use_tb_logger': 0}, r'logger\.use_tb_logger: must be true or false, got 0'),
    (
        {'train__entropy_opt__loss_weight': '1.0'},
        r'train\.entropy_opt\.loss_weight: must be a number of at least .* quotes',
    ),
    ({'train__entropy_opt__levels': '8'}, r'train\.entropy_opt\.levels: must be an integer or a list of integers'),
    ({'network_g__width': '8'}, r'network_g\.width: must be an integer, .*without quotes'),
    ({'sde__max_sigma': 'high'}, r"sde\.max_sigma: must be a number, got 'high'"),
    ({'train': 5}, r'train: must be a mapping of options, got 5'),
    ({'datasets': ['train']}, r"datasets: must be a mapping, got \['train'\]"),
    ({'network_g': 'NAFNet'}, r"network_g: must be a mapping.*, got 'NAFNet'"),
    # zeros and values out of range
    ({'train__total_iter': 0}, r'train\.total_iter: must be an integer of at least 1, got 0'),
    ({'logger__print_freq': 0}, r'logger\.print_freq: must be an integer of at least 1, got 0'),
    ({'logger__save_checkpoint_freq': 0}, r'logger\.save_checkpoint_freq: must be an integer of at least 1, got 0'),
    ({'val__val_freq': 0}, r'val\.val_freq: must be an integer of at least 1, got 0'),
    (
        {'datasets__train__batch_size_per_gpu': 0},
        r'datasets\.train\.batch_size_per_gpu: must be an integer of at',
    ),
    ({'train__optim_g__lr': 0}, r'train\.optim_g\.lr: must be a number above 0 and at most 100, got 0'),
    ({'train__optim_g__lr': float('nan')}, r'train\.optim_g\.lr: must be a number above 0 and at most 100, got nan'),
    ({'train__ema_decay': 1}, r'train\.ema_decay: must be a number of at least 0 and below 1, got 1'),
    ({'train__grad_clip_norm': 0}, r'train\.grad_clip_norm: must be a number above 0 and at most 1e\+12, got 0'),
    ({'train__entropy_opt__levels': 1}, r'train\.entropy_opt\.levels: must be an integer from 2 to 1024'),
    ({'train__entropy_opt__windows': [1, 4]}, r'train\.entropy_opt\.windows: must be .*odd'),
    (
        {'train__entropy_opt__compare': 'y0'},
        r'train\.entropy_opt\.compare: must be one of state, x0 or noise',
    ),
    ({'network_g__width': 2}, r'network_g(\.width)?: .* at least 4'),
    ({'sde__eps': 2}, r'sde\.eps: must be at least 1e-06 and less than 1'),
    ({'val__sampler__steps': 11}, r'val\.sampler\.steps: must be at most 10'),
    ({'val__sampler__order': 2}, r'val\.sampler\.order: applies to mr_ode and mr_sde only'),
    ({'val__tile': {'size': 8, 'overlap': 8}}, r'val\.tile\.overlap: must be smaller than size'),
    ({'manual_seed': -1}, r'manual_seed: must be an integer of at least 0 .*, got -1'),
    (
        {'train__total_iter': 100_002},
        r'train\.scheduler\.periods: must add up to at least train\.total_iter, 100002, but add up to 100000',
    ),
    ({'train__scheduler__restart_weights': [1, 1]}, r'train\.scheduler\.restart_weights: must be 1 numbers'),
    ({'datasets__train__layout': 'lolv9'}, r"datasets\.train\.layout: must be one of auto, lolv1, .*, got 'lolv9'"),
    (
        {'train__pixel_opt': {'type': 'MixedLoss', 'losses': 'L1Loss'}},
        r'train\.pixel_opt\.losses: must be a list of mappings',
    ),
    (
        {
            'datasets__val': {
                'type': 'SyntheticLowLightDataset',
                'name': 'x',
                'dataroot_gt': '.',
                'filename_tmpl': '{}_dark',
            }
        },
        r'datasets\.val\.filename_tmpl: unknown option',
    ),
    # paths
    ({'path__pretrain_network_g': 'absent.pth'}, r'path\.pretrain_network_g: no file absent\.pth'),
    ({'path__resume_state': 'absent.state'}, r'path\.resume_state: no file absent\.state'),
    ({'datasets__train__dataroot': 'absent'}, r'datasets\.train\.dataroot: no folder absent'),
    ({'datasets__val__exclude': 'absent.txt'}, r'datasets\.val\.exclude: no file absent\.txt'),
    # numbers that are infinite, or become so
    ({'train__entropy_opt__loss_weight': 1e30}, r'train\.entropy_opt\.loss_weight: .* at most 1e\+12, got 1e\+30'),
    ({'train__entropy_opt__loss_weight': 1e39}, r'train\.entropy_opt\.loss_weight: .* at most 1e\+12, got 1e\+39'),
    ({'train__optim_g__lr': 1e3}, r'train\.optim_g\.lr: must be a number above 0 and at most 100, got 1000\.0'),
    ({'train__optim_g__betas': [float('nan'), 0.99]}, r'train\.optim_g\.betas: must be finite, got nan'),
    (
        {'train__optim_g__weight_decay': 1e30},
        r'train\.optim_g\.weight_decay: .* at most 100, got 1e\+30',
    ),
    ({'train__optim_g__weight_decay': float('nan')}, r'train\.optim_g\.weight_decay: must be .*, got nan'),
    ({'train__optim_g__eps': 1e39}, r'train\.optim_g\.eps: must be at most 3\.4e\+38'),
    ({'train__optim_g__lr': float('inf')}, r'train\.optim_g\.lr: must be .* at most 100, got inf'),
    ({'train__ema_decay': float('nan')}, r'train\.ema_decay: must be a number of at least 0 and below 1, got nan'),
    ({'train__grad_clip_norm': 1e30}, r'train\.grad_clip_norm: must be .* at most 1e\+12, got 1e\+30'),
    ({'train__grad_clip_norm': float('inf')}, r'train\.grad_clip_norm: must be .*, got inf'),
    ({'train__scheduler__eta_min': 1e30}, r'train\.scheduler\.eta_min: .* at least 0 and at most 100, got 1e\+30'),
    (
        {'train__scheduler__restart_weights': [1e30]},
        r'train\.scheduler\.restart_weights: .* at most 100, got \[1e',
    ),
    ({'sde__max_sigma': 1e30}, r'sde\.max_sigma: must be a number from 1e-06 to 100000, got 1e\+30'),
    ({'sde__max_sigma': 1e-30}, r'sde\.max_sigma: must be a number from 1e-06 to 100000, got 1e-30'),
    ({'sde__max_sigma': float('nan')}, r'sde\.max_sigma: must be .*, got nan'),
    ({'train__optim_g__betas': [0.9, 1.5]}, r'train\.optim_g: AdamW refuses them: Invalid beta parameter at index 1'),
    (
        {'train__pixel_opt': {'type': 'MixedLoss', 'losses': [{'type': 'L1Loss', 'loss_weight': float('inf')}]}},
        r'train\.pixel_opt\.losses\[0\]\.loss_weight: must be a number .*, got inf',
    ),
    # what is found only by looking closer
    (
        {'val__metrics__psnr__better': 'Higher'},
        r'val\.metrics\.psnr\.better: must be one of higher or lower',
    ),
    (
        {'val__metrics__psnr__crop_border': -1},
        r'val\.metrics\.psnr\.crop_border: must be an integer of at least 0',
    ),
    (
        {'val__metrics__lpips': {'type': 'calculate_lpips', 'trunk': 'absent.pth'}},
        r'val\.metrics\.lpips\.trunk: no file or folder absent\.pth',
    ),
    ({'save_img': True}, r"save_img: unknown option; did you mean 'val\.save_img'\?"),
    ({'manual_seed': 5_000_000_000}, r'manual_seed: must be an integer of at least 0 and at most 4294901760'),
    ({'sde__timesteps': 10**12}, r'sde\.timesteps: must be at most 1000000, got 1000000000000'),
    ({'train__optim_g__betas': [0.9]}, r'train\.optim_g: AdamW refuses them'),
    ({'train__optim_g': {'type': 'Lion', 'lr': 0.001, 'foo': 1}}, r'train\.optim_g\.foo: unknown option; known: betas'),
    (
        {'train__optim_g': {'type': 'SGD', 'lr': 0.001, 'eps': 1e-8}},
        r'train\.optim_g\.eps: unknown option; known: d',
    ),
    (
        {'train__pixel_opt': {'type': 'MixedLoss', 'losses': []}},
        r'train\.pixel_opt\.losses: must be a list of loss',
    ),
    ({'train__entropy_opt__reduction': 'none'}, r'train\.entropy_opt\.reduction: must be mean or sum'),
    ({'network_g__enc_blk_nums': [-1]}, r'network_g\.enc_blk_nums: must be an integer of at least 0, got -1'),
    ({'network_g': {'type': 'ConditionalUNet', 'nf': 8, 'out_nc': 1}}, r'network_g\.out_nc: must be in_nc, 3'),
    (
        {**STOCK, 'datasets__train__mean': [0.5] * 2, 'datasets__train__std': [1.0] * 3},
        r'datasets\.train\.mean: must have one number per',
    ),
    (
        {**STOCK, 'datasets__train__mean': [0.5] * 3, 'datasets__train__std': [1.0, 0.0, 1.0]},
        r'datasets\.train\.std: must not be 0',
    ),
    (
        {'datasets__train__mean': [0.5] * 3, 'datasets__train__std': [0.5] * 3},
        r'datasets\.train\.mean: remove it; IRSDE',
    ),
    (
        {'datasets__train__exposure_jitter': [1.0]},
        r'datasets\.train\.exposure_jitter: must be a list of 2 numbers',
    ),
    ({'datasets__train__meta_info_file': 'a.txt'}, r'datasets\.train\.meta_info_file: applies to dataroot_lq and data'),
    ({'datasets__train__io_backend': {'type': 'disk', 'foo': 1}}, r'datasets\.train\.io_backend\.foo: applies to type'),
    ({'datasets__train__phase': 'test', 'datasets__train__gt_size': None}, r'datasets\.train\.gt_size: missing'),
    # networks and models that do not go together
    (
        {'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 1}},
        r'network_g\.type: .*SRVGGNetCompact does not take x_t, mu and t.*ConditionalNAFNet, ConditionalUNet',
    ),
]


@pytest.mark.parametrize(('changes', 'message'), WRONG, ids=lambda value: str(value)[:60])
def test_is_one_line_that_names_the_option(run, write_options, workdir, changes, message):
    path = write_options('wrong.yml', **changes)
    code, _, err = run('train', '-opt', path)
    errors = [line for line in err.splitlines() if line.startswith('basicsr-entropy: error: ')]
    assert code == 1
    assert len(errors) == 1, err
    assert re.match(f'basicsr-entropy: error: {message}', errors[0]), errors[0]
    assert 'Traceback' not in err
    assert [each.name for each in workdir.iterdir()] == ['wrong.yml']


@pytest.mark.parametrize(('changes', 'message'), WRONG[::5], ids=lambda value: str(value)[:60])
def test_validate_prints_it_and_creates_nothing(run, write_options, workdir, changes, message):
    path = write_options('wrong.yml', **changes)
    code, out, err = run('validate', path)
    assert (code, err) == (1, '')
    assert any(re.match(f'{re.escape(str(path))}: {message}', line) for line in out.splitlines()), out
    assert [each.name for each in workdir.iterdir()] == ['wrong.yml']


@pytest.mark.parametrize(
    ('changes', 'messages'),
    [
        ({'datasets__val': 5}, ['datasets.val: must be a mapping with a type, got 5']),
        (
            {'val__metrics__psnr': 'calculate_psnr'},
            ['val.metrics.psnr: must be a mapping with a type, got'],
        ),
        ({'train__pixel_op': {'type': 'L1Loss'}}, ['train.pixel_op: unknown option; the key of a loss ends in _opt']),
        ({'train__pixel_opt': {'type': 'MixedLoss'}}, ['train.pixel_opt.losses: missing; list of the options of']),
        (
            {'val__tile': {'size': 1, 'overlap': 0}},
            ['val.tile.size: must be at least 2, to which the network'],
        ),
        ({'logger__use_tb_logger': True, 'logger__wandb': {'project': 'a'}}, ['logger.wandb: needs the package wandb']),
        (
            {**STOCK, 'train__pixel_opt': {'type': 'L1Loss'}, 'datasets__val': UNPAIRED},
            ['val.metrics.psnr: compares with a ground truth, and SingleImageDataset (datasets.val) has none'],
        ),
        (
            {'val__metrics': {'lpips': {'type': 'calculate_lpips', 'trunk': 'wrong.yml'}}},
            ['val.metrics.lpips.trunk: wrong.yml is no file of PyTorch weights'],
        ),
        (
            {'val__metrics': {'lpips': {'type': 'calculate_lpips', 'device': 'cuda'}}},
            ['val.metrics.lpips.device: torch sees no CUDA device; use cpu'],
        ),
    ],
    ids=str,
)
def test_validate_prints_nothing_else(run, write_options, monkeypatch, changes, messages):
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *_: None if name == 'wandb' else True)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    path = write_options('wrong.yml', **changes)
    code, out, _ = run('validate', path)
    assert code == 1
    assert [line.removeprefix(f'{path}: ')[: len(each)] for line, each in zip(out.splitlines(), messages)] == messages
    assert len(out.splitlines()) == len(messages), out


def test_weights_that_a_run_would_archive_are_refused(run, write_options, workdir):
    assert run('train', '-opt', write_options(train__total_iter=2))[0] == 0
    own = 'experiments/tiny/models/net_g_latest.pth'
    code, _, err = run('train', '-opt', write_options(path__pretrain_network_g=own))
    assert code == 1
    assert f'path.pretrain_network_g: {own} lies in the folder that a new run of this name archives' in err
    assert (workdir / own).is_file()
    assert run('train', '-opt', write_options('other.yml', train__total_iter=2, path__pretrain_network_g=own))[0] == 0


def test_a_test_needs_weights(run, write_test):
    code, _, err = run('test', '-opt', write_test(path__pretrain_network_g=None))
    assert code == 1
    assert 'error: path.pretrain_network_g: missing; a test needs weights' in err


def test_a_name_that_is_a_path_is_refused(run, write_options, workdir):
    path = write_options('wrong.yml')
    for name in ('a/b', '/tmp', '..'):
        code, _, err = run('train', '-opt', path, '--force_yml', f'name={name}')
        assert code == 1
        assert f"error: name: must be a name and not a path, got '{name}'" in err
    assert [each.name for each in workdir.iterdir()] == ['wrong.yml']


def test_validate_lists_every_problem_on_a_line_of_its_own(run, write_options):
    wrong = {'sdee': 1, 'train__total_iter': 0, 'datasets__train__gt_size': '16', 'val__metrics__psnr__type': 'psnr'}
    code, out, _ = run('validate', write_options(**wrong))
    assert code == 1
    assert len(out.splitlines()) == 4
    code, _, err = run('train', '-opt', write_options(**wrong))
    assert code == 1
    assert '(and 3 more)' in err


def test_validate_of_a_sound_file(run, write_options, workdir):
    path = write_options()
    assert run('validate', path)[:2] == (0, f'{path}: valid for train\n')
    code, out, _ = run('validate', path, '--force_yml', 'train:total_iter=0')
    assert code == 1
    assert 'train.total_iter: must be' in out
    code, out, _ = run('validate', path, '--phase', 'test')
    assert code == 1
    assert 'path.pretrain_network_g: no file experiments/tiny/models/net_g_latest.pth' in out
    assert run('validate', path, '--phase', 'test', '--no-files')[0] == 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train__pixl_opt': {'type': 'L1Loss'}}, r"train\.pixl_opt: unknown option; did you mean 'pixel_opt'\?"),
        ({'train__ema_deacy': 0.5}, r"train\.ema_deacy: unknown option; did you mean 'ema_decay'\?"),
        ({'sde': {'timesteps': 10}}, r'sde: unknown option'),
        ({'val__sampler': {'steps': 2}}, r'val\.sampler: unknown option'),
        ({'train__optim_g__type': 'AdamW'}, r"train\.optim_g\.type: no optimizer 'AdamW'; did you mean 'Adam'\?"),
        ({'train__pixel_opt__los_weight': 1}, r"train\.pixel_opt\.los_weight: unknown option; did you mean 'loss_w"),
        ({'train__pixel_opt__loss_weight': '1'}, r'train\.pixel_opt\.loss_weight: must be a number of .*, got'),
        ({'network_g__num_feet': 8}, r"network_g\.num_feet: unknown option; did you mean 'num_feat'\?"),
        (
            {'datasets__train__type': 'PairedImageDataset'},
            r"datasets\.train\.dataroot: unknown option; did you mean 'dataroot_",
        ),
        (
            {'train__perceptual_opt': {'type': 'SpatialEntropyLoss'}},
            r'train\.perceptual_opt\.type: must be a PerceptualLoss; put SpatialEntropyLoss into pixel_opt',
        ),
        (
            {'train__pixel_opt': {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}}},
            r'train\.pixel_opt\.type: must give one value; put it into perceptual_opt, or into a MixedLoss',
        ),
        (
            {'train__pixel_opt': {'type': 'MixedLoss', 'losses': [{'type': 'L1Loss', 'reduction': 'none'}]}},
            r'train\.pixel_opt\.losses\[0\]\.reduction: must be mean or sum',
        ),
    ],
    ids=str,
)
def test_a_stock_model_is_checked_too(run, write_options, workdir, changes, message):
    code, _, err = run(
        'train',
        '-opt',
        write_options('wrong.yml', **{**copy.deepcopy(STOCK), 'train__pixel_opt': {'type': 'L1Loss'}, **changes}),
    )
    assert code == 1
    assert re.search(f'error: {message}', err), err
    assert [each.name for each in workdir.iterdir()] == ['wrong.yml']


@pytest.mark.parametrize('line', ['on: 1', 'train: {on: 1}', 'train: {optim_g: {on: 1}}', 'val: {metrics: {on: {}}}'])
def test_a_key_that_yaml_does_not_read_as_text_is_named(run, workdir, line):
    (workdir / 'wrong.yml').write_text(line)
    code, out, _ = run('validate', 'wrong.yml', '--phase', 'train')
    assert code == 1
    assert re.fullmatch(r'wrong.yml: (\w+\.)*True: a key must be text, got True: YAML reads on, .*; quote them\n', out)


def test_a_network_that_would_be_built_for_ever_is_refused(run, write_options, monkeypatch):
    monkeypatch.setattr(validate, 'MOST_WEIGHTS', 200)
    code, out, _ = run('validate', write_options('wrong.yml', network_g__middle_blk_num=10**400))
    assert code == 1
    assert 'network_g: the network has more than 200 weights' in out


def test_odd_values_anywhere_are_problems_and_no_crash(lolv1):
    """Each section and option is replaced in turn; what is refused does not matter here."""
    odd = (None, [], {}, '', -1, True, 0.5, [None], {'a': 1}, {1: 2}, {'type': [1]}, 10**400, '../..', [[1]])

    def keys_of(section, path=()):
        for key, value in section.items():
            yield (*path, key)
            if isinstance(value, dict):
                yield from keys_of(value, (*path, key))

    sound = {**train_options(lolv1), 'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8}}
    assert len(find_problems(sound, is_train=True, files=False)) == 1  # the network
    for number, (*parents, key) in enumerate(keys_of(sound)):
        for value in odd[number % 3 :: 3]:
            changed = copy.deepcopy(sound)
            section = changed
            for parent in parents:
                section = section[parent]
            section[key] = value
            assert isinstance(find_problems(changed, is_train=bool(number % 2), files=False), list)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'datasets__train__gt_size': None}, 'datasets.train.gt_size: missing'),
        (
            {'datasets__train': NIGHT | {'degradation': {'bits': 0}}},
            'datasets.train.degradation.bits: must be an integer',
        ),
        (
            {'datasets__train': NIGHT | {'degradation': {'exposure': [5, 1]}}},
            'datasets.train.degradation.exposure: must be',
        ),
    ],
    ids=str,
)
def test_what_needs_no_file_is_found_without_files(tmp_path, changes, message):
    (problem,) = find_problems(train_options(tmp_path / 'absent', **changes), is_train=True, files=False)
    assert str(problem).startswith(message)


def test_whole_floats_are_integers(lolv1):
    changes = {'network_g__width': 8.0, 'network_g__enc_blk_nums': [1.0], 'train__entropy_opt__levels': 4.0}
    assert find_problems(train_options(lolv1, **changes), is_train=True) == []


def test_keys_that_a_stock_model_reads_in_another_section_are_found(lolv1):
    options = train_options(lolv1, **STOCK, train__pixel_opt={'type': 'L1Loss'})
    assert find_problems(options, is_train=True) == []
    misplaced = {
        'ema_decay': 0.9,
        'perceptual_opt': {'type': 'PerceptualLoss'},
        'val': {**options['val'], 'ema_decay': 0.8},
    }
    problems = {problem.path: str(problem) for problem in find_problems({**options, **misplaced}, is_train=True)}
    assert problems.keys() == {'ema_decay', 'perceptual_opt', 'val.ema_decay'}
    assert "did you mean 'train.ema_decay'?" in problems['ema_decay']


def test_validate_tests_the_weights_of_the_command_line(run, write_options, workdir):
    path = write_options()
    (workdir / 'net.pth').touch()
    code, out, _ = run('validate', path, '--phase', 'test')
    assert code == 1
    assert 'net_g_latest.pth' in out
    code, out, _ = run('validate', path, '--phase', 'test', '--force_yml', 'path:pretrain_network_g=net.pth')
    assert code == 0, out
    code, _, err = run('validate', 'absent.yml')
    assert 'error: FILE: no file absent.yml' in err


def test_validation_datasets_of_one_name_are_refused(lolv1):
    options = train_options(lolv1)
    options['datasets']['val_2'] = dict(options['datasets']['val'])
    assert [str(each) for each in find_problems(options, is_train=True)] == [
        "datasets.val_2.name: 'LOLv1' is also the name of datasets.val; give it another"
    ]
    options['datasets']['val_2']['name'] = 'again'
    assert find_problems(options, is_train=True) == []
