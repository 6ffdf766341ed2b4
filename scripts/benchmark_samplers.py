"""Quality of a trained model's images against the network evaluations that each sampler spends on them.

    python scripts/benchmark_samplers.py -opt options/test/LOLv1/irsde_small.yml --lpips-trunk alexnet_features.pth \\
        --images 5 --size 200 304

Model and images are those of the test option file. A sampler is named as in `val.sampler`: TYPE, or TYPE:KEY=VALUE,...
such as mr_ode:order=1,spacing=karras. Everything measured is kept in OUT/results.json at once, so the command may be
repeated after an interruption, or with more samplers, evaluations, images or seeds.
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
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.models import build_model
from basicsr.utils import tensor2img

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.config import read_option_file
from basicsr_entropy.diffusion import Sampler, sample
from basicsr_entropy.metrics import calculate_lpips, calculate_psnr_gt_mean

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
METRICS = {'PSNR': '.2f', 'PSNR, GT mean': '.2f', 'SSIM': '.3f', 'LPIPS': '.3f', 'seconds': '.2f'}


def sampler_named(name: str, steps: int | None = None) -> Sampler:
    """The sampler of TYPE:KEY=VALUE,...; raises a ValueError for an unknown key or value."""
    kind, _, rest = name.partition(':')
    options = {key: yaml.safe_load(value) for key, _, value in (one.partition('=') for one in rest.split(',') if one)}
    if not options.keys() <= {'order', 'form', 'spacing'}:
        raise ValueError(f"--samplers: '{name}': a sampler's keys are order, form and spacing")
    return Sampler(kind, steps, **options)


def centre(image: torch.Tensor, size: list[int] | None) -> torch.Tensor:
    """The middle of a (C, H, W) image, as a batch of one."""
    height, width = (min(asked, own) for asked, own in zip(size or image.shape[1:], image.shape[1:]))
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[None, :, top : top + height, left : left + width]


def measure(model, item: dict, arguments, name: str, steps: int, seed: int) -> dict[str, float]:
    """Metrics of one restored image, and the seconds that it took."""
    lq, gt = (centre(item[key], arguments.size).to(model.device) for key in ('lq', 'gt'))
    generator = torch.Generator(model.device).manual_seed(seed)
    start = time.perf_counter()
    result = sample(model.process, model.net_g, lq, sampler_named(name, steps), generator=generator)
    images = tensor2img([result]), tensor2img([gt])  # waits for the device
    measured = {'seconds': time.perf_counter() - start}
    for name, metric in (('PSNR', calculate_psnr), ('PSNR, GT mean', calculate_psnr_gt_mean), ('SSIM', calculate_ssim)):
        measured[name] = float(metric(*images, 0))
    if arguments.lpips_trunk:
        measured['LPIPS'] = calculate_lpips(*images, trunk=arguments.lpips_trunk, device=str(model.device))
    return measured


class Results:
    """What has been measured, by run: kept in a file, and only for one model and one size of images."""

    def __init__(self, path: Path, setting: dict) -> None:
        self.path, self.setting, self.runs = path, setting, {}
        if path.is_file():
            kept = json.loads(path.read_text())
            if kept['setting'] != setting:
                raise ValueError(f'{path} holds numbers of another setting ({kept["setting"]}); choose another --out')
            self.runs = kept['runs']

    def add(self, key: str, measured: dict[str, float]) -> None:
        self.runs[key] = measured
        atomic_write_text(self.path, json.dumps({'setting': self.setting, 'runs': self.runs}, indent=1))

    def mean(self, name: str, steps: int, images: list[str], seeds: list[int], metric: str) -> tuple[float, float]:
        """Mean over images and seeds, and the deviation over seeds of the images' means."""
        runs = [[self.runs[f'{name} {steps} {seed} {image}'] for image in images] for seed in seeds]
        means = [statistics.mean(run[metric] for run in of_seed) for of_seed in runs]
        return statistics.mean(means), statistics.stdev(means) if len(means) > 1 else 0.0


