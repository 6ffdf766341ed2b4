from pathlib import Path

import pytest

from basicsr_entropy.config.folders import latest_weights, output_folder


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


def test_the_latest_weights_are_those_of_the_training(tmp_path):
    assert latest_weights({'name': 'run'}) == Path('experiments/run/models/net_g_latest.pth')
    options = {'name': 'run', 'path': {'experiments_root': str(tmp_path)}}
    assert latest_weights(options) == tmp_path / 'models/net_g_latest.pth'
