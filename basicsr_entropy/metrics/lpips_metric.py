"""LPIPS through the authors' own package."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image


def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    net: str = 'alex',
    trunk: str | None = None,
    device: str = 'cpu',
    **kwargs,
) -> float:
    """Learned perceptual distance (Zhang et al., CVPR 2018, version 0.1); lower is better.

    Needs the package lpips: `pip install basicsr-entropy[lpips]`. It carries the linear layers; the weights of the
    trunk are downloaded by torchvision, or read from `trunk`.

    Args:
        img: Output, range [0, 255], BGR, three channels.
        img2: Ground truth of the same shape.
        crop_border: Pixels of each edge left out.
        input_order: 'HWC' or 'CHW'.
        net: 'alex', 'vgg' or 'squeeze'.
        trunk: File with the state dict of torchvision's network (or of its `features` only).
        device: Where to compute.
        kwargs: Options that BasicSR hands every metric; set `better: lower` among them.

    Raises:
        ImportError: If lpips is not installed.
        FileNotFoundError: If the trunk file is missing.
        ValueError: If shapes or channels do not fit, or the trunk does not.
    """
    img, img2 = reorder_image(img, input_order), reorder_image(img2, input_order)
    if img.shape != img2.shape or img.shape[2] != 3:
        raise ValueError(f'LPIPS needs two images of one shape and three channels, got {img.shape} and {img2.shape}')
    if crop_border:
        img, img2 = (each[crop_border:-crop_border, crop_border:-crop_border] for each in (img, img2))

    def to_input(image: np.ndarray) -> torch.Tensor:
        rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1), dtype=np.float32)
        return torch.from_numpy(rgb).to(device)[None] / 127.5 - 1

    with torch.no_grad():
        return _network(net, trunk, device)(to_input(img), to_input(img2)).item()


@lru_cache(maxsize=1)
def _network(net: str, trunk: str | None, device: str) -> torch.nn.Module:
    try:
        import lpips
    except ImportError as error:
        raise ImportError('calculate_lpips needs the package lpips: pip install "basicsr-entropy[lpips]"') from error
    if net not in ('alex', 'vgg', 'squeeze'):
        raise ValueError(f"net must be alex, vgg or squeeze, got '{net}'")
    if trunk is None:
        return lpips.LPIPS(net=net, verbose=False).eval().to(device)
    path = Path(trunk).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'trunk of LPIPS: no file {path}')
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    weights = torch.load(path, map_location='cpu', weights_only=True)
    # lpips cuts torchvision's `features` into slices and keeps the layers' numbers
    for name, tensor in network.net.state_dict().items():
        key = f'features.{name.partition(".")[2]}'
        found = weights.get(key, weights.get(key.removeprefix('features.')))
        if found is None or found.shape != tensor.shape:
            raise ValueError(f'{path} is no trunk of the {net} network: {key} is missing or of another shape')
        tensor.copy_(found)
    return network.eval().to(device)
