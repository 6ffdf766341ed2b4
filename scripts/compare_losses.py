"""Trains option files with several seeds, tests each model, and tabulates the metrics: mean and standard deviation.

    python scripts/compare_losses.py --test options/test/LOLv1/irsde_small.yml --seeds 0 1 2 \\
        --train options/train/LOLv1/irsde_small.yml options/train/LOLv1/irsde_l1.yml

The metrics are those under val.metrics of the test option file. Unfinished trainings are resumed and finished ones are
kept, so the command can be repeated after an interruption. The numbers are also written to OUT/results.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.config import read_option_file
from basicsr_entropy.config.folders import latest_weights
from basicsr_entropy.training.metrics_file import read_metrics


def run(command: str, options: dict, folder: Path, *arguments: str) -> None:
    """Runs `basicsr-entropy COMMAND` on options, which are written to an option file in `folder`."""
    path = folder / f'{command}_{options["name"]}.yml'
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    subprocess.run([sys.executable, '-m', 'basicsr_entropy', command, '-opt', str(path), *arguments], check=True)


def shortened(train: dict, iterations: int) -> dict:
    """Training options with another number of iterations; phases of progressive training keep their fractions."""
    schedule = {**train['train'], 'total_iter': iterations}
    schedule['scheduler'] = {**schedule['scheduler'], 'periods': [iterations]}
    dataset = train['datasets']['train']
    if phases := dataset.get('iters'):
        dataset = {**dataset, 'iters': [max(1, round(phase * iterations / sum(phases))) for phase in phases]}
    return {**train, 'train': schedule, 'datasets': {**train['datasets'], 'train': dataset}}


def with_lpips(test: dict, trunk: str) -> dict:
    """Test options that also measure LPIPS."""
    lpips = {'type': 'calculate_lpips', 'trunk': trunk, 'better': 'lower'}
    return {**test, 'val': {**test['val'], 'metrics': {**(test['val'].get('metrics') or {}), 'lpips': lpips}}}


def measure(train: dict, test: dict, name: str, seed: int, folder: Path) -> dict[str, float]:
    """Trains unless that is done, tests, and returns the mean of each metric over all test images."""
    latest = latest_weights({'name': name})
    if not latest.is_file():
        run('train', {**train, 'name': name, 'manual_seed': seed, 'val': None}, folder, '--auto_resume')
    test = {**test, 'name': name, 'path': {**test['path'], 'pretrain_network_g': str(latest)}}
    run('test', test, folder)
    images = [image for dataset in read_metrics(test)['datasets'].values() for image in dataset['images']]
    return {metric: statistics.fmean(image['metrics'][metric] for image in images) for metric in test['val']['metrics']}


def with_deviation(values: list[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.3f}'
    return f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', nargs='+', required=True, help='training option files to compare')
    parser.add_argument('--test', required=True, help='option file to test every model with')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='seeds of each training (0)')
    parser.add_argument('--iterations', type=int, help='iterations of each training; those of the files by default')
    parser.add_argument(
        '--lpips-trunk',
        metavar='FILE',
        help="weights of torchvision's AlexNet; adds LPIPS to val.metrics (extra `lpips`)",
    )
    parser.add_argument('--out', default='results/compare_losses', help='folder for the option files and the numbers')
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)

    test = read_option_file(args.test)
    if args.lpips_trunk:
        test = with_lpips(test, args.lpips_trunk)
    metrics = test['val'].get('metrics')
    if not metrics:
        parser.error(f'{args.test}: val.metrics names no metric to compare by')
    results = {}
    for file in args.train:
        train = read_option_file(file)
        if args.iterations is not None:
            train = shortened(train, args.iterations)
        results[train['name']] = [
            measure(train, test, f'{train["name"]}_seed{seed}', seed, folder) for seed in args.seeds
        ]
    (folder / 'results.json').write_text(json.dumps(results, indent=2))

    table = Table(title=f'seeds {", ".join(map(str, args.seeds))}: mean and standard deviation (sample)')
    table.add_column('run')
    for metric in metrics:
        table.add_column(metric, justify='right')
    for name, runs in results.items():
        table.add_row(name, *(with_deviation([each[metric] for each in runs]) for metric in metrics))
    Console(width=120).print(table)


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as error:  # the command has printed its own error
        sys.exit(error.returncode)
