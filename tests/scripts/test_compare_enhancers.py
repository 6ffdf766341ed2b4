"""scripts/compare_enhancers.py on a few small photographs."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

SCRIPT = Path(__file__).parents[2] / 'scripts/compare_enhancers.py'


def test_measures_pairs_dark_and_darkened_photographs(tmp_path):
    rng = np.random.default_rng(0)
    photograph = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
    images = {
        'pairs/low/1.png': photograph // 4,
        'pairs/high/1.png': photograph,
        'night/a.png': photograph // 8,
        'day/b.png': photograph,
        'day/c.png': photograph[:, ::-1],
    }
    for name, image in images.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), image)
    arguments = ['--pairs', 'pairs', '--dark', 'night', '--darken', 'day', '--most', '1', '--out', 'out']
    arguments += ['--steps', '1', '2', '--only', 'input', 'gamma 0.5', 'night_small, steps 1']
    command = [sys.executable, SCRIPT, *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

    measured = json.loads((tmp_path / 'out/measured.json').read_text())
    assert {title: list(methods) for title, methods in measured.items()} == dict.fromkeys(
        ('pairs', 'dark', 'darkened'), ['input', 'gamma 0.5', 'night_small, steps 1']
    )
    fidelity, look = {'psnr', 'ssim', 'detail'}, {'clipped %', 'darkest 40 %', 'hue degrees'}
    for title, metrics in {'pairs': fidelity, 'dark': look, 'darkened': fidelity | look}.items():
        for photographs in measured[title].values():
            ((_, values),) = photographs.items()
            assert metrics <= values.keys()
    pairs = measured['pairs']
    assert pairs['input']['1.png']['psnr'] < pairs['gamma 0.5']['1.png']['psnr']
    assert '| night_small, steps 1 |' in (tmp_path / 'out/table.md').read_text()
    assert cv2.imread(str(tmp_path / 'out/sheet.png')).shape == (360, 960, 3)  # input, gamma, model, and a truth once
