"""Copies photographs at a reduced size, as PNG, for `SyntheticLowLightDataset`: crops of large ones show too little.

    python scripts/shrink_photographs.py --out datasets/photographs/train --longest 768 holiday/ night/*.jpg

Photographs are turned upright. Their names must differ.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.inference.files import find_photographs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('inputs', nargs='+', metavar='INPUT', help='files, folders or patterns')
parser.add_argument('--out', required=True, help='folder to write to; must not exist')
parser.add_argument('--longest', type=int, default=768, help='pixels of the longer side; smaller ones stay as they are')
arguments = parser.parse_args()

out = Path(arguments.out)
found = find_photographs(arguments.inputs)
names = [source.with_suffix('.png').name for source, _ in found]
if twice := sorted({name for name in names if names.count(name) > 1}):
    parser.error(f'more than one photograph would become {twice[0]}')
if out.exists():
    parser.error(f'--out: {out} exists; remove it, or write somewhere else')
out.mkdir(parents=True)
for (source, _), name in zip(tqdm(found, unit='image'), names):
    with Image.open(source) as photograph:
        upright = ImageOps.exif_transpose(photograph).convert('RGB')
    upright.thumbnail((arguments.longest, arguments.longest), Image.Resampling.LANCZOS)
    upright.save(out / name)
