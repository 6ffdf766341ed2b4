"""Every option file in `options/` runs unchanged, on datasets in the published layouts."""

import copy
from pathlib import Path

import pytest
import yaml
from helpers import photograph, write_image, write_pairs

import basicsr_entropy
from basicsr_entropy.config import check_options
from basicsr_entropy.config.templates import PHASES, datasets, option_files, recipes, render

OPTIONS = Path(basicsr_entropy.__file__).parents[1] / 'options'
FILES = [Path(path) for path in option_files()]
DATASETS = ('LOLv1', 'LOLv2_real', 'LOLv2_synthetic', 'NTIRE2024')
RECIPES = ('irsde_published', 'irsde_small', 'irsde_l1', 'irsde_mixed', 'srmodel_entropy')
# sizes that a test can afford; everything else is as in the file
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
def published(workdir):
    """Two pairs per split of every published dataset, where the option files look for them."""
    root = workdir / 'datasets'
    size = {'height': 136, 'width': 132}
    for split, lq, gt in (('our485', 'low', 'high'), ('eval15', 'low', 'high')):
        write_pairs(root / f'LOLv1/{split}/{lq}', root / f'LOLv1/{split}/{gt}', 2, **size)
    for split in ('Train', 'Test'):
        real, synthetic = (root / f'LOLv2/{name}/{split}' for name in ('Real_captured', 'Synthetic'))
        write_pairs(real / 'Low', real / 'Normal', 2, 'low', 'normal', **size)
        write_pairs(synthetic / 'Low', synthetic / 'Normal', 2, **size)
    for split in ('train', 'mini_val'):
        write_pairs(root / f'NTIRE2024/{split}/input', root / f'NTIRE2024/{split}/gt', 2, **size)
    return root


def check(options, phase):
    options['num_gpu'] = 0
    for key, dataset in options['datasets'].items():
        dataset['phase'] = key.split('_')[0]
    check_options(options, is_train=phase == 'train', files=False)


def force(options):
    return ['--force_yml', *(f'{key}={value}' for key, value in options.items())]


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('name', DATASETS)
def test_trains_and_tests_unchanged(run, published, workdir, monkeypatch, name, recipe):
    from basicsr.archs.vgg_arch import vgg

    # VGG19 without its weights, which would be downloaded
    monkeypatch.setattr(vgg, 'vgg19', lambda pretrained: vgg.VGG(vgg.make_layers(vgg.cfgs['E']), num_classes=1))
    smaller = SMALLER.get(recipe, {})
    sampling = {} if recipe == 'srmodel_entropy' else {'val:sampler:steps': 2}
    code, _, log = run(
        'train', '-opt', OPTIONS / f'train/{name}/{recipe}.yml', *force({**QUICK, **sampling, **smaller})
    )
    assert code == 0, log
    assert (workdir / f'experiments/{recipe}_{name}/models/net_g_latest.pth').is_file()
    assert '# psnr_gt_mean: ' in log

    tested = recipe if (OPTIONS / f'test/{name}/{recipe}.yml').is_file() else 'irsde_small'
    run_name = f'{recipe}_{name}'
    renamed = {'name': run_name, 'path:pretrain_network_g': f'experiments/{run_name}/models/net_g_latest.pth'}
    code, _, log = run(
        'test', '-opt', OPTIONS / f'test/{name}/{tested}.yml', *force({**sampling, **smaller, **renamed})
    )
    assert code == 0, log
    assert len(list((workdir / f'results/{run_name}/visualization/{name}').iterdir())) == 2


def test_the_bundled_model_trains_and_tests_unchanged(run, workdir):
    for split, seed in (('train', 1), ('test', 2)):
        write_image(workdir / f'datasets/photographs/{split}/a.png', photograph(seed, 100, 120))
    code, _, log = run('train', '-opt', OPTIONS / 'train/photographs/night_small.yml', *force(QUICK))
    assert code == 0, log
    code, _, log = run('test', '-opt', OPTIONS / 'test/photographs/night_small.yml')
    assert code == 0, log
    assert len(list((workdir / 'results/night_small/visualization/photographs').iterdir())) == 1


@pytest.mark.parametrize('path', FILES, ids=str)
def test_passes_the_checks(path):
    check(load(path), path.parts[0])


@pytest.mark.parametrize('phase', PHASES)
@pytest.mark.parametrize('dataset', datasets())
@pytest.mark.parametrize('recipe', recipes())
def test_every_recipe_passes_the_checks_for_every_dataset(recipe, dataset, phase):
    check(yaml.safe_load(render(recipe, dataset, phase)), phase)


@pytest.mark.parametrize('path', [path for path in FILES if path.parts[0] == 'test'], ids=str)
def test_tests_the_model_that_its_training_file_trains(path):
    test, train = load(path), load(Path('train', *path.parts[1:]))
    for key in ('name', 'model_type', 'sde', 'network_g'):
        assert test.get(key) == train.get(key)
    assert test['path']['pretrain_network_g'] == f'experiments/{train["name"]}/models/net_g_latest.pth'


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('command', ['train', 'test'])
def test_settings_are_the_same_for_every_dataset(command, recipe):
    first = None
    for name in DATASETS:
        path = OPTIONS / command / name / f'{recipe}.yml'
        if not path.is_file():
            assert command == 'test'
            continue
        options = copy.deepcopy(load(path))
        assert options.pop('name') == f'{recipe}_{name}'
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
