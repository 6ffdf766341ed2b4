"""Images of every kind as tensors of one kind, and back."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from basicsr_entropy._color import LUMA

Picture = Image.Image | np.ndarray | torch.Tensor

PLAIN_MODES = ('L', 'LA', 'RGB', 'RGBA', 'I;16', 'I;16B')  # of PIL, which arrays hold as they are
SLACK = 1e-3  # by which resampled floats may leave 0..1


class Unpacked(NamedTuple):
    """Colours to enhance, float32 RGB of shape (N, 3, H, W), range [0, 1], and the way back from their like."""

    rgb: torch.Tensor
    pack: Callable[[torch.Tensor], Picture]


def unpack(image: Picture) -> Unpacked:
    """Takes an image apart; `pack` makes one of the same kind, with the alpha of this one, gray where it was gray.

    Args:
        image: PIL image; or array (H, W) or (H, W, C), uint8, uint16 or float in [0, 1]; or float tensor (N, C, H, W)
            in [0, 1]. C is 1 (gray), 2 (with alpha), 3 (RGB) or 4. PIL images of other modes come back as RGB or RGBA.

    Raises:
        TypeError: If it is none of these.
        ValueError: If its shape or its range is another.
    """
    if isinstance(image, Image.Image):
        return _unpack_pil(image)
    if isinstance(image, np.ndarray):
        return _unpack_array(image)
    if isinstance(image, torch.Tensor):
        return _unpack_tensor(image)
    raise TypeError(f'an image is a PIL image, a numpy array or a torch tensor, got {type(image).__name__}')


def plain_pixels(image: Image.Image) -> np.ndarray:
    """Pixels of a PIL image, uint8, or uint16 of 16-bit gray: (H, W) for gray, else (H, W, C): with alpha, RGB or RGBA.

    A colour that is transparent becomes alpha. Images of 32 bits have no range; here they are cut to 8.
    """
    clear = 'transparency' in image.info or image.mode in ('PA', 'La', 'RGBa')
    if image.mode in ('1', 'L'):
        image = image.convert('LA' if clear else 'L')
    elif image.mode not in PLAIN_MODES or (image.mode == 'RGB' and clear):
        image = image.convert('RGBA' if clear else 'RGB')
    pixels = np.asarray(image)
    return pixels.astype(pixels.dtype.newbyteorder('='), copy=False)


def _unpack_pil(image: Image.Image) -> Unpacked:
    if image.mode in ('I', 'F'):
        raise ValueError(f"a PIL image of mode '{image.mode}' has no range; give an array in [0, 1] instead")
    rgb, pack = _unpack_array(plain_pixels(image))

    def pack_pil(enhanced: torch.Tensor) -> Image.Image:
        packed = Image.fromarray(pack(enhanced))
        packed.info = {key: value for key, value in image.info.items() if key != 'transparency'}
        return packed

    return Unpacked(rgb, pack_pil)


def _unpack_array(image: np.ndarray) -> Unpacked:
    if image.ndim not in (2, 3):
        raise ValueError(f'an array is (H, W) or (H, W, C), got the shape {image.shape}')
    whole = np.issubdtype(image.dtype, np.integer)
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'an array holds uint8, uint16 or floats in [0, 1], got {image.dtype}')
    scale = np.iinfo(image.dtype).max if whole else 1
    planes = (image[..., None] if image.ndim == 2 else image).transpose(2, 0, 1)[None]
    floats = torch.from_numpy(planes.astype(np.float32))
    rgb, pack = _unpack_tensor(floats.div_(scale) if whole else floats)

    def pack_array(enhanced: torch.Tensor) -> np.ndarray:
        values = pack(enhanced)[0].permute(1, 2, 0).cpu()
        values = (values * scale).round() if whole else values
        return values.numpy().astype(image.dtype).reshape(image.shape)

    return Unpacked(rgb, pack_array)


def _unpack_tensor(image: torch.Tensor) -> Unpacked:
    if image.ndim != 4 or image.shape[1] not in (1, 2, 3, 4) or not image.numel():
        raise ValueError(f'an image has 1 to 4 channels and a tensor is (N, C, H, W), got the shape {image.shape}')
    if not image.is_floating_point():
        raise ValueError(f'a tensor holds floats in [0, 1], got {image.dtype}')
    low, high = image.min().item(), image.max().item()
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise ValueError(f'floats of an image lie in [0, 1], got {low:.4g} to {high:.4g}')
    colours = 1 if image.shape[1] < 3 else 3
    rgb, alpha = image[:, :colours].float(), image[:, colours:]

    def pack(enhanced: torch.Tensor) -> torch.Tensor:
        enhanced = enhanced.clamp(0, 1).to(image.device)
        if colours == 1:
            enhanced = torch.einsum('nchw,c->nhw', enhanced, enhanced.new_tensor(LUMA))[:, None]
        return torch.cat((enhanced.to(image.dtype), alpha), dim=1)

    return Unpacked(rgb.expand(-1, 3, -1, -1), pack)
