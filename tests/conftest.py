"""Small real files to test on, and runs of the command line inside this process."""

import logging
import os
import sys
from pathlib import Path

# Triton looks at this when it is imported, which torch may do, so torch cannot be asked for a GPU first.
if not Path('/dev/nvidiactl').exists():
    os.environ['TRITON_INTERPRET'] = '1'

import cv2
import numpy as np
import pytest
import torch
import yaml

import basicsr_entropy  # noqa: F401  (registers)
from basicsr_entropy import cli

FIXTURES = Path(__file__).parent / 'fixtures'


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


def photograph(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A smooth coloured scene with some texture, uint8 BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 220, (4, 5, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 4, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_pairs(
    lq_folder: Path, gt_folder: Path, count: int, lq_prefix: str = '', gt_prefix: str = '', first: int = 1, **size
) -> None:
    """Pairs numbered from `first`; the low-light image is the other one, darkened."""
    for index in range(first, first + count):
        image = photograph(index, **size)
        write_image(gt_folder / f'{gt_prefix}{index:05d}.png', image)
        write_image(lq_folder / f'{lq_prefix}{index:05d}.png', image // 8)


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


def train_options(dataroot: Path, **changes) -> dict:
    """Options of a run that takes a second: a tiny network on a small set."""
    options = yaml.safe_load(f"""
        name: tiny
        model_type: IRSDEModel
        num_gpu: auto
        manual_seed: 0
        sde: {{timesteps: 10, prediction: residual}}
        datasets:
          train:
            name: LOLv1
            type: LowLightPairedDataset
            dataroot: {dataroot}
            gt_size: 16
            use_hflip: true
            use_rot: true
            batch_size_per_gpu: 2
            num_worker_per_gpu: 0
            dataset_enlarge_ratio: 10
          val:
            name: LOLv1
            type: LowLightPairedDataset
            dataroot: {dataroot}
        network_g: {{type: ConditionalNAFNet, width: 8, enc_blk_nums: [1], middle_blk_num: 1, dec_blk_nums: [1]}}
        path: {{pretrain_network_g: ~, strict_load_g: true, resume_state: ~}}
        train:
          ema_decay: 0.9
          optim_g: {{type: AdamW, lr: 0.001}}
          scheduler: {{type: CosineAnnealingRestartLR, periods: [100000], eta_min: 0.000001}}
          total_iter: 4
          entropy_opt: {{type: SpatialEntropyLoss, levels: 4}}
        val:
          val_freq: 100
          save_img: true
          sampler: {{type: posterior, steps: 2, seed: 1}}
          metrics:
            psnr: {{type: calculate_psnr, crop_border: 0}}
        logger: {{print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}}
    """)
    for path, value in changes.items():
        section, keys = options, path.split('__')
        for key in keys[:-1]:
            section = section[key]
        if value is None:
            section.pop(keys[-1])
        else:
            section[keys[-1]] = value
    return options


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
def pretrained(tmp_path):
    """A tiny model that does something."""
    from basicsr.utils.registry import ARCH_REGISTRY

    from basicsr_entropy._registry import build
    from basicsr_entropy.models.pretrained import Pretrained

    options = train_options(tmp_path)
    net = build(ARCH_REGISTRY, options['network_g'], 'network_g')
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return Pretrained(net.state_dict(), options['network_g'], options['sde'], {'type': 'posterior', 'steps': 2})
