"""Compares models with gamma curves and CLAHE, on photographs that they were not trained on.

    python scripts/compare_enhancers.py --pairs datasets/LOLv1/our485 datasets/LOLv1/eval15 --dark night/ \\
        --models night_small my.safetensors --lpips-trunk alexnet.pth --out results/enhancers

Models are compared as `basicsr-entropy enhance` uses them, with its default controls. Pairs (folders with `low` and
`high`) give PSNR, SSIM, both after scaling to the mean of the ground truth, and LPIPS with --lpips-trunk; --niqe adds
NIQE. Photographs without a truth (--dark) give what a photographer would see go wrong: the share of pixels that clip,
how bright the darkest 40 % become, and how far hues turn. Well-lit photographs (--darken) are darkened as
`SyntheticLowLightDataset` does in validation, and give both. OUT/table.md holds the means, OUT/measured.json every
image, so that an interrupted run goes on. OUT/sheet.png shows the photographs of --dark and --darken, with the input on
the left, and the truth, where there is one, on the right.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import basicsr_entropy  # noqa: F401  (makes basicsr importable)

# isort: split
from basicsr.utils import tensor2img
from measure_images import measure
from rich.progress import track

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy._images import images_in
from basicsr_entropy.data.datasets import SyntheticLowLightDataset
from basicsr_entropy.inference import Controls, Enhancer, image_to_tensor
from basicsr_entropy.inference.images import of_bgr

GAMMAS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
CLIP_LIMITS = (2, 4, 8)
GT_MEAN = (0.4, 0.55)  # of the truth of darkened photographs, as in the recipe `night`
SHEET_WIDTH = 240  # of a picture in pixels

Method = Callable[[np.ndarray], np.ndarray]


def gamma(exponent: float, image: np.ndarray) -> np.ndarray:
    curve = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return cv2.LUT(image, curve)


def clahe(limit: float, image: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalization of the lightness (Zuiderveld, 1994), after gamma 0.5."""
    lab = cv2.cvtColor(gamma(0.5, image), cv2.COLOR_BGR2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (8, 8)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)


def methods(models: list[str], steps: list[int] | None) -> dict[str, Method]:
    """Functions of a BGR image of 8 bits, by name."""
    found: dict[str, Method] = {'input': lambda image: image}
    found |= {f'gamma {exponent}': partial(gamma, exponent) for exponent in GAMMAS}
    found |= {f'gamma 0.5 + CLAHE {limit}': partial(clahe, limit) for limit in CLIP_LIMITS}
    for model in models:
        name, enhancer = Path(model).stem, Enhancer.from_pretrained(model)
        if steps:
            found |= {f'{name}, steps {each}': enhanced_by(enhancer.changed(steps=each)) for each in steps}
        else:
            found[name] = enhanced_by(enhancer)
    return found


def enhanced_by(enhancer: Enhancer) -> Method:
    def enhance(image: np.ndarray) -> np.ndarray:
        rgb, convert_back = image_to_tensor(image)
        return convert_back(Controls()(rgb, enhancer(rgb)))

    return of_bgr(enhance)


class Photograph(NamedTuple):
    """A dark photograph, and its truth if it has one; BGR images of 8 bits."""

    name: str
    dark: np.ndarray
    truth: np.ndarray | None


def pairs_in(folder: Path) -> Iterator[Photograph]:
    for path in images_in(folder / 'low'):
        yield Photograph(path.name, cv2.imread(str(path)), cv2.imread(str(folder / 'high' / path.name)))


def dark_in(folder: Path) -> Iterator[Photograph]:
    for path in images_in(folder):
        yield Photograph(path.name, cv2.imread(str(path)), None)


def darkened_in(folder: Path, most: int) -> Iterator[Photograph]:
    dataset = SyntheticLowLightDataset({'phase': 'val', 'dataroot_gt': str(folder), 'gt_mean': list(GT_MEAN)})
    for index in range(min(most, len(dataset))):
        item = dataset[index]
        dark, truth = tensor2img([item['lq'], item['gt']])
        yield Photograph(Path(item['gt_path']).name, dark, truth)


