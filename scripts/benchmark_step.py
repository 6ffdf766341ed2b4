"""Time and peak memory of a training step: with L1, and with the entropy loss computed by each backend.

    python scripts/benchmark_step.py -opt options/train/LOLv1/irsde_small.yml

Also shows how the time of a step is divided among its parts. Network, losses, crops and batch size are those of the
option file; the images are photographs bundled with scikit-image, darkened.
"""

import argparse
import contextlib
import functools
import io
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
from basicsr.data import build_dataset
from basicsr.models import build_model

from basicsr_entropy.config import read_option_file
from basicsr_entropy.data.datasets.demo_photographs import write_demo_dataset

WARM_UP = 2  # steps before the measurement


def batches(options: dict, folder: str):
    """Yields batches without end, as a loader without workers would."""
    with contextlib.redirect_stdout(io.StringIO()):
        write_demo_dataset(folder)
    keys = {key: value for key, value in options['datasets']['train'].items() if key not in ('layout', 'split')}
    dataset = build_dataset({**keys, 'dataroot': folder, 'phase': 'train', 'scale': 1})
    index = 0
    while True:
        items = []
        for _ in range(keys['batch_size_per_gpu']):
            items.append(dataset[index % len(dataset)])
            index += 1
        yield {key: torch.stack([item[key] for item in items]) for key in ('lq', 'gt')}


def model_of(options: dict, losses: dict, device: str):
    train = {key: value for key, value in options['train'].items() if not key.endswith('_opt')}
    run = {**options, 'is_train': True, 'dist': False, 'num_gpu': int(device == 'cuda'), 'train': {**train, **losses}}
    return build_model({**run, 'path': {'pretrain_network_g': None, 'models': '', 'training_states': ''}})


class Parts:
    """Seconds spent in each part of the steps; the device is synchronized after each part."""

    def __init__(self, model, device: str) -> None:
        self.seconds, self.device = defaultdict(float), device
        model.net_g.forward = self.timed('network, forward', model.net_g.forward)
        for loss in model.losses.values():
            loss.forward = self.timed('loss, with its gradient', loss.forward)
        model.optimizer_g.step = self.timed('optimizer and EMA', model.optimizer_g.step)
        model.model_ema = self.timed('optimizer and EMA', model.model_ema)

    def timed(self, name: str, function):
        @functools.wraps(function)
        def call(*arguments, **keywords):
            start = now(self.device)
            result = function(*arguments, **keywords)
            self.seconds[name] += now(self.device) - start
            return result

        return call


def now(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def run_steps(model, source, steps: int, device: str) -> tuple[list[float], list[float]]:
    """Runs steps; returns the seconds that each batch took to load, and each step to compute."""
    reading, stepping = [], []
    for step in range(1, steps + WARM_UP + 1):
        start = now(device)
        batch = next(source)
        read = now(device)
        model.feed_data(batch)
        model.optimize_parameters(step)
        done = now(device)
        if step > WARM_UP:
            reading.append(read - start)
            stepping.append(done - read)
    return reading, stepping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', default='options/train/LOLv1/irsde_small.yml', help='training option file')
    parser.add_argument('--steps', type=int, default=20, help='steps to measure for each loss')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=['cpu', 'cuda'])
    args = parser.parse_args()
    device, options = args.device, read_option_file(args.opt)
    entropy = {key: value for key, value in options['train'].items() if key.endswith('_opt')}
    fast = 'triton' if device == 'cuda' else 'compiled'
    losses = {'L1': {'pixel_opt': {'type': 'L1Loss', 'compare': next(iter(entropy.values())).get('compare', 'state')}}}
    for backend in (fast, 'eager'):
        losses[f'entropy, {backend}'] = {
            key: {**value, 'backend': backend} if value['type'] == 'SpatialEntropyLoss' else value
            for key, value in entropy.items()
        }

    table = Table(title=f'A training step of {Path(args.opt)} on {device}')
    memory_columns = ('peak GPU memory, GB', 'relative to L1') if device == 'cuda' else ()
    for column in ('loss', 'step, ms', 'relative to L1', *memory_columns):
        table.add_column(column, justify='left' if column == 'loss' else 'right')
    parts_table = Table(title='Parts of a step, ms')
    with tempfile.TemporaryDirectory() as folder:
        source = batches(options, folder)
        first = None
        for name, each in losses.items():
            torch.manual_seed(0)
            model = model_of(options, each, device)
            if device == 'cuda':
                torch.cuda.reset_peak_memory_stats()
            _, stepping = run_steps(model, source, args.steps, device)
            memory = torch.cuda.max_memory_allocated() / 2**30 if device == 'cuda' else float('nan')
            step = statistics.median(stepping)
            first = first or (step, memory)
            row = [name, f'{step * 1e3:.1f}', f'{step / first[0]:.3f}']
            table.add_row(*row, *([f'{memory:.2f}', f'{memory / first[1]:.3f}'] if memory_columns else []))

            parts = Parts(model, device)
            reading, stepping = run_steps(model, source, args.steps, device)
            counted = args.steps + WARM_UP
            means = {'data': statistics.mean(reading), **{key: s / counted for key, s in parts.seconds.items()}}
            means['backward and the rest'] = statistics.mean(stepping) - sum(means.values()) + means['data']
            if not parts_table.columns:
                parts_table.add_column('loss')
                for key in means:
                    parts_table.add_column(key, justify='right')
            parts_table.add_row(name, *(f'{value * 1e3:.1f}' for value in means.values()))
            del model, parts
    console = Console(width=130)
    console.print(table)
    console.print(parts_table)


if __name__ == '__main__':
    main()
