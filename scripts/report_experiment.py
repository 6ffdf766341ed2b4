"""Tables and figures of an experiment that `scripts/experiment.py` ran.

    python scripts/report_experiment.py results/losses --against l1 --dataroot datasets/LOLv1

Writes into the folder: `table.md`, mean and standard deviation over seeds; `differences.md`, paired differences to one
arm with 95 % intervals; `tradeoff.png`, LPIPS or another metric against PSNR after scaling to the mean of the ground
truth; `crops.png`, crops of the outputs side by side. A paired difference is taken image by image, with the seeds of an
arm averaged; its interval is the bootstrap over images, which says what other images may give. What other seeds may
give is in the standard deviations.
"""

import argparse
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

RESAMPLES = 10000
Metrics = dict[str, dict[str, float]]  # by image and metric
DIGITS = defaultdict(lambda: 3, psnr=2, psnr_gt_mean=2, detail=2, niqe=2)
CROP = 96  # side of a crop in pixels, at most


def by_arm(results: dict[str, Metrics], wanted: list[str] | None) -> dict[str, dict[int, Metrics]]:
    """Metrics by arm and seed, of the images that all of these models have."""
    models = {tuple(re.fullmatch(r'(.+)_seed(\d+)', name).groups()): metrics for name, metrics in results.items()}
    models = {(arm, int(seed)): metrics for (arm, seed), metrics in models.items() if not wanted or arm in wanted}
    shared = set.intersection(*(set(metrics) for metrics in models.values()))
    arms: dict[str, dict[int, Metrics]] = defaultdict(dict)
    for arm, seed in models:
        arms[arm][seed] = {image: models[arm, seed][image] for image in sorted(shared)}
    return {arm: arms[arm] for arm in wanted or arms}


def mean_of(metrics: Metrics, name: str) -> float:
    return statistics.fmean(each[name] for each in metrics.values())


