import re

import cv2
import numpy as np
import pytest
import yaml
from helpers import write_image

from basicsr_entropy.metrics import calculate_psnr_gt_mean


@pytest.fixture
def tested(workdir, lolv1):
    """The option file of a test whose outputs are the truth, one grey level brighter."""
    options = {
        'name': 'perfect',
        'datasets': {'test_1': {'name': 'LOL', 'type': 'LowLightPairedDataset', 'dataroot': str(lolv1)}},
        'val': {'suffix': None},
    }
    (workdir / 'test.yml').write_text(yaml.safe_dump(options))
    for path in (lolv1 / 'eval15/high').iterdir():
        image = cv2.imread(str(path))
        write_image(workdir / f'results/perfect/visualization/LOL/{path.stem}_perfect.png', np.minimum(image, 254) + 1)
    return workdir / 'test.yml'


def test_shows_a_table_and_a_picture(run, tested, workdir, lolv1):
    code, out, err = run('report', '-opt', tested)
    assert code == 0, err
    before = [
        calculate_psnr_gt_mean(*(cv2.imread(str(lolv1 / f'eval15/{side}/{name}.png')) for side in ('low', 'high')))
        for name in ('00011', '00012')
    ]
    rows = {row.split()[1]: re.findall(r'[\d.]+ -> [\d.]+', row) for row in out.splitlines() if '->' in row}
    assert rows.keys() >= {'00011', '00012', 'mean'}
    psnr = float(rows['00011'][0].split(' -> ')[1])
    assert psnr == pytest.approx(48.13, abs=0.05)  # one level of 255
    assert float(rows['mean'][2].split(' -> ')[0]) == pytest.approx(sum(before) / 2, abs=0.01)
    picture = cv2.imread(str(workdir / 'results/perfect/comparison.png'))
    assert picture.shape == (2 * (350 + 26), 3 * 420, 3)
    shown = picture[26:376]
    assert shown[:, :420].mean() < 0.25 * shown[:, 420:840].mean()
    assert abs(shown[:, 420:840].mean() - shown[:, 840:].mean()) < 2


def test_names_a_missing_output(run, tested, workdir):
    (workdir / 'results/perfect/visualization/LOL/00012_perfect.png').unlink()
    code, _, err = run('report', '-opt', tested)
    assert code == 1
    assert 'error: no output results/perfect/visualization/LOL/00012_perfect.png; run `basicsr-entropy test`' in err
    assert not (workdir / 'results/perfect/comparison.png').exists()


def test_follows_the_results_root_of_the_option_file(run, tested, workdir, tmp_path):
    options = yaml.safe_load(tested.read_text())
    options['path'] = {'results_root': str(tmp_path / 'elsewhere')}
    tested.write_text(yaml.safe_dump(options))
    (workdir / 'results/perfect').rename(tmp_path / 'elsewhere')
    code, _, err = run('report', '-opt', tested)
    assert code == 0, err
    assert (tmp_path / 'elsewhere/comparison.png').is_file()
