"""Testing with a training option file."""

import copy

import pytest
import yaml

from basicsr_entropy.config.as_test import as_test_options
from basicsr_entropy.config.templates import option_files

FILES = {path: yaml.safe_load(text) for path, text in option_files().items()}
TRAINING = sorted(path for path in FILES if path.startswith('train/'))
SAME_NETWORK = ('irsde_l1', 'irsde_mixed')  # as irsde_small, which has the test file


@pytest.fixture
def training():
    return copy.deepcopy(FILES['train/LOLv1/irsde_small.yml'])


@pytest.mark.parametrize('path', TRAINING)
def test_is_the_test_file_of_the_same_run(path):
    training = copy.deepcopy(FILES[path])
    if path == 'train/demo.yml':  # trains without validation
        with pytest.raises(KeyError, match='val: missing'):
            as_test_options(training)
        return
    tested_by = path.replace('train/', 'test/')
    for recipe in SAME_NETWORK:
        tested_by = tested_by.replace(recipe, 'irsde_small')
    expected = copy.deepcopy(FILES[tested_by])
    expected['name'] = training['name']
    expected['path']['pretrain_network_g'] = f'experiments/{training["name"]}/models/net_g_latest.pth'
    expected['datasets']['test_1']['phase'] = 'test'
    if 'irsde_l1' in path:  # it samples in more steps
        expected['val']['sampler'] = training['val']['sampler']
    assert as_test_options(training) == expected
    assert training == FILES[path]


@pytest.mark.parametrize('path', sorted(FILES.keys() - TRAINING))
def test_test_files_stay(path):
    options = as_test_options(FILES[path])
    assert options == FILES[path]
    assert options['datasets'] is not FILES[path]['datasets']


def test_weights_of_another_folder(training):
    training['path']['experiments_root'] = '/runs/a'
    path = as_test_options(training)['path']
    assert path['pretrain_network_g'] == '/runs/a/models/net_g_latest.pth'
    assert 'experiments_root' not in path


def test_weights_that_a_training_started_from_are_not_tested(training):
    training['path'] |= {'pretrain_network_g': 'start.pth', 'param_key_g': 'params', 'resume_state': 'a.state'}
    path = as_test_options(training)['path']
    assert path['pretrain_network_g'] == 'experiments/irsde_small_LOLv1/models/net_g_latest.pth'
    assert path['param_key_g'] == 'params_ema'
    assert 'resume_state' not in path


def test_weights_that_are_named(training):
    assert as_test_options(training, weights='other.pth')['path']['pretrain_network_g'] == 'other.pth'


@pytest.mark.parametrize('ema_decay', [0, None])
def test_without_ema_weights(training, ema_decay):
    training['train']['ema_decay'] = ema_decay
    assert as_test_options(training)['path']['param_key_g'] == 'params'


def test_several_validation_datasets_keep_their_order(training):
    first = training['datasets'].pop('val')
    training['datasets'] |= {'val_b': first | {'name': 'b'}, 'val_a': first | {'name': 'a', 'phase': 'val'}}
    datasets = as_test_options(training)['datasets']
    assert [(key, dataset['name'], dataset['phase']) for key, dataset in datasets.items()] == [
        ('test_1', 'b', 'test'),
        ('test_2', 'a', 'test'),
    ]


def test_values_of_val_hold(training):
    training['val'] |= {'save_img': False, 'suffix': 'x', 'tile': {'size': 128}}
    val = as_test_options(training)['val']
    assert (val['save_img'], val['suffix'], val['tile']) == (False, 'x', {'size': 128})
    del training['val']['save_img']
    assert as_test_options(training)['val']['save_img'] is True


@pytest.mark.parametrize(('key', 'message'), [('name', 'name: missing'), ('val', 'val: missing')])
def test_what_is_missing_is_named(training, key, message):
    del training[key]
    with pytest.raises(KeyError, match=message):
        as_test_options(training)


def test_a_training_without_validation_datasets_is_refused(training):
    del training['datasets']['val']
    with pytest.raises(KeyError, match=r'datasets\.val: missing'):
        as_test_options(training)


@pytest.mark.parametrize('key', ['datasets', 'path', 'train', 'val'])
def test_a_section_that_is_no_mapping_is_named(training, key):
    training[key] = [1]
    with pytest.raises(ValueError, match=rf'^{key}: must be a mapping of options, got \[1\]'):
        as_test_options(training)