def look(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """What goes wrong in a photograph without truth; BGR images of 8 bits."""
    gray = cv2.cvtColor(before, cv2.COLOR_BGR2GRAY)
    dark = gray <= np.quantile(gray, 0.4)
    hues = [cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2HSV) for image in (before, after)]
    colorful = (hues[0][..., 1] > 0.3) & (hues[0][..., 2] > 0.1)
    turned = np.abs(hues[0][..., 0] - hues[1][..., 0])[colorful]
    return {
        'clipped %': 100 * float((after.max(axis=2) >= 254).mean()),
        'darkest 40 %': float(after.mean(axis=2)[dark].mean()),
        'hue degrees': float(np.minimum(turned, 360 - turned).mean()) if turned.size else 0.0,
    }


def table(measured: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Means over the images of one set, a line for each method."""
    columns = list(next(iter(next(iter(measured.values())).values())))
    lines = [f'| | {" | ".join(columns)} |', '|---' * (len(columns) + 1) + '|']
    for name, images in measured.items():
        means = (np.mean([values[column] for values in images.values()]) for column in columns)
        lines.append(f'| {name} | {" | ".join(f"{mean:.3f}" for mean in means)} |')
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', nargs='*', default=[], help='folders with `low` and `high`')
    parser.add_argument('--dark', help='folder of dark photographs without truth')
    parser.add_argument('--darken', help='folder of well-lit photographs, to be darkened')
    parser.add_argument('--most', type=int, default=12, help='photographs of --darken at most (12)')
    parser.add_argument('--models', nargs='+', default=['night_small'], help='model files or bundled models')
    parser.add_argument(
        '--steps', type=int, nargs='+', help='numbers of sampling steps of the models; their own by default'
    )
    parser.add_argument('--only', nargs='+', help='methods to run; all by default')
    parser.add_argument('--lpips-trunk', metavar='FILE', help="weights of torchvision's AlexNet; adds LPIPS")
    parser.add_argument('--niqe', action='store_true', help='add NIQE')
    parser.add_argument('--out', default='results/enhancers', help='output folder')
    args = parser.parse_args()

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    store = out / 'measured.json'
    measured = json.loads(store.read_text()) if store.is_file() else {}
    found = methods(args.models, args.steps)
    chosen = {name: each for name, each in found.items() if not args.only or name in args.only}
    sets = {Path(folder).name: pairs_in(Path(folder)) for folder in args.pairs}
    if args.dark:
        sets['dark'] = dark_in(Path(args.dark))
    if args.darken:
        sets['darkened'] = darkened_in(Path(args.darken), args.most)
    rows: list[np.ndarray] = []
    for title, photographs in sets.items():
        shown = title in ('dark', 'darkened')
        for name, dark, truth in track(photographs, description=title):
            pictures = []
            for label, method in chosen.items():
                values = measured.setdefault(title, {}).setdefault(label, {})
                if shown or name not in values:
                    after = method(dark)
                    pictures.append(after)
                    values[name] = {} if truth is None else measure(after, truth, args, {})
                    values[name] |= look(dark, after) if shown else {}
            if shown:
                pictures += [] if truth is None else [truth]
                size = (SHEET_WIDTH, round(dark.shape[0] * SHEET_WIDTH / dark.shape[1]))
                rows.append(np.hstack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in pictures]))
            atomic_write_text(store, json.dumps(measured))
    if rows:
        width = max(row.shape[1] for row in rows)
        rows = [cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT) for row in rows]
        cv2.imwrite(str(out / 'sheet.png'), np.vstack(rows))
    text = '\n\n'.join('\n'.join([f'{title}: {len(next(iter(each.values())))} images', '', *table(each)])
                       for title, each in measured.items())  # fmt: skip
    atomic_write_text(out / 'table.md', f'{text}\n')
    print(text)


if __name__ == '__main__':
    main()
