"""Time and peak memory of the entropy loss, forward and backward: the direct formula and every backend.

    python scripts/benchmark_entropy.py

One parameter is varied at a time, starting from one noisy 3x128x128 photograph, 32 levels and windows 1, 3 and 5. Each
measurement runs in a process of its own, so that its memory is that of the loss alone, without the images.
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage import data
from tqdm import tqdm

from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.entropy import neighbor_weights, reference
from basicsr_entropy.losses import SpatialEntropyLoss

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

PHOTOGRAPHS = ('astronaut', 'coffee', 'chelsea', 'rocket')
NOISE = 0.03  # standard deviation of the difference between prediction and target
DIRECT_TENSORS = 27  # tensors of B L^2 C H W floats that the direct formula holds at once (measured)
MAX_SECONDS = 3.0  # spent on repetitions


@dataclass(frozen=True)
class Case:
    levels: int = 32
    size: int = 128
    batch: int = 1
    content: str = 'photograph'  # photograph | dark | noise
    divergence: str = 'hellinger'


@dataclass(frozen=True)
class Cost:
    seconds: float
    megabytes: float


SWEEPS = {
    'levels': [Case(levels=levels) for levels in (8, 16, 32, 64)],
    'size': [Case(size=size) for size in (64, 128, 256)],
    'batch': [Case(batch=batch) for batch in (1, 8)],
    'content': [Case(content=content) for content in ('photograph', 'dark', 'noise')],
    'divergence': [Case(divergence=name) for name in ('hellinger', 'relative', 'cross', 'jensen_shannon')],
}


def images(case: Case, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and target, shape (B, 3, size, size), range of the target [0, 1]."""
    rng = np.random.default_rng(0)
    if case.content == 'noise':
        target = rng.random((case.batch, 3, case.size, case.size))
    else:
        crops = []
        for index in range(case.batch):
            photograph = getattr(data, PHOTOGRAPHS[index % len(PHOTOGRAPHS)])() / 255
            top, left = (rng.integers(0, side - case.size) for side in photograph.shape[:2])
            crop = photograph[top : top + case.size, left : left + case.size]
            if case.content == 'dark':
                crop = LowLightDegradation()(crop.astype(np.float32), rng)
            crops.append(crop.transpose(2, 0, 1))
        target = np.stack(crops)
    pred = target + NOISE * rng.standard_normal(target.shape)
    return tuple(torch.from_numpy(image).float().to(device) for image in (pred, target))


def loss_of(case: Case, backend: str):
    if backend != 'direct':
        return SpatialEntropyLoss(
            levels=case.levels, divergence=case.divergence, neighbor='gaussian', backend=backend, windows=[1, 3, 5]
        )
    weights = neighbor_weights('gaussian')
    return lambda pred, target: reference.divergence_map(
        case.divergence, pred, target, weights=weights.to(pred), levels=case.levels
    ).mean()


