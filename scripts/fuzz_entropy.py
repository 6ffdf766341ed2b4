"""Random cases of the entropy loss: every backend against an oracle in float64 that shares no code with the package.

    python scripts/fuzz_entropy.py --cases 2000

The oracle computes every bin at every pixel in numpy, and a derivative along a random direction by a complex step,
which has no rounding error of its own. Options, images and neighbor weights are drawn from a seed, so that a case can
be repeated alone with `--first`. To run the C kernel under the address sanitizer:

    CC='env -u LD_PRELOAD gcc -g -fsanitize=address' XDG_CACHE_HOME=/tmp/sanitized ASAN_OPTIONS=detect_leaks=0 \\
        LD_PRELOAD=$(gcc -print-file-name=libasan.so) python scripts/fuzz_entropy.py --cases 2000
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

if not os.path.exists('/dev/nvidiactl'):
    os.environ.setdefault('TRITON_INTERPRET', '1')  # read when triton is imported, which torch may do

import torch
from tqdm import tqdm

from basicsr_entropy.entropy import DensityOptions, spatial_divergence, spatial_entropy

EPS = 1e-10
STEP = 1e-30  # of the complex step
# a library is compiled for each divergence, number of levels and set of windows, so these are few
LEVELS = (2, 9, 20)
WINDOWS = ((3,), (1, 3, 5), (9, 1), 'global')
DIVERGENCES = ('hellinger', 'relative', 'cross', 'jensen_shannon', 'shannon')
TRUNCATION = 7e-4  # bound on the error of a pixel from bins that fast backends skip, derived in compiled.py
TRITON_EVERY = 40  # cases; without a GPU, Triton's interpreter takes seconds for a few pixels


@dataclass(frozen=True)
class Case:
    """Options and images of one case; the images are (N, C, H, W) in float64, the neighbor weights (3, 3)."""

    divergence: str
    options: dict[str, Any]
    pred: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    pixel_weight: np.ndarray
    direction: np.ndarray

    def __str__(self) -> str:
        return f'{self.divergence}, {self.pred.shape}, {self.options}'


def random_case(rng: np.random.Generator) -> Case:
    """Draws a case: images from smooth to noise, near each other or far, partly outside of the range of values."""
    options = {
        'levels': int(rng.choice(LEVELS)),
        'kernel': str(rng.choice(['logistic', 'sech', 'gaussian'])),
        'windows': WINDOWS[rng.integers(len(WINDOWS))],
        'neighbor_norm': str(rng.choice(['channel', 'published'])),
        'unit_mass': bool(rng.integers(2)),
        'clamp_grad': str(rng.choice(['zero', 'straight_through'])),
        'bandwidth': float(np.exp(rng.uniform(np.log(0.2), np.log(2)))),
    }
    if rng.random() < 0.2:
        options['bandwidth'] = 'silverman'
    low = float(rng.choice([0, -1, 0.1]))
    options['value_range'] = (low, low + float(rng.choice([1, 0.5, 2])))
    channels = int(rng.choice([1, 3]))
    options['gray'] = channels == 3 and bool(rng.integers(2))
    shape = (int(rng.integers(1, 3)), channels, int(rng.integers(1, 10)), int(rng.integers(1, 10)))
    target = rng.random(shape)
    if rng.random() < 0.3:  # constant or dark
        target = np.full(shape, rng.random()) if rng.integers(2) else target / 10
    pred = target + 10 ** rng.uniform(-2.5, 0) * rng.standard_normal(shape)
    scale = options['value_range'][1] - low
    # to the precision of float32, so that every backend is given the same images
    pred, target = ((low + scale * image).astype(np.float32).astype(np.float64) for image in (pred, target))
    weights = rng.random((3, 3)) if rng.random() < 0.7 else rng.standard_normal((3, 3))
    weights[1, 1] = 0
    if abs(weights.sum()) < 0.05:
        weights[0, 0] += 0.5
    map_shape = (
        shape[0],
        1 if options['gray'] else channels,
        *((1, 1) if options['windows'] == 'global' else shape[2:]),
    )
    pixel_weight, direction = rng.random(map_shape), rng.standard_normal(shape)
    divergence = str(rng.choice(DIVERGENCES))
    if divergence == 'shannon':  # of one image, whose spread also gives the bandwidth
        target = pred
    return Case(divergence, options, pred, target, weights, pixel_weight, direction)


def oracle(case: Case) -> tuple[float, float]:
    """The weighted sum of the map, and its derivative along the direction."""
    low, high = case.options['value_range']
    values = []
    for image in (case.target, case.pred + 1j * STEP * case.direction):
        if case.options['gray']:
            image = np.einsum('c,nchw->nhw', [0.299, 0.587, 0.114], image)[:, None]
        # a derivative at values outside the range is 0, or that at the nearest end of the range
        inside = (image.real >= low) & (image.real <= high)
        slope = 1 if case.options['clamp_grad'] == 'straight_through' else inside
        clamped = np.clip(image.real, low, high) + 1j * slope * image.imag
        values.append((clamped - low) / (high - low) * (case.options['levels'] - 1))
    values[0] = values[0].real
    bandwidth = _bandwidth(case, values[0])
    p_windows, q_windows = (_densities(case, value, bandwidth) for value in values)
    maps = [_divergence(case.divergence, p, q) for p, q in zip(p_windows, q_windows)]
    result = (sum(maps) / len(maps) * case.pixel_weight).sum()
    return float(result.real), float(result.imag / STEP)


def _bandwidth(case: Case, target: np.ndarray) -> np.ndarray:
    """(N, C, 1, 1), in levels."""
    bandwidth = case.options['bandwidth']
    if bandwidth != 'silverman':
        return np.full((*target.shape[:2], 1, 1), bandwidth)
    std = {'logistic': np.pi / np.sqrt(3), 'sech': np.pi / 2, 'gaussian': 1.0}[case.options['kernel']]
    pixels = target.shape[2] * target.shape[3]
    return np.maximum(target.std(axis=(2, 3), keepdims=True) * pixels ** (-1 / 6) / std, 0.5)


def _densities(case: Case, value: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
    """Joint densities (N, C, L, L, H, W) of value and neighbor value for each window."""
    options, (height, width) = case.options, value.shape[2:]
    published = options['neighbor_norm'] == 'published'
    kernel = case.weights / (case.weights.sum() * (value.shape[1] if published else 1))
    padded = np.pad(value, ((0, 0), (0, 0), (1, 1), (1, 1)))
    neighbor = sum(kernel[i, j] * padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
    a, b = (_kernel(case, each, h) for each in (value, neighbor))
    scale = 1 if options['unit_mass'] else (2 / h if published else 1 / h**2)
    joint = a[:, :, :, None] * b[:, :, None] * (scale * np.ones_like(h))[:, :, None, None]
    if options['windows'] == 'global':
        return [joint.mean(axis=(4, 5), keepdims=True)]
    results = []
    for side in options['windows']:
        radius = side // 2
        sums = np.zeros((*joint.shape[:4], height + 1 + 2 * radius, width + 1 + 2 * radius), joint.dtype)
        sums[..., 1 + radius : height + 1 + radius, 1 + radius : width + 1 + radius] = joint
        total = sum(
            sums[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy in range(side) for dx in range(side)
        )
        results.append(total / side**2)
    return results


def _kernel(case: Case, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Densities (N, C, L, H, W) of values x at the levels."""
    v = (np.arange(case.options['levels'])[:, None, None] - x[:, :, None]) / h[:, :, None]
    v = np.where(v.real < 0, -v, v)  # the kernels are even
    if case.options['kernel'] == 'gaussian':
        exponent, rest = -0.5 * v * v, np.sqrt(1 / (2 * np.pi))
    elif case.options['kernel'] == 'sech':
        exponent, rest = -v, 2 / np.pi / (1 + np.exp(-2 * v))
    else:
        exponent, rest = -v, 1 / (1 + np.exp(-v)) ** 2
    if not case.options['unit_mass']:
        return np.exp(exponent) * rest
    density = np.exp(exponent - exponent.real.max(axis=2, keepdims=True)) * rest
    return density / density.sum(axis=2, keepdims=True)


