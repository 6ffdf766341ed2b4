"""Conversion between images in memory, of any usual kind, and the RGB tensors that networks take."""

from collections.abc import Callable
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from typing_extensions import NamedTuple

from basicsr_entropy._color import LUMA

ImageKind = TypeVar('ImageKind', Image.Image, np.ndarray, torch.Tensor)

ARRAY_MODES = ('L', 'LA', 'RGB', 'RGBA', 'I;16', 'I;16B')  # PIL's modes that become arrays without conversion
RANGE_TOLERANCE = 1e-3  # by which resampled floats may leave [0, 1]


class ConvertedImage(NamedTuple, Generic[ImageKind]):
    """An image as a tensor, and the way back.

    Attributes:
        rgb: float32, shape (N, 3, H, W), range [0, 1].
        convert_back: From a tensor such as `rgb`, which it clamps to [0, 1], to an image of the original kind, with
            the original's alpha channel; gray (luma) if the original was gray.
    """

    rgb: torch.Tensor
    convert_back: Callable[[torch.Tensor], ImageKind]


def of_bgr(enhance: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of RGB images (H, W, 3), such as an `Enhancer`, as one of BGR images, as OpenCV has them."""
    return lambda image: cv2.cvtColor(enhance(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), cv2.COLOR_RGB2BGR)


def image_to_tensor(image: ImageKind) -> ConvertedImage[ImageKind]:
    """Converts an image to an RGB tensor; alpha is set aside and gray is repeated to three channels.

    Args:
        image: PIL image; array of shape (H, W) or (H, W, C), uint8, uint16 or float in [0, 1]; or float tensor of shape
            (N, C, H, W) in [0, 1]. C is 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA). PIL images of modes other
            than L, LA, RGB, RGBA and I;16 are converted back to the nearest of these.

    Returns:
        The tensor and the function that converts one like it back.

    Raises:
        TypeError: If `image` is none of these.
        ValueError: If its shape, data type or range is not one of these.

    Example:
        >>> import numpy as np
        >>> gray = np.array([[0, 51], [102, 255]], np.uint8)
        >>> rgb, convert_back = image_to_tensor(gray)
        >>> rgb.shape
        torch.Size([1, 3, 2, 2])
        >>> convert_back(rgb / 2 + 0.5)
        array([[128, 153],
               [178, 255]], dtype=uint8)
    """
    if isinstance(image, Image.Image):
        return _convert_pil(image)
    if isinstance(image, np.ndarray):
        return _convert_array(image)
    if isinstance(image, torch.Tensor):
        return _convert_tensor(image)
    raise TypeError(f'an image must be a PIL image, a numpy array or a torch tensor, got {type(image).__name__}')


def pil_to_array(image: Image.Image) -> np.ndarray:
    """Pixels of a PIL image, in the mode that keeps all of its channels and, for gray, its 16 bits.

    A transparent color becomes an alpha channel. PIL's 32-bit modes I and F have no defined range; PIL's conversion
    clips them to 8 bits.

    Args:
        image: Of any mode.

    Returns:
        uint8, or uint16 for 16-bit gray; shape (H, W) for gray, else (H, W, C): gray and alpha, RGB or RGBA.

    Example:
        >>> pil_to_array(Image.new('P', (4, 2))).shape
        (2, 4, 3)
    """
    transparent = 'transparency' in image.info or image.mode in ('PA', 'La', 'RGBa')
    if image.mode in ('1', 'L'):
        image = image.convert('LA' if transparent else 'L')
    elif image.mode not in ARRAY_MODES or (image.mode == 'RGB' and transparent):
        image = image.convert('RGBA' if transparent else 'RGB')
    pixels = np.asarray(image)
    return pixels.astype(pixels.dtype.newbyteorder('='), copy=False)


def _convert_pil(image: Image.Image) -> ConvertedImage[Image.Image]:
    if image.mode in ('I', 'F'):
        raise ValueError(f"a PIL image of mode '{image.mode}' has no defined range; pass an array in [0, 1] instead")
    rgb, to_array = _convert_array(pil_to_array(image))

    def convert_back(enhanced: torch.Tensor) -> Image.Image:
        converted = Image.fromarray(to_array(enhanced))
        converted.info = {key: value for key, value in image.info.items() if key != 'transparency'}
        return converted

    return ConvertedImage(rgb, convert_back)


def _convert_array(image: np.ndarray) -> ConvertedImage[np.ndarray]:
    if image.ndim not in (2, 3):
        raise ValueError(f'an array must have the shape (H, W) or (H, W, C), got {image.shape}')
    is_integer = np.issubdtype(image.dtype, np.integer)
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'an array must hold uint8, uint16 or floats in [0, 1], got {image.dtype}')
    scale = np.iinfo(image.dtype).max if is_integer else 1
    planes = (image[..., None] if image.ndim == 2 else image).transpose(2, 0, 1)[None]
    floats = torch.from_numpy(planes.astype(np.float32))
    rgb, to_tensor = _convert_tensor(floats.div_(scale) if is_integer else floats)

    def convert_back(enhanced: torch.Tensor) -> np.ndarray:
        values = to_tensor(enhanced)[0].permute(1, 2, 0).cpu()
        values = (values * scale).round() if is_integer else values
        return values.numpy().astype(image.dtype).reshape(image.shape)

    return ConvertedImage(rgb, convert_back)


def _convert_tensor(image: torch.Tensor) -> ConvertedImage[torch.Tensor]:
    if image.ndim != 4 or image.shape[1] not in (1, 2, 3, 4) or not image.numel():
        raise ValueError(
            f'an image must have 1 to 4 channels, and a tensor the shape (N, C, H, W), got {tuple(image.shape)}'
        )
    if not image.is_floating_point():
        raise ValueError(f'a tensor must hold floats in [0, 1], got {image.dtype}')
    low, high = image.min().item(), image.max().item()
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # also if NaN
        raise ValueError(f'floats of an image must lie in [0, 1], got {low:.4g} to {high:.4g}')
    channels = 1 if image.shape[1] < 3 else 3
    rgb, alpha = image[:, :channels].float(), image[:, channels:]

    def convert_back(enhanced: torch.Tensor) -> torch.Tensor:
        enhanced = enhanced.clamp(0, 1).to(image.device)
        if channels == 1:
            enhanced = torch.einsum('nchw,c->nhw', enhanced, enhanced.new_tensor(LUMA))[:, None]
        return torch.cat((enhanced.to(image.dtype), alpha), dim=1)

    return ConvertedImage(rgb.expand(-1, 3, -1, -1), convert_back)