def resident(key: str) -> float:
    """Memory of this process in MB: VmRSS is the current value, VmHWM the peak since it was reset."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 2**10


def measure(case: Case, backend: str, device: str) -> Cost:
    """Shortest time of a forward and backward pass, and peak memory beyond the images."""
    loss = loss_of(case, backend)

    def once(pred: torch.Tensor, target: torch.Tensor) -> None:
        loss(pred.requires_grad_(), target).backward()
        if device == 'cuda':
            torch.cuda.synchronize()

    once(*images(replace(case, size=16), device))  # compiles kernels and starts threads
    pred, target = images(case, device)
    if device == 'cuda':
        once(pred, target)
        pred.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path('/proc/self/clear_refs').write_text('5')
        before = resident('VmRSS')
    seconds, start = [], time.perf_counter()
    while not seconds or (time.perf_counter() - start < MAX_SECONDS and len(seconds) < 30):
        began = time.perf_counter()
        once(pred, target)
        seconds.append(time.perf_counter() - began)
    most = torch.cuda.max_memory_allocated() / 2**20 if device == 'cuda' else resident('VmHWM')
    return Cost(min(seconds), most - (before / 2**20 if device == 'cuda' else before))


def enough_memory(case: Case, device: str) -> bool:
    """Whether the memory is enough for the direct formula."""
    needed = DIRECT_TENSORS * 4 * case.batch * 3 * case.size**2 * case.levels**2
    available = (
        torch.cuda.mem_get_info()[0] if device == 'cuda' else os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    )
    return needed < 0.7 * available


def sweep(device: str, quick: bool) -> dict[Case, dict[str, Cost | None]]:
    fast = 'triton' if device == 'cuda' else 'compiled'
    cases = list(dict.fromkeys(case for sweep in SWEEPS.values() for case in sweep))
    if quick:
        cases = [Case(levels=8), Case(levels=16), Case(levels=8, size=64)]
    results: dict[Case, dict[str, Cost | None]] = {case: {} for case in cases}
    jobs = [(case, backend) for case in cases for backend in ('direct', 'eager', fast)]
    context = multiprocessing.get_context('spawn')
    for case, backend in tqdm(jobs, unit='measurement'):
        if backend == 'direct' and not enough_memory(case, device):
            results[case][backend] = None
            continue
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            results[case][backend] = pool.submit(measure, case, backend, device).result()
    return results


def print_sweep(results: dict[Case, dict[str, Cost | None]], device: str) -> None:
    backends = list(next(iter(results.values())))
    table = Table(title=f'Entropy loss, forward and backward, {machine(device)}')
    for name in ('levels', 'size', 'batch', 'content', 'divergence'):
        table.add_column(name)
    for backend in backends:
        table.add_column(f'{backend}, s', justify='right')
        table.add_column('MB', justify='right')
    table.add_column(f'direct / {backends[-1]}', justify='right')
    for case, costs in results.items():
        row = [str(value) for value in asdict(case).values()]
        for cost in costs.values():
            row += ['does not fit', ''] if cost is None else [f'{cost.seconds:.4g}', f'{cost.megabytes:.0f}']
        direct_cost = costs['direct']
        row.append('' if direct_cost is None else f'{direct_cost.seconds / costs[backends[-1]].seconds:.0f}')
        table.add_row(*row)
    Console(width=150).print(table)


def plot_sweep(results: dict[Case, dict[str, Cost | None]], path: Path, device: str) -> None:
    """Plots time and memory against levels and image size, on logarithmic scales."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), sharey='row')
    for column, (name, unit) in enumerate({'levels': 'levels', 'size': 'side length of the image in pixels'}.items()):
        cases = [case for case in SWEEPS[name] if case in results] or list(results)[:1]
        for row, (field, label) in enumerate({'seconds': 'seconds', 'megabytes': 'MB beyond the images'}.items()):
            axis = axes[row, column]
            for backend in next(iter(results.values())):
                points = [(getattr(case, name), results[case][backend]) for case in cases]
                points = [(x, max(getattr(cost, field), 0.1 if row else 0)) for x, cost in points if cost]
                axis.plot(*zip(*points), marker='o', label=backend)
            axis.set(xscale='log', yscale='log', ylabel=label if column == 0 else None, xlabel=unit if row else None)
            axis.set_xticks([getattr(case, name) for case in cases], [str(getattr(case, name)) for case in cases])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend()
    figure.suptitle(f'Entropy loss, forward and backward: {machine(device)}', fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def machine(device: str) -> str:
    if device == 'cuda':
        return f'{torch.cuda.get_device_name()}, torch {torch.__version__}'
    names = [line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    name = names[0].partition(': ')[2] if names else platform.processor()
    return f'{torch.get_num_threads()} threads of {name}, torch {torch.__version__}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        choices=['cpu', 'cuda'],
        help='device of the loss; the GPU if there is one, by default',
    )
    parser.add_argument('--out', default='results/benchmark_entropy', help='folder for the numbers and the figure')
    parser.add_argument('--quick', action='store_true', help='three small cases only')
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)

    results = sweep(args.device, args.quick)
    rows = [
        asdict(case) | {name: cost and asdict(cost) for name, cost in costs.items()} for case, costs in results.items()
    ]
    (folder / 'entropy.json').write_text(json.dumps({'machine': machine(args.device), 'cases': rows}, indent=2))
    plot_sweep(results, folder / 'entropy.png', args.device)
    print_sweep(results, args.device)
    print(f'figure: {folder / "entropy.png"}')


if __name__ == '__main__':
    main()
