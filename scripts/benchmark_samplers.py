"""Image quality of a trained model with each sampler, as a function of the network function evaluations (NFE).

    python scripts/benchmark_samplers.py -opt options/test/LOLv1/irsde_small.yml --lpips-trunk alexnet_features.pth \\
        --images 5 --size 200 304

Model, images and metrics (val.metrics) are those of the test option file. A sampler is given as TYPE or
TYPE:KEY=VALUE,... with the keys of val.sampler, such as mr_ode:order=1,spacing=karras. Each measurement is saved to
OUT/results.json at once, so the command can be repeated after an interruption, or with more samplers, evaluations,
images, seeds or metrics; only what is missing is measured.
"""

import argparse
import hashlib
import json
import statistics
import time
from itertools import product
from pathlib import Path

import torch
import yaml
from matplotlib import colormaps
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch.utils.data import Subset
from tqdm import tqdm

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.models import build_model
from basicsr.utils import tensor2img

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.config import read_option_file
from basicsr_entropy.diffusion import Sampler, sample
from basicsr_entropy.training.report import decimals

SAMPLERS = (
    'posterior',
    'posterior:spacing=log_snr',
    'sde',
    'ode',
    *(
        f'mr_{kind}:order={order},form={form}'
        for kind in ('ode', 'sde')
        for order in (1, 2)
        for form in ('data', 'noise')
    ),
)
EVALUATIONS = (1, 2, 4, 8, 16, 32, 100)
SECONDS = 'seconds'  # measured beside the metrics


def sampler_named(name: str, steps: int | None = None) -> Sampler:
    """The sampler of TYPE:KEY=VALUE,...; raises a ValueError for an unknown key or value."""
    kind, _, rest = name.partition(':')
    options = {key: yaml.safe_load(value) for key, _, value in (one.partition('=') for one in rest.split(',') if one)}
    if not options.keys() <= {'order', 'form', 'spacing'}:
        raise ValueError(f"--samplers: '{name}': a sampler's keys are order, form and spacing")
    return Sampler(kind, steps, **options)


def center(image: torch.Tensor, size: list[int] | None) -> torch.Tensor:
    """The center of an image (C, H, W), as a batch of one."""
    height, width = (min(asked, own) for asked, own in zip(size or image.shape[1:], image.shape[1:]))
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[None, :, top : top + height, left : left + width]


def measure(model, item: dict, size: list[int] | None, metrics: dict, name: str, steps: int, seed: int) -> dict:
    """Metrics of one restored image, and the seconds that it took."""
    mu = model.condition(item['lq'][None].to(model.device))[0]  # of the whole image
    mu, gt = center(mu, size), center(item['gt'], size).to(model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    start = time.perf_counter()
    result = sample(model.process, model.net_g, mu, sampler_named(name, steps), generator=generator)
    images = {'img': tensor2img([result]), 'img2': tensor2img([gt])}  # waits for the device
    measured = {SECONDS: time.perf_counter() - start}
    return measured | {key: float(calculate_metric(images, metric)) for key, metric in metrics.items()}


class Results:
    """Measurements of one model on images of one size, by run; saved to a file."""

    def __init__(self, path: Path, setting: dict, metrics: dict) -> None:
        self.path, self.setting, self.metrics, self.runs = path, setting, metrics, {}
        if path.is_file():
            saved = json.loads(path.read_text())
            if saved['setting'] != setting:
                raise ValueError(f'{path} holds results of another setting ({saved["setting"]}); choose another --out')
            for name in metrics.keys() & saved.get('metrics', {}).keys():
                if saved['metrics'][name] != metrics[name]:
                    raise ValueError(f'{path} was measured with other options of {name}; choose another --out')
            self.metrics, self.runs = saved.get('metrics', {}) | metrics, saved['runs']

    def add(self, key: str, measured: dict[str, float]) -> None:
        self.runs[key] = self.runs.get(key, {}) | measured
        content = {'setting': self.setting, 'metrics': self.metrics, 'runs': self.runs}
        atomic_write_text(self.path, json.dumps(content, indent=1))

    def mean(self, name: str, steps: int, images: list[str], seeds: list[int], metric: str) -> tuple[float, float]:
        """Mean over images and seeds, and the standard deviation over seeds of the mean over images."""
        runs = [[self.runs[f'{name} {steps} {seed} {image}'] for image in images] for seed in seeds]
        means = [statistics.mean(run[metric] for run in of_seed) for of_seed in runs]
        return statistics.mean(means), statistics.stdev(means) if len(means) > 1 else 0.0


def show(results: Results, args: argparse.Namespace, images: list[str], metrics: list[str]) -> None:
    """Prints one table per metric, and writes samplers.md and samplers.png: a table and a figure of all metrics."""
    figure = Figure(figsize=(4 * len(metrics), 5), layout='constrained')
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    colors, marks = colormaps['tab20'].colors, 'os^v'
    for index, metric in enumerate([*metrics, SECONDS]):
        spread = ' ± standard deviation over seeds' if len(args.seeds) > 1 else ''
        table = Table(title=f'{metric}{spread}, {len(images)} images')
        table.add_column('sampler')
        for steps in args.evaluations:
            table.add_column(str(steps), justify='right')
        for number, name in enumerate(args.samplers):
            cells = [results.mean(name, steps, images, args.seeds, metric) for steps in args.evaluations]
            digits = decimals(mean for mean, _ in cells)
            texts = (f'{mean:.{digits}f}' + (f' ± {dev:.{digits}f}' if spread else '') for mean, dev in cells)
            table.add_row(name, *texts)
            if metric != SECONDS:
                style = {'color': colors[number % 20], 'marker': marks[number % 4], 'markersize': 4}
                panels[index].plot(args.evaluations, [mean for mean, _ in cells], label=name, **style)
                panels[index].set(xscale='log', xlabel='network evaluations', title=metric)
                panels[index].set_xticks(args.evaluations, map(str, args.evaluations))
                panels[index].minorticks_off()
        Console(width=140).print(table)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize='small', ncols=4, loc='outside lower center')
    write_markdown(results, args, images, metrics)
    figure.savefig(results.path.with_name('samplers.png'), dpi=110)