def _divergence(name: str, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(N, C, H, W) from joint densities; p is real."""
    if name == 'hellinger':
        root_q = np.sqrt(np.where(q.real > 0, q, 1)) * (q.real > 0)
        total = (0.5 * (np.sqrt(p) - root_q) ** 2).sum(axis=(2, 3))
        return np.sqrt(np.where(total.real > 0, total, 1)) * (total.real > 0)
    if name == 'relative':
        terms = p * (np.log(p + EPS) - np.log(q + EPS))
    elif name == 'cross':
        terms = -p * np.log(q + EPS)
    elif name == 'shannon':
        terms = -q * np.log(q + EPS)
    else:
        log_middle = np.log((p + q) / 2 + EPS)
        terms = (p * (np.log(p + EPS) - log_middle) + q * (np.log(q + EPS) - log_middle)) / 2
    return terms.sum(axis=(2, 3))


def computed(case: Case, backend: str, dtype: torch.dtype) -> tuple[float, float, float]:
    """Of a backend: the weighted sum, its derivative along the direction, and the norm of its gradient."""
    device = 'cuda' if backend == 'triton' and torch.cuda.is_available() else 'cpu'
    pred, target, pixel_weight = (
        torch.from_numpy(each).to(device, dtype) for each in (case.pred, case.target, case.pixel_weight)
    )
    weights, options = torch.from_numpy(case.weights).to(device), DensityOptions(**case.options)
    pred.requires_grad_()
    if case.divergence == 'shannon':
        result = (spatial_entropy(pred, weights, options, backend) * pixel_weight).sum()
    else:
        result = spatial_divergence(pred, target, weights, case.divergence, options, pixel_weight, backend)
    (gradient,) = torch.autograd.grad(result, pred)
    along = (gradient.double().cpu() * torch.from_numpy(case.direction)).sum().item()
    return result.item(), along, gradient.double().norm().item()


def faults(case: Case, backends: Sequence[tuple[str, torch.dtype]]) -> list[str]:
    """What backends compute wrongly; empty if every value and derivative agrees with the oracle."""
    value, along = oracle(case)
    problems = []
    for backend, dtype in backends:
        exact = dtype == torch.float64
        truncated = backend != 'eager' and case.divergence in ('relative', 'cross')
        actual, actual_along, norm = computed(case, backend, dtype)
        # rounding is relative to the sum of the densities' masses and to the gradient of all pixels
        each = TRUNCATION if truncated else 1e-10 if exact else 2e-5
        value_bound = (1e-9 if exact else 1e-4) * abs(value) + each * case.pixel_weight.sum()
        slope_bound = (1e-8 if exact else 5e-4) * norm * np.linalg.norm(case.direction) + (1e-9 if exact else 1e-4)
        for name, got, right, bound in (
            ('value', actual, value, value_bound),
            ('derivative', actual_along, along, slope_bound),
        ):
            if not abs(got - right) <= bound:
                problems.append(f'{backend} {dtype}: {name} {got:.9g} instead of {right:.9g} (bound {bound:.2g})')
    return problems


def cases(seed: int, first: int, count: int):
    """(index, case): each case has a generator of its own."""
    for index in range(first, first + count):
        yield index, random_case(np.random.default_rng([seed, index]))


def smaller(case: Case) -> Case:
    """The case with few levels, pixels and windows, for Triton's interpreter."""
    options = {**case.options, 'levels': min(case.options['levels'], 8)}
    if options['windows'] != 'global':
        options['windows'] = (1, 3)
    part = np.s_[:1, :, :2, :2]
    rest = {name: getattr(case, name)[part] for name in ('pred', 'target', 'pixel_weight', 'direction')}
    return Case(case.divergence, options, weights=case.weights, **rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=int, default=2000)
    parser.add_argument('--first', type=int, default=0, help='index of the first case')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    wrong = 0
    for index, case in tqdm(cases(args.seed, args.first, args.cases), total=args.cases, unit='case'):
        problems = faults(case, [('eager', torch.float64), ('eager', torch.float32), ('compiled', torch.float32)])
        if find_spec('triton') and index % TRITON_EVERY == 0:
            problems += faults(case if torch.cuda.is_available() else smaller(case), [('triton', torch.float32)])
        for problem in problems:
            tqdm.write(f'case {index}: {case}: {problem}')
        wrong += bool(problems)
    print(f'{args.cases} cases, {wrong} off')
    sys.exit(wrong > 0)


if __name__ == '__main__':
    main()
