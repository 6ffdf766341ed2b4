import pytest
import torch

from basicsr_entropy.inference.controls import Controls


@pytest.fixture
def image():
    return torch.rand(2, 3, 8, 8) ** 3


def test_without_protection_gives_the_result_within_its_range(image):
    enhanced = 1.4 * torch.rand_like(image) - 0.2
    assert torch.equal(Controls(protect_highlights=0)(image, enhanced), enhanced.clamp(0, 1))


def test_defaults_clip_nothing_that_the_input_does_not(image):
    result = Controls()(image, torch.full_like(image, 1.2))
    assert (result < 1).all()
    assert Controls()(torch.ones_like(image), torch.ones_like(image)).eq(1).all()


def test_strength_leads_from_the_input_to_the_result(image):
    enhanced = torch.rand_like(image)
    everything = {'exposure': 1.5, 'protect_highlights': 0.7}
    assert torch.equal(Controls(strength=0, **everything)(image, enhanced), image)
    half, whole = Controls(0.5, **everything)(image, enhanced), Controls(**everything)(image, enhanced)
    torch.testing.assert_close(half, (image + whole) / 2)


@pytest.mark.parametrize('stops', [-2, -0.5, 1, 2])
def test_exposure_is_in_stops_of_linear_light(image, stops):
    enhanced = 0.1 + 0.3 * torch.rand_like(image)  # outside the linear part of the transfer function, as `compared`
    linear = ((Controls(exposure=stops, protect_highlights=0)(image, enhanced) + 0.055) / 1.055) ** 2.4
    expected = ((enhanced + 0.055) / 1.055) ** 2.4 * 2**stops
    compared = expected > 0.0032
    assert compared.sum() > 100
    torch.testing.assert_close(linear[compared], expected[compared], rtol=1e-4, atol=1e-5)
    assert Controls(exposure=5, protect_highlights=0)(image, torch.ones_like(image)).max() == 1


@pytest.mark.parametrize('mean', [0.2, 0.45, 0.7])
def test_brightness_is_the_mean_of_each_image(image, mean):
    enhanced = torch.stack((torch.rand_like(image[0]), 0.2 + 0.5 * image[1]))
    controls = Controls(brightness=mean, protect_highlights=0)
    bright = controls(image, enhanced)
    torch.testing.assert_close(bright.mean(dim=(1, 2, 3)), torch.full((2,), mean), atol=1e-3, rtol=0)
    alone = [controls(image[i : i + 1], enhanced[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(bright, torch.cat(alone))


def test_exposure_counts_from_the_brightness(image):
    enhanced = 0.2 + 0.3 * image
    stops = Controls(brightness=0.3).stops(enhanced)
    torch.testing.assert_close(Controls(brightness=0.3, exposure=0.7).stops(enhanced), stops + 0.7)
    torch.testing.assert_close(Controls(exposure=0.7).stops(enhanced), torch.full((2,), 0.7))


def test_a_brightness_out_of_reach_is_approached_and_black_stays_black(image):
    black = torch.zeros_like(image)
    assert torch.equal(Controls(brightness=0.5)(image, black), black)
    dim = torch.full_like(image, 0.01)
    torch.testing.assert_close(Controls(brightness=1)(image, dim), Controls(exposure=5)(image, dim), atol=1e-3, rtol=0)


def test_protected_highlights_keep_the_tones_of_the_input():
    image = torch.linspace(0, 1, 256).expand(1, 3, 1, -1)
    clipped = torch.ones_like(image)
    protected = Controls(protect_highlights=1)(image, clipped)
    assert (protected.diff() > 0).all()  # a flat patch has the input's tones again
    assert (protected[..., :-1] < 1).all()
    assert protected[0, 0, 0, -1] == 1  # what was clipped in the input
    torch.testing.assert_close(Controls(protect_highlights=0.5)(image, clipped), (protected + clipped) / 2)


def test_protection_keeps_the_order_of_values_and_dark_tones():
    enhanced = torch.linspace(0, 1, 256).expand(1, 3, 1, -1)
    for value in (0.0, 0.3, 1.0):
        protected = Controls(protect_highlights=1)(torch.full_like(enhanced, value), enhanced)
        assert (protected.diff() >= 0).all()
        assert torch.equal(protected[..., :128], enhanced[..., :128])
        assert (protected <= enhanced).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'strength': 1.1}, r'^strength: must be a number from 0 to 1, got 1.1'),
        ({'strength': True}, r'^strength: must be a number from 0 to 1, got True'),
        ({'exposure': float('nan')}, r'^exposure: must be a number from -5 to 5, got nan'),
        ({'brightness': 45}, r'^brightness: must be a number from 0 to 1, got 45'),
        ({'protect_highlights': -0.1}, r'^protect_highlights: must be a number from 0 to 1, got -0.1'),
    ],
    ids=str,
)
def test_refuses_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Controls(**arguments)
