"""Trains option files with several seeds, tests each model, and shows the files side by side: mean and deviation.

    python scripts/compare_losses.py --test options/test/LOLv1/irsde_small.yml --seeds 0 1 2 \\
        --train options/train/LOLv1/irsde_small.yml options/train/LOLv1/irsde_l1.yml

Runs that are there already are resumed or kept, so the command may be repeated after an interruption. The numbers go
to OUT/results.json as well.
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
from basicsr_entropy.metrics import calculate_lpips
from basicsr_entropy.training.report import METRICS, compare_results


def run(command: str, options: dict, folder: Path, *arguments: str) -> None:
    path = folder / f'{command}_{options["name"]}.yml'
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    subprocess.run([sys.executable, '-m', 'basicsr_entropy', command, '-opt', str(path), *arguments], check=True)


def measure(train: dict, test: dict, name: str, seed: int, arguments) -> dict[str, float]:
    """Mean metrics of one training, after its test."""
    iterations, folder = arguments.iterations, Path(arguments.out)
    train = {**train, 'name': name, 'manual_seed': seed, 'val': None}
    if iterations is not None:
        train['train'] = {**train['train'], 'total_iter': iterations}
        train['train']['scheduler'] = {**train['train']['scheduler'], 'periods': [iterations]}
        crops = train['datasets']['train']
        if phases := crops.get('iters'):
            shares = [max(1, round(phase * iterations / sum(phases))) for phase in phases]
            train['datasets'] = {**train['datasets'], 'train': {**crops, 'iters': shares}}
    latest = f'experiments/{name}/models/net_g_latest.pth'
    if not Path(latest).is_file():
        run('train', train, folder, '--auto_resume')
    test = {**test, 'name': name, 'path': {**test['path'], 'pretrain_network_g': latest}}
    run('test', test, folder)
    images = compare_results(test)
    means = {key: statistics.mean(image.after[key] for image in images) for key in METRICS}
    if trunk := arguments.lpips_trunk:
        distances = [calculate_lpips(output, truth, trunk=trunk) for _, output, truth in (one.images for one in images)]
        means['LPIPS'] = statistics.mean(distances)
    return means


def with_deviation(numbers: list[float]) -> str:
    if len(numbers) == 1:
        return f'{numbers[0]:.3f}'
    return f'{statistics.mean(numbers):.3f} ± {statistics.stdev(numbers):.3f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', nargs='+', required=True, help='option files to compare')
    parser.add_argument('--test', required=True, help='option file that tests them')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--iterations', type=int, help='iterations of each training; those of the files by default')
    parser.add_argument('--lpips-trunk', help="file with AlexNet's weights: also measures LPIPS (extra `lpips`)")
    parser.add_argument('--out', default='results/compare_losses', help='folder for the numbers')
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)

    test, results = read_option_file(arguments.test), {}
    for file in arguments.train:
        train = read_option_file(file)
        results[train['name']] = [
            measure(train, test, f'{train["name"]}_seed{seed}', seed, arguments) for seed in arguments.seeds
        ]
    (folder / 'results.json').write_text(json.dumps(results, indent=2))

    metrics = [*METRICS, *(['LPIPS'] if arguments.lpips_trunk else [])]
    table = Table(title=f'seeds {", ".join(map(str, arguments.seeds))}: mean and sample deviation')
    table.add_column('run')
    for key in metrics:
        table.add_column(key, justify='right')
    for name, runs in results.items():
        table.add_row(name, *(with_deviation([each[key] for each in runs]) for key in metrics))
    Console(width=120).print(table)


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as error:  # the command has told its own error
        sys.exit(error.returncode)
