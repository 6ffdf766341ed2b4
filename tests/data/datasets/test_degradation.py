import numpy as np
import pytest
from helpers import photograph

from basicsr_entropy.data.datasets import LowLightDegradation

PLAIN = {
    'exposure': (0, 0),
    'local_exposure': (0, 0),
    'shadows': (0, 0),
    'vignette': (0, 0),
    'light_sources': (0, 0),
    'warmth': (0, 0),
    'white_balance': (1, 1),
    'full_well': (1e9, 1e9),
    'read_noise': (0, 0),
    'row_noise': (0, 0),
    'noise_blur': (0, 0),
    'contrast': (1, 1),
    'denoise_blur': (0, 0),
    'bits': 16,
    'jpeg_quality': None,
}


def darkened(image, seed=0, **options):
    return LowLightDegradation(**{**PLAIN, **options})(image, np.random.default_rng(seed))


def flat(value, size=64):
    return np.full((size, size, 3), value, np.float32)


def test_nothing_happens_where_every_part_is_off():
    image = photograph(0)
    np.testing.assert_allclose(darkened(image), image / np.float32(255), atol=2e-4)


@pytest.mark.parametrize('stops', [2, 5])
def test_darkens_by_the_stops_asked_for(stops):
    assert darkened(flat(0.8), exposure=(stops, stops)).mean() == pytest.approx(0.8 * 2 ** (-stops / 2.2), rel=1e-3)


def test_noise_has_the_variance_of_counted_photons_and_readout():
    dark = darkened(flat(0.5, 200), gamma=1, exposure=(2, 2), full_well=(1000, 1000), read_noise=(0.005, 0.005))
    assert dark.var() == pytest.approx(0.125 / 1000 + 0.005**2, rel=0.03)


def test_row_noise_is_the_same_along_a_row():
    dark = darkened(flat(0.5), gamma=1, row_noise=(0.01, 0.01))
    assert np.abs(dark - dark[:, :1, :1]).max() < 1e-3
    assert dark[:, 0, 0].std() == pytest.approx(0.01, rel=0.3)


def test_blurred_noise_is_correlated_between_neighbors():
    noise = darkened(flat(0.5), gamma=1, read_noise=(0.01, 0.01), noise_blur=(0.7, 0.7))[..., 0] - 0.5
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.3


def test_quantises_and_stays_in_range():
    dark = darkened(photograph(1), exposure=(3, 3), bits=4)
    assert dark.dtype == np.float32
    assert 0 <= dark.min() <= dark.max() <= 1
    np.testing.assert_allclose(dark * 15, np.round(dark * 15), atol=1e-5)


def test_color_of_the_light_leaves_green_alone():
    blue, green, red = darkened(flat(0.4), gamma=1, warmth=(1, 1)).mean(axis=(0, 1))
    assert (blue, green, red) == pytest.approx((0.2, 0.4, 0.8), rel=1e-3)
    blue, green, red = darkened(flat(0.8), gamma=1, white_balance=(0.5, 0.5)).mean(axis=(0, 1))
    assert (blue, green, red) == pytest.approx((0.4, 0.8, 0.4), rel=1e-3)


def test_the_illumination_is_uneven_and_smooth():
    dark = darkened(flat(0.8), gamma=1, local_exposure=(2, 2))[..., 0]
    stops = np.log2(0.8 / dark)
    assert stops.min() == pytest.approx(0, abs=0.05)
    assert stops.max() == pytest.approx(2, abs=0.05)
    assert np.abs(np.diff(stops, axis=0)).max() < 0.2


def test_shadows_the_vignette_and_lamps_change_what_they_should():
    image = flat(0.9)
    image[:, :32] = 0.2
    stops = np.log2(image / darkened(image, gamma=1, shadows=(2, 2)))[..., 0]
    assert stops[:, :8].mean() > 0.8
    assert stops[:, -8:].mean() < 0.2
    corner = darkened(flat(0.8), gamma=1, vignette=(1, 1))[..., 0]
    assert corner[0, 0] == pytest.approx(0.4, rel=0.05)
    assert corner[32, 32] == pytest.approx(0.8, rel=0.01)
    lamps = darkened(flat(0.8), gamma=1, exposure=(4, 4), light_sources=(2, 2))
    assert lamps.max() > 0.05 * 1.3
    assert lamps.min() >= 0.05 * 0.99


def test_a_contrasty_tone_curve_closes_shadows():
    assert darkened(flat(0.25), contrast=(2, 2)).mean() == pytest.approx(0.0625, rel=0.01)


def test_jpeg_leaves_its_traces():
    image = photograph(2)
    plain, compressed = (darkened(image, bits=8, jpeg_quality=quality) for quality in (None, (30, 30)))
    assert 0.002 < np.abs(plain - compressed).mean() < 0.05


def test_a_part_is_rendered_like_a_part_of_the_whole():
    image = photograph(0)
    scene = LowLightDegradation(**{**PLAIN, 'exposure': (2, 2), 'local_exposure': (2, 2), 'vignette': (1, 1)}).scene(
        image, np.random.default_rng(0)
    )
    whole = scene.render(image, np.random.default_rng(1))
    part = scene.render(image, np.random.default_rng(1), slice(5, 25), slice(8, 40, 2))
    np.testing.assert_allclose(part, whole[5:25, 8:40:2], atol=1e-3)


def test_the_same_state_gives_the_same_image():
    image, camera = photograph(0), LowLightDegradation()
    first, again, other = (camera(image, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
