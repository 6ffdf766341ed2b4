"""Draws one photograph in 24 different nights: what a `SyntheticLowLightDataset` makes of it.

    python scripts/preview_degradation.py night.yml --photograph day.jpg --out nights.png

Every draw is shown as it is, and below it lifted to a mean of 0.35 by a gamma curve, which shows noise and color. Look
at the sheet before you train: a network learns to undo these nights and no others.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from einops import rearrange

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy._files import atomic_write_bytes
from basicsr_entropy._images import decode_image
from basicsr_entropy.config import read_option_file
from basicsr_entropy.data.datasets import LowLightDegradation, SyntheticLowLightDataset
from basicsr_entropy.diffusion import Condition

DRAWS, COLUMNS = 24, 6


def contact_sheet(image: np.ndarray, degradation: LowLightDegradation, seed: int) -> np.ndarray:
    """The nights of a photograph (H, W, 3), float32, as one image."""
    nights = np.stack([degradation(image, np.random.default_rng([seed, draw])) for draw in range(DRAWS)])
    lifted = Condition(lift='auto')(torch.from_numpy(nights).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    cells = np.stack([nights, lifted])
    sheet = rearrange(cells, 'kind (row column) h w c -> (row kind h) (column w) c', column=COLUMNS)
    return np.round(sheet * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('options', help='option file whose datasets.train is a SyntheticLowLightDataset')
    parser.add_argument('--photograph', required=True, help='a well-lit photograph')
    parser.add_argument('--out', required=True, help='PNG file to write; must not exist')
    parser.add_argument('--width', type=int, default=240, help='width of a picture of the sheet in pixels (240)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the draws (0)')
    args = parser.parse_args()

    out = Path(args.out)
    if out.exists():
        parser.error(f'--out: {out} exists; remove it, or write somewhere else')
    options = read_option_file(args.options)['datasets']['train']
    if options.get('type') != 'SyntheticLowLightDataset':
        parser.error(f'options: datasets.train.type: must be SyntheticLowLightDataset, got {options.get("type")}')
    image = decode_image(Path(args.photograph).read_bytes(), args.photograph)
    height = round(image.shape[0] * args.width / image.shape[1])
    with TemporaryDirectory() as folder:
        small = cv2.resize(image, (args.width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(f'{folder}/photograph.png', small)
        dataset = SyntheticLowLightDataset(
            {**options, 'dataroot_gt': folder, 'phase': 'val', **dict.fromkeys(('exclude', 'mean', 'std', 'color'))}
        )
        truth = np.ascontiguousarray(rearrange(dataset[0]['gt'].numpy(), 'c h w -> h w c')[..., ::-1])
    sheet = contact_sheet(truth, dataset.degradation, args.seed)
    atomic_write_bytes(out, cv2.imencode('.png', sheet)[1].tobytes())


if __name__ == '__main__':
    main()
