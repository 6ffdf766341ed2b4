"""Tables and figures of an experiment that `scripts/experiment.py` ran.

    python scripts/report_experiment.py results/losses --against l1 --dataroot datasets/LOLv1

Writes into the folder: `table.md`, mean and standard deviation over seeds; `differences.md`, paired differences to one
arm with 95 % intervals; `tradeoff.png`, LPIPS or another metric against PSNR after scaling to the mean of the ground
truth; `curves.png`, metrics against the weight of the loss or another number, where that is in the names of the arms;
`crops.png`, crops of the outputs side by side. A paired difference is taken image by image, with the seeds of an arm
averaged; its interval is the bootstrap over images, which says what other images may give. What other seeds may give is
in the standard deviations.
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
TITLES = {
    'psnr': 'PSNR',
    'ssim': 'SSIM',
    'psnr_gt_mean': 'PSNR, GT mean',
    'ssim_gt_mean': 'SSIM, GT mean',
    'lpips': 'LPIPS',
    'lpips_gt_mean': 'LPIPS, GT mean',
    'niqe': 'NIQE',
    'entropy': 'distance',
    'entropy_aligned': 'distance, aligned',
    'detail': 'detail',
}
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


def metrics_of(arms: dict[str, dict[int, Metrics]]) -> list[str]:
    """Names of the metrics that all images of all arms have."""
    images = [image for seeds in arms.values() for metrics in seeds.values() for image in metrics.values()]
    return [name for name in images[0] if all(name in image for image in images)]


def row(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'


def table(arms: dict[str, dict[int, Metrics]], names: list[str]) -> str:
    """Mean and standard deviation over the seeds of each arm, as Markdown."""
    count = len(next(iter(next(iter(arms.values())).values())))
    lines = [row(f'{count} images', 'seeds', *(TITLES[name] for name in names)), f'|{"---|" * (len(names) + 2)}']
    for arm, seeds in arms.items():
        cells = []
        for name in names:
            values, digits = [mean_of(metrics, name) for metrics in seeds.values()], DIGITS[name]
            spread = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
            cells.append(f'{statistics.fmean(values):.{digits}f}{spread}')
        lines.append(row(arm, ', '.join(map(str, sorted(seeds))), *cells))
    return '\n'.join(lines) + '\n'


def difference(one: dict[int, Metrics], other: dict[int, Metrics], name: str) -> tuple[float, float, float]:
    """Mean difference of the seeds and images that both have, and the ends of its 95 % interval."""
    seeds = sorted(one.keys() & other.keys())
    images = sorted(set.intersection(*(set(arm[seed]) for arm in (one, other) for seed in seeds)))
    each = np.array([[one[s][i][name] - other[s][i][name] for i in images] for s in seeds]).mean(axis=0)
    draws = np.random.default_rng(0).choice(each, (RESAMPLES, len(each))).mean(axis=1)
    return float(each.mean()), *map(float, np.quantile(draws, (0.025, 0.975)))


def differences(arms: dict[str, dict[int, Metrics]], names: list[str], against: str) -> str:
    """Paired differences of the other arms to one, over the seeds that both have, as Markdown."""
    lines = [row(f'less {against}', 'seeds', *(TITLES[name] for name in names)), f'|{"---|" * (len(names) + 2)}']
    for arm, seeds in arms.items():
        shared = sorted(seeds.keys() & arms[against].keys())
        if arm == against or not shared:
            continue
        cells = []
        for name in names:
            mean, low, high = difference(seeds, arms[against], name)
            digits = DIGITS[name]
            cells.append(f'{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]')
        lines.append(row(arm, ', '.join(map(str, shared)), *cells))
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
    axis.set(xlabel=TITLES[name], ylabel='PSNR after scaling to the mean of the ground truth, dB')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_curves(arms: dict[str, dict[int, Metrics]], names: list[str], label: str, path: Path) -> None:
    """Metrics against the number in the names of arms: NAME_NUMBER or NAME_NUMBER_stepsNUMBER.

    Every NAME with several numbers is a curve; without any, nothing is drawn. Bars are standard deviations over seeds.
    """
    families: dict[str, list[tuple[float, dict[int, Metrics]]]] = defaultdict(list)
    for arm, seeds in arms.items():
        if found := re.fullmatch(r'(.+?)_(\d+(?:\.\d+)?)((?:_steps\d+)?)', arm):
            families[found[1] + found[3]].append((float(found[2]), seeds))
    families = {family: sorted(each, key=lambda point: point[0]) for family, each in families.items() if len(each) > 1}
    if not families:
        return
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 4))
    for name, axis in zip(names, axes):
        for family, points in families.items():
            values = [[mean_of(metrics, name) for metrics in seeds.values()] for _, seeds in points]
            spread = [statistics.stdev(each) if len(each) > 1 else 0 for each in values]
            numbers, means = [number for number, _ in points], [statistics.fmean(each) for each in values]
            axis.errorbar(numbers, means, spread, marker='o', capsize=3, label=family)
        axis.set(xscale='log', xlabel=label, ylabel=TITLES[name])
        axis.grid(alpha=0.3)
    ticks = sorted({number for points in families.values() for number, _ in points})
    for axis in axes:
        axis.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
        axis.minorticks_off()
    axes[0].legend(fontsize=8)
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
    parser.add_argument('--metrics', nargs='+', help='metrics of the tables; by default those that all images have')
    parser.add_argument('--x', help='metric that the figures show beside PSNR (lpips, or ssim without it)')
    parser.add_argument('--number', default='weight', help='axis label for the numbers in the names of arms (weight)')
    parser.add_argument('--dataroot', type=Path, help='root folder of LOL v1; draws crops')
    args = parser.parse_args()
    results = json.loads((args.folder / 'results.json').read_text())
    wanted = list(dict.fromkeys([args.against, *args.arms])) if args.arms else None
    if missing := sorted({args.against, *(wanted or ())} - {name.rpartition('_seed')[0] for name in results}):
        parser.error(f'{args.folder}/results.json has no arm {", ".join(missing)}')
    arms = by_arm(results, wanted)
    common = metrics_of(arms)
    names, shown = args.metrics or common, args.x or ('lpips' if 'lpips' in common else 'ssim')
    if missing := [name for name in (*names, shown) if name not in common]:
        parser.error(f'{args.folder}/results.json lacks {", ".join(missing)} in some image of {", ".join(arms)}')
    text = {'table.md': table(arms, names), 'differences.md': differences(arms, names, args.against)}
    for file, content in text.items():
        (args.folder / file).write_text(content)
        print(content)
    draw_tradeoff(arms, shown, args.folder / 'tradeoff.png')
    draw_curves(arms, [*dict.fromkeys((shown, 'ssim', 'psnr_gt_mean'))], args.number, args.folder / 'curves.png')
    if args.dataroot:
        seed = min(set.intersection(*(set(seeds) for seeds in arms.values())))
        draw_crops(args.folder, list(arms), args.dataroot, seed, args.folder / 'crops.png')


if __name__ == '__main__':
    main()