def write_markdown(results: Results, args: argparse.Namespace, images: list[str], metrics: list[str]) -> None:
    """Writes one table of all metrics, one row per sampler."""
    lines = [f'| {" / ".join(metrics)} | {" | ".join(map(str, args.evaluations))} |']
    lines.append('|---' * (1 + len(args.evaluations)) + '|')
    for name in args.samplers:
        cells = []
        for steps in args.evaluations:
            means = [results.mean(name, steps, images, args.seeds, metric)[0] for metric in metrics]
            cells.append(' / '.join(f'{mean:.{decimals([mean])}f}' for mean in means))
        lines.append(f'| `{name}` | {" | ".join(cells)} |')
    results.path.with_name('samplers.md').write_text('\n'.join(lines) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, help='test option file')
    parser.add_argument('--samplers', nargs='+', default=SAMPLERS, help='samplers to compare; all of them by default')
    parser.add_argument('--evaluations', nargs='+', type=int, default=EVALUATIONS, help='numbers of evaluations')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='seeds of the noise (0)')
    parser.add_argument('--images', type=int, help='number of images, evenly spaced in the dataset; all by default')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help='crop the center of each image')
    parser.add_argument(
        '--lpips-trunk',
        metavar='FILE',
        help="weights of torchvision's AlexNet; adds LPIPS to val.metrics (extra `lpips`)",
    )
    parser.add_argument('--out', default='results/benchmark_samplers', help='folder for the numbers and the figure')
    args = parser.parse_args()
    for name in args.samplers:
        sampler_named(name)

    options = read_option_file(args.opt)
    model = build_model({**options, 'is_train': False, 'dist': False, 'num_gpu': torch.cuda.device_count()})
    model.net_g.eval()
    dataset = build_dataset({'phase': 'test', 'scale': 1, **next(iter(options['datasets'].values()))})
    count = min(args.images or len(dataset), len(dataset))
    dataset = Subset(dataset, [index * len(dataset) // count for index in range(count)])

    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = Path(options['path']['pretrain_network_g'])
    setting = {
        'opt': args.opt,
        'weights': hashlib.sha256(weights.read_bytes()).hexdigest(),
        'size': args.size,
    }
    metrics = dict(options['val'].get('metrics') or {})
    if args.lpips_trunk:
        lpips = {'type': 'calculate_lpips', 'trunk': args.lpips_trunk, 'better': 'lower'}
        metrics['lpips'] = {**lpips, 'device': str(model.device)}
    if not metrics:
        parser.error(f'{args.opt}: val.metrics names no metric to compare by')
    results, images = Results(folder / 'results.json', setting, metrics), []
    for item in tqdm(dataset, unit='image', total=count):
        images.append(Path(item['lq_path']).stem)
        runs = list(product(args.samplers, args.evaluations, args.seeds))
        for name, steps, seed in tqdm(runs, desc=images[-1], unit='run', leave=False):
            key = f'{name} {steps} {seed} {images[-1]}'
            if not metrics.keys() <= results.runs.get(key, {}).keys():
                results.add(key, measure(model, item, args.size, metrics, name, steps, seed))
    show(results, args, images, list(metrics))


if __name__ == '__main__':
    main()
