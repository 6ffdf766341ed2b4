"""Measures enhanced images against their ground truth, image by image.

    basicsr-entropy test -opt my.yml --force_yml val:suffix=out
    python scripts/measure_images.py --images results/my/visualization --truths datasets/LOLv1/eval15/high \\
        --out metrics.json

Metrics, in the order of the JSON file: PSNR, SSIM, both after scaling to the mean of the ground truth, LPIPS plain and
after that scaling (with --lpips-trunk), NIQE (with --niqe), the spatial-entropy distance
(Hellinger, 32 levels, luma, plain and aligned), and the detail ratio: the standard deviation of the image less its
Gaussian blur, as a ratio to that of the ground truth. Images are NAME_out.png for the ground truth NAME.png.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

import basicsr_entropy  # noqa: F401  (makes basicsr importable)

# isort: split
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
from basicsr.utils import img2tensor
from rich.progress import track

from basicsr_entropy.losses import SpatialEntropyLoss
from basicsr_entropy.metrics import calculate_lpips
from basicsr_entropy.metrics.gt_mean_metric import scale_to_gt_mean

SIGMA = 4.0  # of the blur that separates detail from brightness, in pixels


def detail(image: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2GRAY)
    return gray - cv2.GaussianBlur(gray, (0, 0), SIGMA)


def measure(
    image: np.ndarray,
    truth: np.ndarray,
    args: argparse.Namespace,
    distances: dict[str, SpatialEntropyLoss],
    known: dict[str, float] | None = None,
) -> dict[str, float]:
    """All metrics of one image; BGR arrays of 8 bits. Those that are known are not measured again."""
    scaled = scale_to_gt_mean(image, truth)
    metrics: dict[str, Callable[[], float]] = {
        'psnr': lambda: calculate_psnr(image, truth, crop_border=0),
        'ssim': lambda: calculate_ssim(image, truth, crop_border=0),
        'psnr_gt_mean': lambda: calculate_psnr(scaled, truth, crop_border=0),
        'ssim_gt_mean': lambda: calculate_ssim(scaled, truth, crop_border=0),
    }
    if args.lpips_trunk:
        metrics['lpips'] = lambda: calculate_lpips(image, truth, trunk=args.lpips_trunk)
        metrics['lpips_gt_mean'] = lambda: calculate_lpips(np.round(scaled), truth, trunk=args.lpips_trunk)
    if args.niqe:
        metrics['niqe'] = lambda: calculate_niqe(image, crop_border=0)
    pred, target = (tensor[None] for tensor in img2tensor([each.astype(np.float32) / 255 for each in (image, truth)]))
    metrics |= {name: partial(distance, pred, target) for name, distance in distances.items()}
    metrics['detail'] = lambda: detail(image).std() / detail(truth).std()
    with torch.inference_mode():
        return {
            name: known[name] if known and name in known else round(float(metric()), 5)
            for name, metric in metrics.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', required=True, help='folder of NAME_out.png, searched with its subfolders')
    parser.add_argument('--truths', required=True, help='folder of the ground truths, PNG files')
    parser.add_argument('--out', required=True, help='JSON file to write')
    parser.add_argument('--lpips-trunk', metavar='FILE', help="weights of torchvision's AlexNet; adds LPIPS")
    parser.add_argument('--niqe', action='store_true', help='add NIQE')
    args = parser.parse_args()
    settings = {'levels': 32, 'unit_mass': True, 'neighbor': 'uniform', 'gray': True}
    distances = {
        'entropy': SpatialEntropyLoss(**settings),
        'entropy_aligned': SpatialEntropyLoss(**settings, align='local', align_sigma=SIGMA),
    }
    found = {path.stem.removesuffix('_out'): path for path in sorted(Path(args.images).rglob('*_out.png'))}
    if not found:
        parser.error(f'--images: no NAME_out.png in {args.images}; the suffix is that of val.suffix: out')
    out = Path(args.out)
    measured = json.loads(out.read_text()) if out.is_file() else {}
    for name, path in track(found.items(), description=out.stem):
        truth = cv2.imread(str(Path(args.truths) / f'{name}.png'))
        measured[name] = measure(cv2.imread(str(path)), truth, args, distances, measured.get(name))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(measured, indent=1))


if __name__ == '__main__':
    main()
