import cv2
import numpy as np
import pytest

from basicsr_entropy.data.checks import scenes
from basicsr_entropy.data.datasets.demo_photographs import read_photograph

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'motorcycle_left')


def luma(name):
    """A photograph of 384x256 pixels, range [0, 1]."""
    image = cv2.resize(read_photograph(name), (384, 256), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255


def moved(image, dx, dy):
    matrix = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def exposed(image, gain, gamma=1.0, noise=0.01, seed=0):
    """Another exposure as 8 bits keep it, clipped where it is too long."""
    value = image**gamma * gain + np.random.default_rng(seed).normal(0, noise, image.shape)
    return (np.round(value.clip(0, 1) * 255) / 255).astype(np.float32)


@pytest.mark.parametrize('gain', [0.3, 0.6, 1.8])
@pytest.mark.parametrize('gamma', [0.8, 1.25])
def test_finds_each_scene_under_another_exposure_and_no_other(gain, gamma):
    images = [luma(name) for name in NAMES]
    again = [exposed(moved(image, 4, -3), gain, gamma) for image in images]
    thumbs = [scenes.thumbnail(image) for image in [*images, *again]]
    count = len(NAMES)
    found = {(i, j) for i, j, _ in scenes.similar_pairs(thumbs, [0] * count + [1] * count, threshold=scenes.SAME_SCENE)}
    assert found == {(index, index + count) for index in range(count)}


def test_images_of_one_group_are_not_compared():
    thumb = scenes.thumbnail(luma('coffee'))
    assert not list(scenes.similar_pairs([thumb, thumb], [0, 0]))
    assert [pair[:2] for pair in scenes.similar_pairs([thumb, thumb], [0, 1])] == [(0, 1)]
    assert not list(scenes.similar_pairs([], []))


def test_many_images_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr(scenes, '_BLOCK', 3)
    images = [luma(name) for name in NAMES]
    thumbs = [scenes.thumbnail(image) for image in [*images, exposed(images[1], 0.5)]]
    assert [pair[:2] for pair in scenes.similar_pairs(thumbs, [0] * 5 + [1])] == [(1, 5)]


@pytest.mark.parametrize('level', [0, 128, 255])
def test_flat_images_are_like_nothing(level):
    flat = np.full((scenes.THUMBNAIL, scenes.THUMBNAIL), level, np.uint8)
    noisy = np.random.default_rng(0).normal(level, 2, flat.shape).clip(0, 255).astype(np.uint8)
    assert not list(scenes.similar_pairs([flat, flat, noisy, noisy[::-1]], [0, 1, 0, 1]))


@pytest.mark.parametrize('move', [(0, 0), (1, 0), (0, -2), (5, 3), (-20, 11)])
@pytest.mark.parametrize('name', NAMES)
def test_measures_a_shift_of_a_dark_noisy_image(name, move):
    gt = luma(name)
    dx, dy, response = scenes.shift(exposed(gt, 0.1, noise=0.006), moved(gt, *move))
    assert (dx, dy) == pytest.approx(move, abs=0.4)
    assert response > scenes.RELATED_RESPONSE


def test_measures_a_fraction_of_a_pixel():
    errors = []
    for name in NAMES:
        gt = luma(name)
        dx, dy, _ = scenes.shift(exposed(gt, 0.2, noise=0.003), moved(gt, 1.4, -0.7))
        errors.append(np.hypot(dx - 1.4, dy + 0.7))
    assert np.mean(errors) < 0.1


def test_different_images_have_no_shift():
    for a, b in zip(NAMES, NAMES[1:]):
        assert scenes.shift(exposed(luma(a), 0.2), luma(b))[2] < scenes.RELATED_RESPONSE


def test_tiny_images_are_not_followed():
    image = luma('coffee')[:1, :9]
    assert scenes.shift(image, image) == (0, 0, 0)


def test_large_images_are_measured_to_the_pixel():
    gt = cv2.resize(luma('coffee'), (3000, 2000), interpolation=cv2.INTER_CUBIC)
    texture = np.random.default_rng(0).normal(0, 0.2, (1000, 1500)).astype(np.float32)
    gt = (gt + cv2.resize(texture, (3000, 2000), interpolation=cv2.INTER_CUBIC)).clip(0.01, 1)
    for move in ((0, 0), (2, -1), (37, 12)):
        dx, dy, _ = scenes.shift(exposed(gt, 0.2), np.roll(gt, move[::-1], (0, 1)))
        assert (dx, dy) == pytest.approx(move, abs=0.3)
