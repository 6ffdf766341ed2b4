"""Every option file that ships runs as it stands, on sets in the published layouts."""

import copy
from pathlib import Path

import pytest
import yaml
from helpers import photograph, write_image, write_pairs

import basicsr_entropy
from basicsr_entropy.training.pipeline import check_options

OPTIONS = Path(basicsr_entropy.__file__).parents[1] / 'options'
FILES = sorted(path.relative_to(OPTIONS) for path in OPTIONS.rglob('*.yml'))
SETS = ('LOLv1', 'LOLv2_real', 'LOLv2_synthetic', 'NTIRE2024')
KINDS = ('irsde_published', 'irsde_small', 'irsde_l1', 'irsde_mixed', 'srmodel_entropy')
# sizes that a test can afford; everything else is the file's own
QUICK = {
    'train:total_iter': 1,
    'datasets:train:batch_size_per_gpu': 1,
    'datasets:train:num_worker_per_gpu': 0,
    'logger:use_tb_logger': 'false',
}
SMALLER = {'irsde_published': {'network_g:width': 8, 'network_g:enc_blk_nums': '[1,1,1,1,1]'}}


def load(path):
    return yaml.safe_load((OPTIONS / path).read_text())


@pytest.fixture
def sets(workdir):
    """Two pairs a split of every set, where the option files look for them."""
    datasets = workdir / 'datasets'
    size = {'height': 136, 'width': 132}
    for split, lq, gt in (('our485', 'low', 'high'), ('eval15', 'low', 'high')):
        write_pairs(datasets / f'LOLv1/{split}/{lq}', datasets / f'LOLv1/{split}/{gt}', 2, **size)
    for split in ('Train', 'Test'):
        real, synthetic = (datasets / f'LOLv2/{name}/{split}' for name in ('Real_captured', 'Synthetic'))
        write_pairs(real / 'Low', real / 'Normal', 2, 'low', 'normal', **size)
        write_pairs(synthetic / 'Low', synthetic / 'Normal', 2, **size)
    for split in ('train', 'mini_val'):
        write_pairs(datasets / f'NTIRE2024/{split}/input', datasets / f'NTIRE2024/{split}/gt', 2, **size)
    return datasets


def force(options):
    return ['--force_yml', *(f'{key}={value}' for key, value in options.items())]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SETS)
def test_trains_and_tests_as_it_stands(run, sets, workdir, monkeypatch, name, kind):
    from basicsr.archs.vgg_arch import vgg

    # its weights are a download
    monkeypatch.setattr(vgg, 'vgg19', lambda pretrained: vgg.VGG(vgg.make_layers(vgg.cfgs['E']), num_classes=1))
    smaller = SMALLER.get(kind, {})
    sampling = {} if kind == 'srmodel_entropy' else {'val:sampler:steps': 2}
    code, _, log = run('train', '-opt', OPTIONS / f'train/{name}/{kind}.yml', *force({**QUICK, **sampling, **smaller}))
    assert code == 0, log
    assert (workdir / f'experiments/{kind}_{name}/models/net_g_latest.pth').is_file()
    assert '# psnr_gt_mean: ' in log

    tested = kind if (OPTIONS / f'test/{name}/{kind}.yml').is_file() else 'irsde_small'
    run_name = f'{kind}_{name}'
    renamed = {'name': run_name, 'path:pretrain_network_g': f'experiments/{run_name}/models/net_g_latest.pth'}
    code, _, log = run(
        'test', '-opt', OPTIONS / f'test/{name}/{tested}.yml', *force({**sampling, **smaller, **renamed})
    )
    assert code == 0, log
    assert len(list((workdir / f'results/{run_name}/visualization/{name}').iterdir())) == 2


def test_the_model_that_comes_along_trains_and_tests_as_it_stands(run, workdir):
    for split, seed in (('train', 1), ('test', 2)):
        write_image(workdir / f'datasets/photographs/{split}/a.png', photograph(seed, 100, 120))
    code, _, log = run('train', '-opt', OPTIONS / 'train/photographs/night_small.yml', *force(QUICK))
    assert code == 0, log
    code, _, log = run('test', '-opt', OPTIONS / 'test/photographs/night_small.yml')
    assert code == 0, log
    assert len(list((workdir / 'results/night_small/visualization/photographs').iterdir())) == 1


@pytest.mark.parametrize('path', FILES, ids=str)
def test_is_understood_whole(path):
    options = load(path)
    options['num_gpu'] = 0
    for phase, dataset in options['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
    check_options(options, is_train=path.parts[0] == 'train')


@pytest.mark.parametrize('path', [path for path in FILES if path.parts[0] == 'test'], ids=str)
def test_tests_the_model_that_its_training_file_trains(path):
    test, train = load(path), load(Path('train', *path.parts[1:]))
    for key in ('name', 'model_type', 'sde', 'network_g'):
        assert test.get(key) == train.get(key)
    assert test['path']['pretrain_network_g'] == f'experiments/{train["name"]}/models/net_g_latest.pth'


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('command', ['train', 'test'])
def test_settings_are_the_same_for_every_set(command, kind):
    first = None
    for name in SETS:
        path = OPTIONS / command / name / f'{kind}.yml'
        if not path.is_file():
            assert command == 'test'
            continue
        options = copy.deepcopy(load(path))
        assert options.pop('name') == f'{kind}_{name}'
        options.get('path', {}).pop('pretrain_network_g')
        for dataset in options['datasets'].values():
            assert dataset.pop('name') == name
            for key in ('dataroot', 'layout', 'split'):
                dataset.pop(key)
        first = first or options
        assert options == first


def test_published_setting_is_the_papers():
    options = load('train/LOLv1/irsde_published.yml')
    train, loss = options['train'], options['train']['entropy_opt']
    assert (loss['divergence'], loss['levels'], options['network_g']['width']) == ('hellinger', 32, 64)
    assert (options['datasets']['train']['gt_size'], options['datasets']['train']['batch_size_per_gpu']) == (128, 8)
    assert (train['total_iter'], train['optim_g']['type'], train['optim_g']['lr']) == (500_000, 'AdamW', 1e-4)
    assert (train['scheduler']['periods'], train['scheduler']['eta_min']) == ([500_000], 1e-6)
    assert options['sde']['prediction'] == 'noise'
    assert options['val']['sampler'] == {'type': 'posterior', 'steps': 100, 'seed': 0}
