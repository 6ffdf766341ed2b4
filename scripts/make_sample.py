"""Writes the embedded sample: photographs that scikit-image carries, and dark versions of them."""

import argparse

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.data.datasets.sample import write_sample

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('--out', required=True, help='folder to write {Train,Test}/{input,target} into')
arguments = parser.parse_args()
for split, count in write_sample(arguments.out).items():
    print(f'{split}: {count} pairs')
