"""Small real files to test on, and runs of the command line inside this process."""

import logging
import os
import signal
import sys
from pathlib import Path

# Triton looks at this when it is imported, which torch may do, so torch cannot be asked for a GPU first.
if not Path('/dev/nvidiactl').exists():
    os.environ['TRITON_INTERPRET'] = '1'

import numpy as np
import pytest
import torch
import yaml

import basicsr_entropy  # noqa: F401  (registers)

# isort: split
from helpers import FIXTURES, train_options, write_pairs

from basicsr_entropy import cli

# Shells start background jobs with SIGINT ignored, and nohup any with SIGHUP; the tests send both.
for each, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(each) == signal.SIG_IGN:
        signal.signal(each, handler)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (BasicSR's own source)


@pytest.fixture(scope='session')
def golden():
    """Loads published reference numbers as tensors."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(FIXTURES / f'{name}.npz') as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return load


@pytest.fixture
def lolv1(tmp_path: Path) -> Path:
    """A small set in LOL v1's layout: 4 training and 2 test pairs of 48x40 pixels."""
    root = tmp_path / 'LOLv1'
    write_pairs(root / 'our485/low', root / 'our485/high', 4)
    write_pairs(root / 'eval15/low', root / 'eval15/high', 2, first=11)
    return root


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch) -> Path:
    """An empty current directory, and BasicSR's logger as in a new process."""
    from basicsr.utils import logger

    folder = tmp_path / 'work'
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    for handler in list(logging.getLogger('basicsr').handlers):
        handler.close()
        logging.getLogger('basicsr').removeHandler(handler)
    logger.initialized_logger.clear()


@pytest.fixture
def run(workdir, monkeypatch, capsys):
    """Runs `basicsr-entropy ...`; returns exit code, standard output and standard error."""
    from basicsr.utils import logger

    def call(*arguments: str) -> tuple[int, str, str]:
        logger.initialized_logger.clear()
        for handler in list(logging.getLogger('basicsr').handlers):
            handler.close()
            logging.getLogger('basicsr').removeHandler(handler)
        monkeypatch.setattr(sys, 'argv', ['basicsr-entropy', *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return call


@pytest.fixture
def write_options(workdir, lolv1):
    """Writes an option file for a tiny training run, with changes such as train__total_iter=2; None removes a key."""

    def write(name: str = 'tiny.yml', **changes) -> Path:
        changes.setdefault('name', Path(name).stem)
        path = workdir / name
        path.write_text(yaml.safe_dump(train_options(lolv1, **changes), sort_keys=False))
        return path

    return write


@pytest.fixture
def write_test(workdir, lolv1):
    """Writes the option file of a test run, and random weights for it; changes as in `write_options`."""
    from basicsr.archs import build_network

    datasets = {'test_1': {'name': 'LOL', 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)}}

    def write(**changes) -> Path:
        path = {'pretrain_network_g': 'net.pth', 'param_key_g': 'params', 'strict_load_g': True}
        test = {'scale': 1, 'datasets': datasets, 'path': path, 'val__suffix': '', 'train': None, 'logger': None}
        options = train_options(lolv1, **{**test, **changes})
        torch.save({'params': build_network(options['network_g']).state_dict()}, workdir / 'net.pth')
        (workdir / 'test.yml').write_text(yaml.safe_dump(options, sort_keys=False))
        return workdir / 'test.yml'

    write.datasets = datasets
    return write


@pytest.fixture
def pretrained(tmp_path):
    """A tiny model that does something."""
    from basicsr.utils.registry import ARCH_REGISTRY

    from basicsr_entropy.config import build
    from basicsr_entropy.inference.pretrained import Pretrained

    options = train_options(tmp_path)
    net = build(ARCH_REGISTRY, options['network_g'], 'network_g')
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return Pretrained(net.state_dict(), options['network_g'], options['sde'], {'type': 'posterior', 'steps': 2})
