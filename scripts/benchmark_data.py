"""Training samples per second from folders and from LMDB databases, with BasicSR's paired dataset and this package's.

    python scripts/benchmark_data.py            # about ten minutes, and 2 GB under --out
    python scripts/benchmark_data.py --quick    # small photographs only, one minute

The pairs are photographs bundled with scikit-image, enlarged, with noise. All readers must return the same crops from
the same seed, which is checked first. The numbers go to OUT/benchmark.json, a figure to OUT/benchmark.png.
"""

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset, RandomSampler

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.data.datasets import LowLightPairedDataset
from basicsr_entropy.data.datasets.demo_photographs import TRAIN_PHOTOGRAPHS, read_photograph
from basicsr_entropy.data.prepare.encoding import LmdbFormat
from basicsr_entropy.data.prepare.prepare import prepare_lmdb

matplotlib.use('Agg')
from basicsr.data.paired_image_dataset import PairedImageDataset  # noqa: E402
from matplotlib import pyplot  # noqa: E402

BASELINE = 'stock, PNG LMDB'
BATCH, CROP = 4, 128


def write_pairs(folder: Path, height: int, width: int, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        photograph = read_photograph(TRAIN_PHOTOGRAPHS[index % len(TRAIN_PHOTOGRAPHS)])
        clean = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        for role, gain in (('input', 1 / 8), ('target', 1)):
            path = folder / f'Train/{role}/{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            noisy = gain * clean + 2 * rng.standard_normal(clean.shape, np.float32)
            if not cv2.imwrite(str(path), noisy.round().clip(0, 255).astype(np.uint8)):
                raise OSError(f'could not write {path}')


def datasets(folder: Path) -> dict[str, Dataset]:
    """The readers of one dataset, by name."""
    options = {'phase': 'train', 'scale': 1, 'gt_size': CROP, 'use_hflip': True, 'use_rot': True}

    def stock(lq: Path, gt: Path, backend: str) -> Dataset:
        roots = {'dataroot_lq': str(lq), 'dataroot_gt': str(gt), 'io_backend': {'type': backend}}
        return PairedImageDataset({**options, **roots})

    def ours(root: Path) -> Dataset:
        return LowLightPairedDataset({**options, 'dataroot': str(root)})

    # a process can open an LMDB database only once: BasicSR's dataset gets a copy
    copy = folder / 'png_copy'
    if not copy.exists():
        shutil.copytree(folder / 'png', copy)
    return {
        'stock, folder': stock(folder / 'Train/input', folder / 'Train/target', 'disk'),
        BASELINE: stock(copy / 'train_lq.lmdb', copy / 'train_gt.lmdb', 'lmdb'),
        'ours, folder': ours(folder),
        'ours, PNG LMDB': ours(folder / 'png'),
        'ours, raw LMDB': ours(folder / 'raw'),
    }


def check_same(readers: dict[str, Dataset]) -> None:
    """Raises unless all readers return the same sample of the same photograph from the same seed."""
    samples = {}
    for name, dataset in readers.items():
        random.seed(0)
        index = next(i for i in range(len(dataset)) if Path(gt_path(dataset, i)).stem == '1')
        samples[name] = dataset[index]
    for name, sample in samples.items():
        if not all(torch.equal(sample[role], samples[BASELINE][role]) for role in ('lq', 'gt')):
            raise ValueError(f'{name} returns other crops than {BASELINE}')


def gt_path(dataset: Dataset, index: int) -> str:
    if isinstance(dataset, PairedImageDataset):
        return dataset.paths[index]['gt_path']
    return dataset.pairs[index].gt


def measure(dataset: Dataset, workers: int, seconds: float) -> float:
    """Samples per second, after the loader has warmed up."""
    sampler = RandomSampler(dataset, replacement=True, num_samples=10**7)
    batches = iter(DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers))
    for _ in range(1 + 2 * workers):  # prefetched batches would be counted, but not their time
        next(batches)
    count, begin = 0, time.perf_counter()
    while count < 3 or time.perf_counter() - begin < seconds:
        next(batches)
        count += 1
    return count * BATCH / (time.perf_counter() - begin)


def show(rates: dict[str, dict[str, dict[int, float]]], out: Path) -> None:
    figure, panels = pyplot.subplots(1, len(rates), figsize=(6 * len(rates), 4), squeeze=False)
    for panel, (size, readers) in zip(panels[0], rates.items()):
        workers = list(next(iter(readers.values())))
        table = Table(title=f'{size}: samples per second (relative to {BASELINE})')
        table.add_column('reader')
        for each in workers:
            table.add_column(f'{each} workers', justify='right')
        for index, (name, rate) in enumerate(readers.items()):
            table.add_row(name, *(f'{rate[w]:.1f} ({rate[w] / readers[BASELINE][w]:.1f})' for w in workers))
            panel.bar(np.arange(len(workers)) + 0.16 * (index - 2), list(rate.values()), 0.16, label=name)
        Console().print(table)
        panel.set_xticks(range(len(workers)), [f'{each} workers' for each in workers])
        panel.set(title=size, ylabel='samples per second', yscale='log')
    panels[0][0].legend(fontsize='small')
    figure.tight_layout()
    figure.savefig(out / 'benchmark.png', dpi=120)
    (out / 'benchmark.json').write_text(json.dumps(rates, indent=1))
    print(f'table and figure: {out}/benchmark.json, {out}/benchmark.png')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='small photographs only, one second each')
    parser.add_argument('--seconds', type=float, default=5.0, help='shortest duration of a measurement')
    parser.add_argument('--workers', nargs='+', type=int, default=[0, 1, 2], help='numbers of loader workers')
    parser.add_argument(
        '--out', default='results/benchmark_data', help='folder for the data, the numbers and the figure'
    )
    args = parser.parse_args()
    out, seconds = Path(args.out), 1.0 if args.quick else args.seconds

    rates = {}
    for height, width, count in [(400, 600, 24), (4000, 6000, 4)][: 1 if args.quick else 2]:
        size = f'{height}x{width}'
        folder = out / size
        if not folder.exists():
            write_pairs(folder, height, width, count)
        for encoding in ('png', 'raw'):
            prepare_lmdb(folder, folder / encoding, layout='lolv1', lmdb_format=LmdbFormat(encoding), resume=True)
        readers = datasets(folder)
        check_same(readers)
        rates[size] = {
            name: {workers: measure(dataset, workers, seconds) for workers in args.workers}
            for name, dataset in readers.items()
        }
    show(rates, out)


if __name__ == '__main__':
    main()
