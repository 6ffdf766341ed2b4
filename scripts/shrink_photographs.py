"""Copies photographs at a reduced size, as PNG, for `SyntheticLowLightDataset`.

A crop of a large photograph shows too little of the scene to train on.

    python scripts/shrink_photographs.py --out datasets/photographs/train --longest 768 holiday/ night/*.jpg

The copies are upright. The file names of the photographs must differ.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.inference.files import find_photographs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('inputs', nargs='+', metavar='INPUT', help='files, folders or glob patterns')
parser.add_argument('--out', required=True, help='folder to write to; must not exist')
parser.add_argument(
    '--longest', type=int, default=768, help='length of the longer side in pixels; smaller photographs keep their size'
)
args = parser.parse_args()

out = Path(args.out)
found = find_photographs(args.inputs)
names = [source.with_suffix('.png').name for source, _ in found]
if twice := sorted({name for name in names if names.count(name) > 1}):
    parser.error(f'more than one photograph would become {twice[0]}')
if out.exists():
    parser.error(f'--out: {out} exists; remove it, or choose another folder')
out.mkdir(parents=True)
for (source, _), name in zip(tqdm(found, unit='image'), names):
    with Image.open(source) as photograph:
        upright = ImageOps.exif_transpose(photograph).convert('RGB')
    upright.thumbnail((args.longest, args.longest), Image.Resampling.LANCZOS)
    upright.save(out / name)
