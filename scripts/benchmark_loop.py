"""Time and peak memory of whole trainings: in the loop of the package, and in BasicSR's own `train_pipeline`.

    python scripts/benchmark_loop.py --repeats 5 --iterations 60

A tiny network, so that what the loops do themselves weighs most; the images are parts of a photograph bundled with
scikit-image. The loops take turns, each time in a process of its own, forked from this one, which has imported
everything already, and without loading processes. An iteration is what lies between two batches that the model is
given: reading, step, look at the losses, log line.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import skimage.data
import torch
import yaml
from rich.console import Console
from rich.table import Table

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
from basicsr.models.sr_model import SRModel
from basicsr.train import train_pipeline

from basicsr_entropy import cli
from basicsr_entropy.training import pipeline  # noqa: F401  (the command imports it when it runs)

WARM_UP = 10  # iterations before the measurement
LOOPS = ('of the package', "BasicSR's")
MODELS: dict[str, dict[str, Any]] = {
    'IRSDEModel': {
        'sde': {'timesteps': 10, 'prediction': 'residual'},
        'network_g': {'type': 'ConditionalNAFNet', 'width': 8, 'enc_blk_nums': [1], 'dec_blk_nums': [1]},
    },
    'SRModel': {'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 16, 'num_conv': 4, 'upscale': 1}},
}


def options_of(model: str, iterations: int, crop: int, dataroot: Path) -> dict[str, Any]:
    train = {
        'name': 'photographs',
        'type': 'LowLightPairedDataset',
        'dataroot': str(dataroot),
        'gt_size': crop,
        'use_hflip': True,
        'use_rot': True,
        'batch_size_per_gpu': 4,
        'num_worker_per_gpu': 0,
        'dataset_enlarge_ratio': 100,
    }
    return {
        'name': 'run',
        'model_type': model,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'train': train},
        'path': {},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 0.001},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100_000]},
            'total_iter': iterations,
            'pixel_opt': {'type': 'L1Loss'},
        },
        'logger': {'print_freq': 10, 'save_checkpoint_freq': 100_000, 'use_tb_logger': False},
        **MODELS[model],
    }


def train(loop: str, option_file: Path) -> None:
    """Trains in this process, in the folder of the option file, and writes what it took to `measured.json` there."""
    os.chdir(option_file.parent)
    with Path('output.txt').open('w') as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    moments: list[tuple[float, float]] = []
    feed = SRModel.feed_data

    def feed_data(self: SRModel, data: Any) -> None:
        moments.append((time.perf_counter(), time.process_time()))
        feed(self, data)

    SRModel.feed_data = feed_data
    sys.argv[1:] = ['-opt', str(option_file)]
    if loop == LOOPS[0]:
        try:
            cli.main(['train'])
        except SystemExit as ended:
            if ended.code:
                raise
    else:
        train_pipeline(str(Path.cwd()))
    steps = [
        [later - earlier for earlier, later in zip(*pair)] for pair in zip(moments[WARM_UP:], moments[WARM_UP + 1 :])
    ]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    Path('measured.json').write_text(json.dumps({'steps': steps, 'memory': memory}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    parser.add_argument('--repeats', type=int, default=5, help='trainings in each loop')
    parser.add_argument('--iterations', type=int, default=60, help='iterations of each training')
    parser.add_argument('--crop', type=int, default=32, help='side of the crops in pixels, at most 60')
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title='An iteration of a whole training')
    for column in ('model', 'loop', 'median, ms', 'CPU, median, ms', 'peak memory, MB'):
        table.add_column(column, justify='left' if column in ('model', 'loop') else 'right')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_images(folder / 'data')
        for model in args.models:
            option_file = folder / f'{model}.yml'
            option_file.write_text(yaml.safe_dump(options_of(model, args.iterations, args.crop, folder / 'data')))
            found: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
            for repeat in range(args.repeats):
                for loop in LOOPS if repeat % 2 == 0 else reversed(LOOPS):
                    process = multiprocessing.get_context('fork').Process(target=train, args=(loop, option_file))
                    process.start()
                    process.join()
                    if process.exitcode != 0:
                        raise RuntimeError((folder / 'output.txt').read_text()[-3000:])
                    found[loop].append(json.loads((folder / 'measured.json').read_text()))
            for loop, runs in found.items():
                # the least of the medians of the runs: other work on the machine only adds to it
                wall, cpu = (
                    min(statistics.median(step[kind] for step in run['steps']) for run in runs) for kind in (0, 1)
                )
                memory = statistics.median(run['memory'] for run in runs)
                table.add_row(model, loop, f'{wall * 1e3:.2f}', f'{cpu * 1e3:.2f}', f'{memory:.0f}')
    Console(width=110).print(table)


def _write_images(folder: Path) -> None:
    photograph = skimage.data.astronaut()
    for index in range(8):
        image = photograph[60 * index : 60 * index + 60, 200:272]
        for role, values in (('target', image), ('input', image // 8)):
            path = folder / f'Train/{role}/{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), values)


if __name__ == '__main__':
    main()
