"""Small real images, sets and option files to test on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

FIXTURES = Path(__file__).parent / 'fixtures'
CLI = (sys.executable, '-m', 'basicsr_entropy')
# changes of `write_options` that give a model of BasicSR's own, without a loss
STOCK = {
    'model_type': 'SRModel',
    'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 1},
    'sde': None,
    'val__sampler': None,
    'train__entropy_opt': None,
    'train__optim_g': {'type': 'Adam', 'lr': 1e-3},  # the one that SRModel of basicsr 1.4.2 knows
}


def in_two_processes(command: str, path: Path, workdir: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `train` or `test` on an option file in two processes without CUDA."""
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    return subprocess.run(
        [*torchrun, '-m', f'basicsr_entropy.{command}', '-opt', str(path), '--launcher', 'pytorch', *arguments],
        capture_output=True,
        text=True,
        cwd=workdir,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'},
        check=False,
    )


def photograph(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A smooth colored scene with some texture, uint8 BGR."""
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


def manifest_of(database):
    return json.loads((database / 'manifest.json').read_text())


def assert_one_line(code: int, err: str, message: str) -> None:
    """Asserts that a run of the command line failed with one error line that matches `message`, without a traceback."""
    errors = [line for line in err.splitlines() if line.startswith('basicsr-entropy: error: ')]
    assert code == 1
    assert len(errors) == 1, err
    assert re.search(message, errors[0]), errors[0]
    assert 'Traceback' not in err


def tiny_model(folder: Path, value: float):
    """A model of BasicSR's with one weight and Adam, which saves under `folder`."""
    import torch
    from basicsr.models.base_model import BaseModel

    class Model(BaseModel):
        def save(self, epoch, current_iter):
            self.save_network(self.net_g, 'net_g', current_iter)
            self.save_training_state(epoch, current_iter)

    paths = {'models': str(folder / 'models'), 'training_states': str(folder / 'states')}
    for each in paths.values():
        Path(each).mkdir(exist_ok=True)
    model = Model({'num_gpu': 0, 'is_train': True, 'dist': False, 'path': paths})
    model.net_g = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.net_g.weight, value)
    model.optimizers.append(torch.optim.Adam(model.net_g.parameters()))
    return model
