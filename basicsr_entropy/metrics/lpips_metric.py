"""LPIPS, computed by its authors' package lpips."""

from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image

from basicsr_entropy._checks import check_choice

InputOrder = Literal['HWC', 'CHW']
Backbone = Literal['alex', 'vgg', 'squeeze']


def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: InputOrder = 'HWC',
    net: Backbone = 'alex',
    trunk: str | None = None,
    device: str = 'cpu',
    **kwargs: object,
) -> float:
    """Learned perceptual image patch similarity (LPIPS, Zhang et al., CVPR 2018, version 0.1); lower is better.

    Needs the package lpips: `pip install "basicsr-entropy[lpips]"`. The package contains the linear layers; the weights
    of the backbone are downloaded by torchvision, or read from `trunk`.

    Args:
        img: Output, shape (H, W, 3) or (3, H, W), BGR, range [0, 255].
        img2: Ground truth of the same shape and range.
        crop_border: Number of pixels cropped from each border.
        input_order: Order of the image dimensions: `HWC` or `CHW`.
        net: Backbone network: `alex`, `vgg` or `squeeze`.
        trunk: File with the state dict of torchvision's backbone network, or of its `features` only. Downloaded by
            torchvision by default.
        device: Torch device to compute on, such as `cpu` or `cuda`.
        **kwargs: Ignored; BasicSR passes all options of a metric.

    Returns:
        LPIPS distance, at least 0; 0 for identical images.

    Raises:
        ImportError: If lpips is not installed.
        OSError: If the trunk file is missing, or cannot be downloaded.
        ValueError: If an argument is unknown, the shapes differ, or the trunk does not fit the backbone; the message
            begins with the name of the argument.

    Example:
        >>> image = np.zeros((64, 64, 3))
        >>> calculate_lpips(image, image, trunk='alexnet_features.pth')  # doctest: +SKIP
        0.0
    """
    check_choice('input_order', input_order, get_args(InputOrder))
    check_choice('net', net, get_args(Backbone))
    img, img2 = reorder_image(img, input_order), reorder_image(img2, input_order)
    if img.shape != img2.shape or img.shape[2] != 3:
        raise ValueError(f'img: must have three channels and the shape of img2, {img2.shape}, got {img.shape}')
    if crop_border:
        img, img2 = (each[crop_border:-crop_border, crop_border:-crop_border] for each in (img, img2))

    def to_input(image: np.ndarray) -> torch.Tensor:
        rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1), dtype=np.float32)
        return torch.from_numpy(rgb).to(device)[None] / 127.5 - 1

    with torch.no_grad():
        return _network(net, trunk, device)(to_input(img), to_input(img2)).item()


def _prepare(net: Backbone = 'alex', trunk: str | None = None, device: str = 'cpu', **others: object) -> None:
    """Builds the network of the metric, which fails without its package or weights, and looks for its device."""
    check_choice('net', net, get_args(Backbone))
    if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
        raise ValueError('device: torch sees no CUDA device; use cpu')
    # kept on the CPU alone: a process of a distributed run chooses its GPU later
    (_network if device == 'cpu' else _network.__wrapped__)(net, trunk, 'cpu')


calculate_lpips.prepare = _prepare  # type: ignore[attr-defined]  # called before a run, which needs it much later


@lru_cache(maxsize=len(get_args(Backbone)))
def _network(net: Backbone, trunk: str | None, device: str) -> torch.nn.Module:
    try:
        import lpips
    except ImportError as error:
        raise ImportError('calculate_lpips needs the package lpips: pip install "basicsr-entropy[lpips]"') from error
    if trunk is None:
        try:
            return lpips.LPIPS(net=net, verbose=False).eval().to(device)
        except OSError as error:
            raise OSError(f'trunk: could not download the weights of {net} ({error}); give a file') from error
    path = Path(trunk).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'trunk: there is no file {path}')
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises various errors for files of other kinds
        raise ValueError(f'trunk: {path} is no file of PyTorch weights, or is damaged') from error
    # lpips splits torchvision's `features` into slices, in which layers keep their numbers
    for name, tensor in network.net.state_dict().items():
        key = f'features.{name.partition(".")[2]}'
        found = weights.get(key, weights.get(key.removeprefix('features.')))
        if found is None or found.shape != tensor.shape:
            raise ValueError(f'trunk: {path} does not fit the {net} backbone: {key} is missing or has another shape')
        tensor.copy_(found)
    return network.eval().to(device)