def show(results: Results, arguments, images: list[str]) -> None:
    """Prints a table a metric, and writes samplers.md and samplers.png, a table and a picture of all."""
    shown = [metric for metric in METRICS if metric != 'LPIPS' or arguments.lpips_trunk]
    figure = Figure(figsize=(4 * (len(shown) - 1), 5), layout='constrained')
    panels = figure.subplots(1, len(shown) - 1)
    colors, marks = colormaps['tab20'].colors, 'os^v'
    for index, metric in enumerate(shown):
        spread = ' ± deviation over seeds' if len(arguments.seeds) > 1 else ''
        table = Table(title=f'{metric}{spread}, {len(images)} images')
        table.add_column('sampler')
        for steps in arguments.evaluations:
            table.add_column(str(steps), justify='right')
        for number, name in enumerate(arguments.samplers):
            cells = [results.mean(name, steps, images, arguments.seeds, metric) for steps in arguments.evaluations]
            texts = (
                f'{mean:{METRICS[metric]}}' + (f' ± {dev:{METRICS[metric]}}' if spread else '') for mean, dev in cells
            )
            table.add_row(name, *texts)
            if metric != 'seconds':
                style = {'color': colors[number % 20], 'marker': marks[number % 4], 'markersize': 4}
                panels[index].plot(arguments.evaluations, [mean for mean, _ in cells], label=name, **style)
                panels[index].set(xscale='log', xlabel='network evaluations', title=metric)
                panels[index].set_xticks(arguments.evaluations, map(str, arguments.evaluations))
                panels[index].minorticks_off()
        Console(width=140).print(table)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize='small', ncols=4, loc='outside lower center')
    write_markdown(results, arguments, images, shown)
    figure.savefig(results.path.with_name('samplers.png'), dpi=110)


def write_markdown(results: Results, arguments, images: list[str], metrics: list[str]) -> None:
    """Writes one table of all metrics, a row a sampler."""
    quality = [metric for metric in metrics if metric != 'seconds']
    lines = [f'| {" / ".join(quality)} | {" | ".join(map(str, arguments.evaluations))} |']
    lines.append('|---' * (1 + len(arguments.evaluations)) + '|')
    for name in arguments.samplers:
        cells = [
            ' / '.join(
                f'{results.mean(name, steps, images, arguments.seeds, metric)[0]:{METRICS[metric]}}'
                for metric in quality
            )
            for steps in arguments.evaluations
        ]
        lines.append(f'| `{name}` | {" | ".join(cells)} |')
    results.path.with_name('samplers.md').write_text('\n'.join(lines) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, help='test option file')
    parser.add_argument('--samplers', nargs='+', default=SAMPLERS, help='all of them by default')
    parser.add_argument('--evaluations', nargs='+', type=int, default=EVALUATIONS)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--images', type=int, help='how many of the set, evenly spread over it; all by default')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help='take the middle of each image')
    parser.add_argument('--lpips-trunk', help="file with the weights of LPIPS' AlexNet; no LPIPS without it")
    parser.add_argument('--out', default='results/benchmark_samplers', help='folder for the numbers and the picture')
    arguments = parser.parse_args()
    for name in arguments.samplers:
        sampler_named(name)

    options = read_option_file(arguments.opt)
    model = build_model({**options, 'is_train': False, 'dist': False, 'num_gpu': torch.cuda.device_count()})
    model.net_g.eval()
    dataset = build_dataset({'phase': 'test', 'scale': 1, **next(iter(options['datasets'].values()))})
    count = min(arguments.images or len(dataset), len(dataset))
    dataset = Subset(dataset, [index * len(dataset) // count for index in range(count)])

    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = Path(options['path']['pretrain_network_g'])
    setting = {
        'opt': arguments.opt,
        'weights': hashlib.sha256(weights.read_bytes()).hexdigest(),
        'size': arguments.size,
    }
    results, images = Results(folder / 'results.json', setting), []
    for item in tqdm(dataset, unit='image', total=count):
        images.append(Path(item['lq_path']).stem)
        runs = list(product(arguments.samplers, arguments.evaluations, arguments.seeds))
        for name, steps, seed in tqdm(runs, desc=images[-1], unit='run', leave=False):
            key = f'{name} {steps} {seed} {images[-1]}'
            wanted = {'LPIPS'} if arguments.lpips_trunk else {'PSNR'}
            if not wanted <= results.runs.get(key, {}).keys():
                results.add(key, measure(model, item, arguments, name, steps, seed))
    show(results, arguments, images)


if __name__ == '__main__':
    main()
