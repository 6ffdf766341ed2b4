"""Writes the demo dataset: photographs bundled with scikit-image, and dark versions of them."""

import argparse

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.data.datasets.demo_photographs import write_demo_dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('--out', required=True, help='folder to write {Train,Test}/{input,target} into')
args = parser.parse_args()
for split, count in write_demo_dataset(args.out).items():
    print(f'{split}: {count} pairs')
