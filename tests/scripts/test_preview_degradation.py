"""`scripts/preview_degradation.py`, on a small photograph."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import photograph, write_image

ROOT = Path(__file__).parents[2]


def test_writes_the_nights_of_a_photograph(workdir, monkeypatch):
    write_image(workdir / 'day.png', photograph(0))
    options = str(ROOT / 'options/train/photographs/night_small.yml')
    arguments = [options, '--photograph', 'day.png', '--out', 'nights.png', '--width', '48']
    monkeypatch.setattr(sys, 'argv', ['preview_degradation.py', *arguments])
    script = str(ROOT / 'scripts/preview_degradation.py')
    runpy.run_path(script, run_name='__main__')
    sheet = cv2.imread('nights.png')
    assert sheet.shape == (4 * 2 * 40, 6 * 48, 3)
    cells = sheet.reshape(4, 2, 40, 6, 48, 3).mean(axis=(2, 4, 5))
    assert (cells[:, 0] < cells[:, 1] + 1).all()  # the lifted ones are brighter
    assert len(np.unique(cells[:, 0].round(2))) > 20
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name='__main__')  # never overwrites
