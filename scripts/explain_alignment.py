"""Draws why absolute intensity levels fail in low light, and what alignment changes: the figures of docs/method.md.

    python scripts/explain_alignment.py --out docs

`joint_densities.png`: the joint densities of a patch and of the same patch too dark, plain and aligned.
`alignment.png`: L1, high-pass L1 and three forms of the entropy loss along blur, noise, gain and shift. Both use a
photograph that comes with scikit-image.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import skimage
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from basicsr_entropy.entropy import aligned, neighbor_weights
from basicsr_entropy.entropy.reference import joint_densities
from basicsr_entropy.losses import HighPassLoss, SpatialEntropyLoss

LEVELS, SIDE, CENTER = 32, 9, (128, 49)  # of the joint density that is drawn: levels, window in pixels, its place
ENTROPY = {'unit_mass': True, 'neighbor': 'uniform'}
LOSSES = {  # and the factor by which each is drawn
    '5 L1': (F.l1_loss, 5),
    '5 high-pass L1': (HighPassLoss(), 5),
    'entropy, align: none': (SpatialEntropyLoss(**ENTROPY), 1),
    'entropy, align: mean': (SpatialEntropyLoss(**ENTROPY, align='mean'), 1),
    'entropy, align: local': (SpatialEntropyLoss(**ENTROPY, align='local'), 1),
}


def photograph() -> torch.Tensor:
    """A crop of a photograph, (1, 3, 192, 192), compressed to [0.2, 0.7] so that no change leaves [0, 1]."""
    image = np.asarray(Image.open(Path(skimage.__file__).parent / 'data' / 'coffee.png').convert('RGB'))
    crop = torch.from_numpy(image[90:282, 150:342].copy()).permute(2, 0, 1)[None] / 255
    return 0.2 + 0.5 * crop


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, sigma, sigma)))


def joint_density(gray: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """Joint density around a pixel of a plane (H, W): neighbor levels by value levels."""
    reach = SIDE // 2 + 1  # a window and the neighbors of its pixels
    patch = gray[row - reach : row + reach + 1, column - reach : column + reach + 1][None, None]
    (density,) = joint_densities(patch, neighbor_weights('uniform'), LEVELS, windows=(SIDE,))
    return density[0, :, :, 0, reach, reach]


def hellinger(p: torch.Tensor, q: torch.Tensor) -> float:
    return ((p.sqrt() - q.sqrt()) ** 2 / 2).sum().sqrt().item()


def draw_densities(path: Path) -> None:
    target = photograph()
    dark = 0.75 * blur(target, 0.8)
    images = {
        'ground truth': target,
        'darker and blurred': dark,
        'the same, align: local': aligned(dark, target, 'local', 4.0),
    }
    row, column = CENTER
    figure, axes = plt.subplots(2, 3, figsize=(8, 5.6), height_ratios=(1, 1.35))
    truth = joint_density(target.mean(dim=1)[0], row, column)
    for (title, image), (top, bottom) in zip(images.items(), axes.T):
        top.imshow(image[0].permute(1, 2, 0).clamp(0, 1)[row - 32 : row + 32, column - 32 : column + 32])
        top.add_patch(plt.Rectangle((32 - SIDE / 2, 32 - SIDE / 2), SIDE, SIDE, fill=False, color='white'))
        top.set(title=title, xticks=[], yticks=[])
        density = joint_density(image.mean(dim=1)[0], row, column)
        bottom.imshow(density.sqrt(), origin='lower', cmap='magma', vmax=0.35)
        bottom.set(title=f'Hellinger distance {hellinger(truth, density):.2f}', xlabel='value, level')
    axes[1, 0].set_ylabel('neighbor value, level')
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_curves(path: Path) -> None:
    target = photograph()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    changes = {
        'blur: sigma, pixels': (np.linspace(0, 4, 17), lambda s: blur(target, s)),
        'noise: standard deviation': (np.linspace(0, 0.1, 17), lambda s: target + s * noise),
        'gain': (np.linspace(0.5, 1.3, 17), lambda s: target * s),
        'shift': (np.linspace(-0.2, 0.2, 33), lambda s: target + s),
        'blur, after a shift of -0.1: sigma, pixels': (np.linspace(0, 4, 17), lambda s: blur(target, s) - 0.1),
    }
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.6), sharey=True)
    for (title, (strengths, change)), axis in zip(changes.items(), axes):
        for name, (loss, weight) in LOSSES.items():
            values = [weight * loss(change(float(s)), target) for s in strengths]
            axis.plot(strengths, values, '-' if 'entropy' in name else '--', label=name)
        axis.set(xlabel=title, ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('loss')
    axes[0].legend(fontsize=8, loc='upper left')
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='results/explain_alignment', help='folder for the figures')
    folder = Path(parser.parse_args().out)
    folder.mkdir(parents=True, exist_ok=True)
    draw_densities(folder / 'joint_densities.png')
    draw_curves(folder / 'alignment.png')


if __name__ == '__main__':
    main()
