import math

import pytest
import torch

from basicsr_entropy._levels import level_histogram
from basicsr_entropy.diffusion import Condition


@pytest.fixture
def images():
    """Images of three brightnesses, on the levels of 8-bit files."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 24, 32, generator=generator) ** 2 * torch.tensor([0.05, 0.3, 1]).view(3, 1, 1, 1)
    return (images * 255).round() / 255


def test_none_gives_the_image_itself(images):
    assert Condition()(images) is images


def test_gamma_is_one_curve_for_every_image(images):
    assert torch.equal(Condition(lift='gamma', gamma=0.5)(images), images.sqrt())


def test_auto_gives_every_image_the_mean_and_darkens_none(images):
    lifted = Condition(lift='auto', mean=0.3)(images)
    means = lifted.mean(dim=(1, 2, 3))
    assert means[1].item() == pytest.approx(0.3, abs=1e-4)
    assert torch.allclose(lifted[2], images[2])  # its mean is above 0.3
    # the curve of the first would have to be stronger than 0.2 to reach 0.4
    dark = Condition(lift='auto', mean=0.4)(images[:1] / 16)
    assert torch.allclose(dark, (images[:1] / 16) ** 0.2)


def test_auto_lifts_a_crop_as_its_whole_image_is_lifted(images):
    condition, window = Condition(lift='auto'), (..., slice(3, 11), slice(8, 20))
    crops = condition(images[window], level_histogram(images))
    torch.testing.assert_close(crops, condition(images)[window])
    assert not torch.allclose(crops, condition(images[window]))


def test_the_curve_of_an_image_does_not_depend_on_the_batch(images):
    condition = Condition(lift='auto')
    torch.testing.assert_close(condition(images)[1:2], condition(images[1:2]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'lift': 'log'}, 'lift: '),
        ({'gamma': 0}, 'gamma: must be a positive number'),
        ({'gamma': math.inf}, 'gamma: must be a positive number'),
        ({'mean': 1}, 'mean: must lie between'),
        ({'mean': '0.5'}, "mean: must lie between 0 and 1, exclusive, got '0.5'"),
    ],
    ids=str,
)
def test_refuses_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Condition(**options)