def table(arms: dict[str, dict[int, Metrics]], names: list[str]) -> str:
    lines = [f'| arm | seeds | images | {" | ".join(names)} |', f'|---|---|---|{"---|" * len(names)}']
    for arm, seeds in arms.items():
        cells = []
        for name in names:
            values, digits = [mean_of(metrics, name) for metrics in seeds.values()], DIGITS[name]
            spread = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
            cells.append(f'{statistics.fmean(values):.{digits}f}{spread}')
        count = len(next(iter(seeds.values())))
        lines.append(f'| {arm} | {", ".join(map(str, sorted(seeds)))} | {count} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def difference(one: dict[int, Metrics], other: dict[int, Metrics], name: str) -> tuple[float, float, float]:
    """Mean difference of the seeds and images that both have, and the ends of its 95 % interval."""
    seeds = sorted(one.keys() & other.keys())
    images = sorted(set.intersection(*(set(arm[seed]) for arm in (one, other) for seed in seeds)))
    each = np.array([[one[s][i][name] - other[s][i][name] for i in images] for s in seeds]).mean(axis=0)
    draws = np.random.default_rng(0).choice(each, (RESAMPLES, len(each))).mean(axis=1)
    return float(each.mean()), *map(float, np.quantile(draws, (0.025, 0.975)))


def differences(arms: dict[str, dict[int, Metrics]], names: list[str], against: str) -> str:
    lines = [f'| arm less {against} | seeds | {" | ".join(names)} |', f'|---|---|{"---|" * len(names)}']
    for arm, seeds in arms.items():
        shared = sorted(seeds.keys() & arms[against].keys())
        if arm == against or not shared:
            continue
        cells = []
        for name in names:
            mean, low, high = difference(seeds, arms[against], name)
            digits = DIGITS[name]
            cells.append(f'{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]')
        lines.append(f'| {arm} | {", ".join(map(str, shared))} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def draw_tradeoff(arms: dict[str, dict[int, Metrics]], name: str, path: Path) -> None:
    """PSNR after scaling against another metric; arms of one loss at several weights or steps are joined.

    Points of arms in several numbers of steps are labelled with these, others with the name of the arm.
    """
    families: dict[str, list[tuple[list[float], tuple[float, ...]]]] = defaultdict(list)
    figure, axis = plt.subplots(figsize=(7.5, 5.5))
    for arm, seeds in arms.items():
        points = [(mean_of(each, name), mean_of(each, 'psnr_gt_mean')) for each in seeds.values()]
        center = tuple(np.mean(points, axis=0))
        numbers = [float(each) for each in re.findall(r'\d+(?:\.\d+)?', arm)]
        families[re.sub(r'_(steps)?\d+(?=$|_)', '', arm)].append((numbers, center))
        axis.annotate(arm.rpartition('_steps')[2], center, fontsize=7, xytext=(4, 4), textcoords='offset points')
    for family, points in families.items():
        axis.plot(*zip(*(center for _, center in sorted(points))), marker='o', label=family)
    axis.set(xlabel=name, ylabel='PSNR after scaling to the mean of the ground truth, dB')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_crops(folder: Path, arms: list[str], dataroot: Path, seed: int, path: Path) -> None:
    """The most detailed crop of six images: input, each arm, ground truth."""
    outputs = {arm: sorted((folder / 'results' / f'{arm}_seed{seed}').rglob('*_out.png')) for arm in arms}
    names = sorted(
        set.intersection(*({each.stem.removesuffix('_out') for each in found} for found in outputs.values()))
    )
    rows = names[:: max(1, len(names) // 6)][:6]
    figure, axes = plt.subplots(len(rows), len(arms) + 2, figsize=(2.1 * (len(arms) + 2), 2.15 * len(rows)))
    for name, line in zip(rows, np.atleast_2d(axes)):
        truth, low = (plt.imread(dataroot / 'eval15' / part / f'{name}.png')[..., :3] for part in ('high', 'low'))
        detail = np.hypot(*np.gradient(truth.mean(axis=2)))
        last = [max(1, side - CROP) for side in truth.shape[:2]]
        corners = [(y, x) for y in range(0, last[0], 32) for x in range(0, last[1], 32)]
        y, x = max(corners, key=lambda corner: detail[corner[0] :, corner[1] :][:CROP, :CROP].mean())
        images = {'input, scaled': np.clip(low * truth.mean() / low.mean(), 0, 1)}
        for arm, found in outputs.items():
            images[arm] = plt.imread(next(each for each in found if each.stem == f'{name}_out'))[..., :3]
        images['ground truth'] = truth
        for (title, image), axis in zip(images.items(), line):
            axis.imshow(image[y : y + CROP, x : x + CROP], interpolation='nearest')
            axis.set(xticks=[], yticks=[])
            if name == rows[0]:
                axis.set_title(title, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='folder that the experiment wrote')
    parser.add_argument('--against', default='l1', help='arm to which the others are compared (l1)')
    parser.add_argument(
        '--arms', nargs='+', help='arms to show; all by default. Only images that all of them have are counted'
    )
    parser.add_argument('--metrics', nargs='+', help='metrics of the tables; all by default')
    parser.add_argument('--x', default='lpips', help='metric on the horizontal axis of the figure (lpips)')
    parser.add_argument('--dataroot', type=Path, help='root folder of LOL v1; draws crops')
    args = parser.parse_args()
    results = json.loads((args.folder / 'results.json').read_text())
    wanted = list(dict.fromkeys([args.against, *args.arms])) if args.arms else None
    if missing := sorted({args.against, *(wanted or ())} - {name.rpartition('_seed')[0] for name in results}):
        parser.error(f'{args.folder}/results.json has no arm {", ".join(missing)}')
    arms = by_arm(results, wanted)
    names = args.metrics or list(next(iter(next(iter(next(iter(arms.values())).values())).values())))
    text = {'table.md': table(arms, names), 'differences.md': differences(arms, names, args.against)}
    for file, content in text.items():
        (args.folder / file).write_text(content)
        print(content)
    draw_tradeoff(arms, args.x, args.folder / 'tradeoff.png')
    if args.dataroot:
        seed = min(set.intersection(*(set(seeds) for seeds in arms.values())))
        draw_crops(args.folder, list(arms), args.dataroot, seed, args.folder / 'crops.png')


if __name__ == '__main__':
    main()
