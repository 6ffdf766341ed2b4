"""Draws what two models make of a dark photograph, and where each differs from the truth: a figure of docs/method.md.

    python scripts/explain_outputs.py --models L1=l1.safetensors 'L1 + entropy=entropy.safetensors' --out outputs.jpg

Rows: a photograph that comes with scikit-image, darkened; crops at three times their size; maps of the spatial-entropy
distance (aligned, Hellinger, windows 1, 3 and 5) between an output and the truth, on one scale.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
import torch

from basicsr_entropy.data.datasets import LowLightDegradation
from basicsr_entropy.data.datasets.demo_photographs import read_photograph
from basicsr_entropy.entropy import MAP_MAXIMUM, detail_distance
from basicsr_entropy.inference import Enhancer

NIGHT = LowLightDegradation(
    exposure=(3.3, 3.3), local_exposure=(0, 0), shadows=(0, 0), vignette=(0, 0), light_sources=(0, 0), warmth=(0, 0)
)
PHOTOGRAPHS = {'coffee': (96, 200), 'chelsea': (60, 130)}  # and the top left corner of the crop
CROP = 96  # side in pixels


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs=2, required=True, metavar='NAME=FILE', help='two model files and their names')
    parser.add_argument('--out', required=True, help='figure to write')
    args = parser.parse_args()

    enhancers = {name: Enhancer.from_pretrained(file) for name, file in (each.split('=', 1) for each in args.models)}
    figure, axes = plt.subplots(2 * len(PHOTOGRAPHS), 4, figsize=(11, 5.2 * len(PHOTOGRAPHS)))
    for (name, (top, left)), (crops, maps) in zip(PHOTOGRAPHS.items(), axes.reshape(-1, 2, 4)):
        truth = np.ascontiguousarray(read_photograph(name)[..., ::-1])
        dark = NIGHT(truth[..., ::-1], np.random.default_rng(0))[..., ::-1].copy()
        window = slice(top, top + CROP), slice(left, left + CROP)
        outputs = {title: enhancer(dark) for title, enhancer in enhancers.items()}
        shown = {'input, times 4': (4 * dark).clip(0, 1), **outputs, 'truth': truth / 255}
        for axis, (title, image) in zip(crops, shown.items()):
            axis.imshow(np.kron(image[window], np.ones((3, 3, 1))))
            axis.set_title(title)
        distances = [detail_distance(tensor(each), tensor(truth / 255))[0] for each in outputs.values()]
        for axis, each in zip(maps[1:3], distances):
            picture = axis.imshow(each[window], vmin=0, vmax=MAP_MAXIMUM, cmap='magma')
            axis.set_title(f'distance, mean {each.mean():.3f}')
        figure.colorbar(picture, ax=maps[3], location='left', fraction=0.3)
        for axis in (maps[0], maps[3]):
            axis.axis('off')
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(args.out, dpi=80)


if __name__ == '__main__':
    main()
