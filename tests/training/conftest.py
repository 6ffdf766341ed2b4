"""Option files of test runs."""

import pytest
import torch
import yaml
from basicsr.archs import build_network
from helpers import train_options


@pytest.fixture
def write_test(workdir, lolv1):
    """Writes the option file of a test run and random weights for it; changes as in `write_options`."""
    datasets = {'test_1': {'name': 'LOL', 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)}}

    def write(**changes):
        path = {'pretrain_network_g': 'net.pth', 'param_key_g': 'params', 'strict_load_g': True}
        test = {'scale': 1, 'datasets': datasets, 'path': path, 'val__suffix': '', 'train': None, 'logger': None}
        options = train_options(lolv1, **{**test, **changes})
        net = build_network(options['network_g'])
        torch.save({'params': net.state_dict()}, workdir / 'net.pth')
        (workdir / 'test.yml').write_text(yaml.safe_dump(options, sort_keys=False))
        return workdir / 'test.yml'

    write.datasets = datasets
    return write
