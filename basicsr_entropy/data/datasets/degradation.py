"""Synthetic low-light degradation: turns a well-lit photograph into one of the same scene in the dark."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from basicsr_entropy._checks import check_positive, is_integer
from basicsr_entropy._images import to_float

Range = Sequence[float]  # (lowest, highest) of a uniform distribution

LIGHT_MAP_SIZE = 96  # longest side of the map of the light, in pixels: light varies smoothly

# least value of the ends of each range
_LEAST = {
    'exposure': 0,
    'local_exposure': 0,
    'shadows': 0,
    'vignette': 0,
    'light_sources': 0,
    'warmth': -8,
    'white_balance': 0,
    'full_well': 1,
    'read_noise': 0,
    'row_noise': 0,
    'noise_blur': 0,
    'contrast': 0.1,
    'denoise_blur': 0,
    'jpeg_quality': 1,
}


@dataclass(frozen=True)
class LowLightDegradation:
    """Simulates a photograph of the same scene that was taken in far less light.

    The image is linearized. Its light is reduced as a whole and unevenly over the image, tinted, given the noise of a
    sensor, and encoded as a camera does: a tone curve, denoising, quantization and JPEG. Values of each range are drawn
    uniformly, once for an image. The light of an image depends on the whole of it, so that crops of a dark photograph
    look like crops, and not like photographs that were each exposed on their own.

    Attributes:
        gamma: Exponent of the gamma encoding; linear light is value ** gamma.
        exposure: Range of the darkening in stops; each stop halves the light.
        local_exposure: Range of the additional darkening, in stops, where an uneven illumination is lowest. The
            illumination is smooth, except at edges of the image (guided filter, He et al., ECCV 2010).
        shadows: Range of the additional darkening of black areas, in stops; it falls with the square of the brightness.
        vignette: Range of the additional darkening of the corners, in stops.
        light_sources: Range of the number of lamps, each of which gives back 0.5 to 1.5 stops round it.
        warmth: Range of the color of the light in stops: the red channel is that much brighter, the blue one darker.
            Tungsten lamps are about 0.5, shade and moonlight about -0.3, once a camera has balanced part of it.
        white_balance: Range of further gains of the red and the blue channel, drawn apart.
        full_well: Range of the number of photons at value 1; fewer photons mean more noise.
        read_noise: Range of the standard deviation of the read noise, in linear light, as a fraction of full scale.
        row_noise: Range of the standard deviation of the noise that a row shares, in the same unit.
        noise_blur: Range of the standard deviation in pixels of a Gaussian blur of the noise, from demosaicing.
        contrast: Range of the exponent of the camera's tone curve, on encoded values; above 1 it closes shadows.
        denoise_blur: Range of the standard deviation in pixels of a Gaussian blur, from the camera's denoising.
        bits: Bits per channel of the result, 1 to 16.
        jpeg_quality: Range of the quality of JPEG compression, 1 to 100; None for none. JPEG has 8 bits.

    Shot and read noise follow Foi et al., *Practical Poissonian-Gaussian noise modeling*, IEEE TIP 2008, row noise Wei
    et al., *A physics-based noise formation model for extreme low-light raw denoising*, CVPR 2020.

    Raises:
        ValueError: If a range is not (lowest, highest), or a value is outside its domain.
    """

    gamma: float = 2.2
    exposure: Range = (1.0, 5.0)
    local_exposure: Range = (0.0, 2.0)
    shadows: Range = (0.0, 1.5)
    vignette: Range = (0.0, 0.7)
    light_sources: Range = (0, 2)
    warmth: Range = (-0.2, 0.25)
    white_balance: Range = (0.95, 1.05)
    full_well: Range = (1000.0, 10000.0)
    read_noise: Range = (0.0002, 0.0015)
    row_noise: Range = (0.0, 0.0002)
    noise_blur: Range = (0.0, 0.7)
    contrast: Range = (1.0, 2.2)
    denoise_blur: Range = (0.0, 0.7)
    bits: int = 8
    jpeg_quality: Range | None = (75, 100)

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name)
            if least is None or (value is None and field.name == 'jpeg_quality'):
                continue
            if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
                raise ValueError(f'{field.name}: must be a list of two numbers, lowest and highest, got {value!r}')
            if not least <= value[0] <= value[1]:
                raise ValueError(
                    f'{field.name}: must be two numbers of at least {least}, the lower first, got {value!r}'
                )
        if self.jpeg_quality is not None and self.jpeg_quality[1] > 100:
            raise ValueError(f'jpeg_quality: must be at most 100, got {self.jpeg_quality!r}')
        check_positive('gamma', self.gamma)
        if not is_integer(self.bits, 1) or self.bits > 16:
            raise ValueError(f'bits: must be an integer from 1 to 16, got {self.bits!r}')

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrades an image.

        Args:
            image: BGR image (H, W, 3), unsigned integers, or floats in the range [0, 1].
            rng: Random generator; the same state gives the same result.

        Returns:
            Degraded image, float32, the same shape, range [0, 1].
        """
        return self.scene(image, rng).render(image, rng)

    def scene(self, image: np.ndarray, rng: np.random.Generator) -> 'DarkScene':
        """Draws the light and the camera of an image.

        Args:
            image: The whole image, BGR, (H, W, 3), unsigned integers, or floats in the range [0, 1].
            rng: Random generator.

        Returns:
            What renders the dark image, or a part of it.
        """
        drawn = {name: _draw(rng, ends) for name in _LEAST if (ends := getattr(self, name)) is not None}
        drawn |= {name: _draw(rng, self.white_balance) for name in ('red_gain', 'blue_gain')}
        return DarkScene(self, drawn, self._light(image, drawn, rng))

    def _light(self, image: np.ndarray, drawn: dict[str, float], rng: np.random.Generator) -> np.ndarray:
        """The exposure over the image in stops, at most LIGHT_MAP_SIZE pixels long."""
        scale = LIGHT_MAP_SIZE / max(*image.shape[:2], LIGHT_MAP_SIZE)
        height, width = (max(2, round(side * scale)) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        luma = to_float(small).mean(axis=2)

        field = cv2.resize(rng.random((4, 4), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        field = guided_filter(field, luma)
        field = (field - field.min()) / max(float(np.ptp(field)), 1e-6)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        from_center = np.hypot((y / (height - 1) - 0.5), (x / (width - 1) - 0.5)) * np.sqrt(2)
        darkening = (
            drawn['exposure']
            + drawn['local_exposure'] * field
            + drawn['shadows'] * (1 - guided_filter(luma, luma).clip(0, 1)) ** 2
            + drawn['vignette'] * from_center**2
        )
        for _ in range(round(drawn['light_sources'])):
            center_y, center_x, spread = rng.random() * height, rng.random() * width, rng.uniform(0.1, 0.4)
            distance = ((y - center_y) ** 2 + (x - center_x) ** 2) / (spread * max(height, width)) ** 2
            darkening -= rng.uniform(0.5, 1.5) * np.exp(-distance / 2)
        return -darkening.astype(np.float32)


@dataclass(frozen=True)
class DarkScene:
    """The light and the camera that were drawn for one image.

    Attributes:
        degradation: Where they were drawn from.
        drawn: Drawn value of each range.
        light: Exposure over the image in stops, a small map (h, w).
    """

    degradation: LowLightDegradation
    drawn: dict[str, float]
    light: np.ndarray

    def render(
        self,
        image: np.ndarray,
        rng: np.random.Generator,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> np.ndarray:
        """Renders the dark image, or a part of it.

        Args:
            image: The whole image, as it was given to `LowLightDegradation.scene`.
            rng: Random generator of the noise.
            rows, columns: The part.

        Returns:
            The part (h, w, 3) of the dark image, float32, range [0, 1].
        """
        drawn, options = self.drawn, self.degradation
        part = to_float(image[rows, columns])
        y, x = (
            ((np.arange(full)[some] + 0.5) * size / full - 0.5).clip(0, size - 1).astype(np.float32)
            for full, some, size in zip(image.shape, (rows, columns), self.light.shape)
        )
        grid_x, grid_y = np.meshgrid(x, y)
        stops = cv2.remap(self.light, grid_x, grid_y, cv2.INTER_LINEAR)
        warm = np.exp2([-drawn['warmth'], 0, drawn['warmth']])
        gains = (warm * [drawn['blue_gain'], 1, drawn['red_gain']]).astype(np.float32)
        light = part ** np.float32(options.gamma) * (np.exp2(stops)[..., None] * gains)

        noise = rng.poisson(light * drawn['full_well']).astype(np.float32) / np.float32(drawn['full_well']) - light
        noise += np.float32(drawn['read_noise']) * rng.standard_normal(light.shape, np.float32)
        noise += np.float32(drawn['row_noise']) * rng.standard_normal((len(part), 1, 1), np.float32)
        value = (light + _blur(noise, drawn['noise_blur'])).clip(0, 1) ** np.float32(1 / options.gamma)
        value = _blur(value ** np.float32(drawn['contrast']), drawn['denoise_blur'])
        steps = np.float32(2**options.bits - 1)
        value = np.round(value * steps) / steps
        if options.jpeg_quality is not None:
            quality = [cv2.IMWRITE_JPEG_QUALITY, round(drawn['jpeg_quality'])]
            encoded = cv2.imencode('.jpg', np.round(value * 255).astype(np.uint8), quality)[1]
            value = to_float(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)))
        return value


def guided_filter(image: np.ndarray, guide: np.ndarray, radius: int = 6, eps: float = 0.01) -> np.ndarray:
    """Smooths an image except at the edges of a guide (He et al., *Guided image filtering*, ECCV 2010).

    Args:
        image, guide: Gray images (H, W), float32.
        radius: Radius of the box filter in pixels.
        eps: Variance of the guide below which an area counts as flat.

    Returns:
        Filtered image, the same shape.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + eps)
    return mean(slope) * guide + mean(mean_image - slope * mean_guide)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return image if sigma < 0.2 else cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def _draw(rng: np.random.Generator, ends: Range) -> float:
    lowest, highest = ends
    return rng.uniform(lowest, highest)
