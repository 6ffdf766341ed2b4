import numpy as np
import pytest
import torch
from PIL import Image

from basicsr_entropy.inference.images import image_to_tensor


def array(dtype, *shape):
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 1), (4, 6, 2), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_survive_a_round_trip(shape, dtype):
    image = array(dtype, *shape)
    rgb, convert_back = image_to_tensor(image)
    assert rgb.shape == (1, 3, 4, 6)
    assert rgb.dtype == torch.float32
    converted = convert_back(rgb)
    assert (converted.dtype, converted.shape) == (image.dtype, image.shape)
    tolerance = 1 if dtype == np.uint16 else 1e-6  # the sum of luma weights rounds
    np.testing.assert_allclose(converted.astype(float), image.astype(float), rtol=0, atol=tolerance)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'])
def test_pil_images_keep_their_mode_where_they_can(mode):
    image = Image.fromarray(array(np.uint16, 4, 6)) if mode == 'I;16' else Image.effect_noise((6, 4), 50).convert(mode)
    image.info['icc_profile'] = b'profile'
    rgb, convert_back = image_to_tensor(image)
    converted = convert_back(rgb)
    expected = {'1': 'L', 'P': 'RGB', 'CMYK': 'RGB'}.get(mode, mode)
    assert (converted.mode, converted.size) == (expected, image.size)
    assert converted.info['icc_profile'] == b'profile'
    assert np.array_equal(np.asarray(converted), np.asarray(image.convert(expected)))


@pytest.mark.parametrize(('mode', 'kept'), [('PA', 'RGBA'), ('RGBa', 'RGBA'), ('I;16B', 'I;16')])
def test_pil_images_of_other_modes_keep_alpha_and_depth(mode, kept):
    if mode == 'I;16B':
        pixels = array(np.uint16, 4, 6)
        image = Image.frombytes(mode, (6, 4), pixels.astype('>u2').tobytes())
    else:
        image = Image.fromarray(array(np.uint8, 4, 6, 4) | 0x80).convert('P' if mode == 'PA' else 'RGBA').convert(mode)
        pixels = np.asarray(image.convert(kept))
    rgb, convert_back = image_to_tensor(image)
    assert convert_back(rgb).mode == kept
    np.testing.assert_allclose(np.asarray(convert_back(rgb)).astype(int), pixels, rtol=0, atol=1)


def test_alpha_is_kept_and_gray_stays_gray():
    image = array(np.uint8, 4, 6, 4)
    rgb, convert_back = image_to_tensor(image)
    brighter = convert_back(rgb * 0 + 2)
    assert (brighter[..., :3] == 255).all()
    assert np.array_equal(brighter[..., 3], image[..., 3])
    palette = Image.fromarray(image[..., :3]).quantize(4)
    palette.info['transparency'] = 0
    assert image_to_tensor(palette).convert_back(rgb).mode == 'RGBA'
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    gray = image_to_tensor(array(np.uint8, 4, 6)).convert_back(red)
    assert (gray == round(0.299 * 255)).all()


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_tensors_survive_a_round_trip(channels, dtype):
    image = torch.rand(2, channels, 4, 6).to(dtype)
    rgb, convert_back = image_to_tensor(image)
    assert rgb.shape == (2, 3, 4, 6)
    converted = convert_back(rgb)
    assert converted.dtype == dtype
    torch.testing.assert_close(converted, image)


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        ('night.jpg', TypeError, 'an image must be a PIL image, a numpy array or a torch tensor, got str'),
        (np.zeros((4, 6, 3), np.int32), ValueError, 'uint8, uint16 or floats in .*, got int32'),
        (np.zeros((1, 4, 6, 3)), ValueError, r'an array must have the shape .* got \(1, 4, 6, 3\)'),
        (np.zeros((4, 6, 5)), ValueError, '1 to 4 channels'),
        (np.full((4, 6, 3), 255.0), ValueError, r'lie in \[0, 1\], got 255 to 255'),
        (np.full((4, 6, 3), np.nan), ValueError, r'lie in \[0, 1\], got nan'),
        (torch.zeros(3, 4, 6), ValueError, r'a tensor the shape \(N, C, H, W\)'),
        (torch.zeros(1, 3, 4, 6, dtype=torch.uint8), ValueError, 'a tensor must hold floats'),
        (Image.new('F', (6, 4)), ValueError, "mode 'F' has no defined range"),
    ],
)
def test_refuses_what_is_not_an_image(image, error, message):
    with pytest.raises(error, match=message):
        image_to_tensor(image)
