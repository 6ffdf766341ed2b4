from pathlib import Path

import pytest

from basicsr_entropy.config.folders import folder_option, is_run_folder, latest_weights, output_folder, run_paths


@pytest.mark.parametrize(
    ('is_train', 'key', 'default'),
    [
        (True, 'experiments_root', Path('experiments/run')),
        (False, 'results_root', Path('results/run')),
    ],
)
def test_outputs_go_to_the_folder_of_the_option_or_of_the_name(tmp_path, is_train, key, default):
    for path in ({}, None, {key: None}):
        assert output_folder({'name': 'run', 'path': path}, is_train) == default
    assert output_folder({'name': 'run'}, is_train, tmp_path) == tmp_path / default
    assert output_folder({'name': 'run', 'path': {key: '~/mine'}}, is_train, tmp_path) == Path.home() / 'mine'


@pytest.mark.parametrize('name', ['/tmp', '..', 'a/b', 'a\0b'])
def test_a_name_that_is_a_path_gives_no_folder(name):
    with pytest.raises(ValueError, match='^name: must '):
        run_paths({'name': name, 'path': {}}, True, Path())


def test_the_latest_weights_are_those_of_the_training(tmp_path):
    assert latest_weights({'name': 'run'}) == Path('experiments/run/models/net_g_latest.pth')
    options = {'name': 'run', 'path': {'experiments_root': str(tmp_path)}}
    assert latest_weights(options) == tmp_path / 'models/net_g_latest.pth'


@pytest.mark.parametrize(
    ('is_train', 'names', 'expected'),
    [
        (True, (), True),
        (True, ('models',), True),  # of a start that was killed
        (True, ('models', 'training_states', 'visualization', 'mine.txt'), True),
        (True, ('train_run_20260101_000000.log', 'a.yml'), True),  # its checkpoints were moved
        (True, ('net.pth',), False),
        (True, ('models', 'net.pth'), False),
        (False, ('visualization', 'test_run_20260101_000000.log', 'metrics.json'), True),
        (False, ('photographs',), False),
    ],
)
def test_tells_the_folder_of_a_run_from_others(tmp_path, is_train, names, expected):
    assert is_run_folder(tmp_path / 'absent', is_train)
    for name in names:
        (tmp_path / name).mkdir()
    assert is_run_folder(tmp_path, is_train) is expected


def test_a_file_is_no_folder_of_a_run(tmp_path):
    (tmp_path / 'run').touch()
    assert not is_run_folder(tmp_path / 'run', is_train=True)


def test_the_option_that_decides_about_the_folder():
    assert folder_option({'name': 'run', 'path': None}, is_train=True) == 'name'
    assert folder_option({'name': 'run', 'path': {'results_root': 'a'}}, is_train=False) == 'path.results_root'
    assert folder_option({'name': 'run', 'path': {'results_root': 'a'}}, is_train=True) == 'name'
