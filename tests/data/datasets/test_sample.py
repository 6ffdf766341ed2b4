import cv2
import numpy as np
import pytest

from basicsr_entropy.data.datasets.sample import write_sample
from basicsr_entropy.data.sets.layouts import find_splits
from basicsr_entropy.data.sets.pairing import pair_folders


def test_is_a_set_of_dark_and_light_pairs_in_a_known_layout(tmp_path):
    counts = write_sample(tmp_path)
    splits = {split.split: split for split in find_splits(tmp_path)}
    for name, split in splits.items():
        pairs = pair_folders(split.lq_folder, split.gt_folder, name)
        assert len(pairs) == counts[name]
        for pair in pairs:
            dark, light = cv2.imread(pair.lq), cv2.imread(pair.gt)
            assert dark.shape == light.shape == (256, 256, 3)
            assert dark.mean() < 0.5 * light.mean()
    assert counts['train'] > 30
    assert counts['test'] == 2
    with pytest.raises(FileExistsError, match='Train exists; remove it'):
        write_sample(tmp_path)


def test_is_the_same_every_time(tmp_path):
    for name in ('a', 'b'):
        write_sample(tmp_path / name)
    images = [cv2.imread(str(tmp_path / name / 'Test/input/chelsea.png')) for name in ('a', 'b')]
    np.testing.assert_array_equal(*images)
