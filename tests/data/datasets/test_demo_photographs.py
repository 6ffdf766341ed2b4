import cv2
import numpy as np
import pytest

from basicsr_entropy.data.datasets.demo_photographs import write_demo_dataset
from basicsr_entropy.data.sets.splits import find_splits


def test_is_a_set_of_dark_and_light_pairs_in_a_known_layout(tmp_path):
    counts = write_demo_dataset(tmp_path)
    splits = find_splits(tmp_path)
    assert {split.name for split in splits} == counts.keys()
    for split in splits:
        assert len(split.pairs) == counts[split.name]
        for pair in split.pairs:
            dark, light = cv2.imread(pair.lq), cv2.imread(pair.gt)
            assert dark.shape == light.shape == (256, 256, 3)
            assert dark.mean() < 0.5 * light.mean()
    assert counts['train'] > 30
    # as much of each color
    means = np.mean([cv2.imread(pair.gt).mean(axis=(0, 1)) for pair in splits[0].pairs], axis=0)
    assert np.ptp(means) < 10
    assert counts['test'] == 2
    with pytest.raises(FileExistsError, match='Train exists; remove it'):
        write_demo_dataset(tmp_path)


def test_is_the_same_every_time(tmp_path):
    for name in ('a', 'b'):
        write_demo_dataset(tmp_path / name)
    images = [cv2.imread(str(tmp_path / name / 'Test/input/chelsea.png')) for name in ('a', 'b')]
    np.testing.assert_array_equal(*images)
