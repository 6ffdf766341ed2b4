"""Measures how reliably `basicsr-entropy check` finds faults, on pairs and a JPEG file of yours.

    python scripts/measure_check.py --root datasets/LOLv1 --jpeg photograph.jpg

For each split it prints the number of pairs that are reported as nearly black, how dark the darkest are, and the share
of pairs that are reported as misaligned: as they are (0 pixels), and after a displacement of the ground truth in a
random direction. For the JPEG file it prints how many of its copies with one flipped bit are refused, told of, or
decoded in silence.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from basicsr_entropy._images import decode_image, jpeg_damage, to_float, verifies_jpeg
from basicsr_entropy.data.checks import scenes
from basicsr_entropy.data.checks.check import MAX_SHIFT, MIN_HIGHLIGHT, MIN_LUMA
from basicsr_entropy.data.sets.splits import Split, find_splits

BORDER = 8  # pixels that are cut off, so that a displacement moves nothing in that was not there


def luma(image: np.ndarray) -> np.ndarray:
    return to_float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def shift_rates(split: Split, shifts: list[float]) -> tuple[list[float], list[tuple[float, float]]]:
    """Share of pairs found to be misaligned, by shift in pixels; mean and 99th percentile of the low-light images."""
    rng = np.random.default_rng(0)
    found, levels = np.zeros(len(shifts)), []
    for pair in track(split.pairs, split.title):
        with split.open('lq', pair.lq) as lq, split.open('gt', pair.gt) as gt:
            dark, bright = luma(lq), gt.copy()
        levels.append((float(dark.mean()), float(np.percentile(dark, 99))))
        inner = np.s_[BORDER:-BORDER, BORDER:-BORDER]
        for index, distance in enumerate(shifts):
            angle = rng.uniform(0, 2 * np.pi)
            matrix = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]])
            moved = (
                cv2.warpAffine(bright, matrix, bright.shape[1::-1], flags=cv2.INTER_LANCZOS4) if distance else bright
            )
            dx, dy, response = scenes.shift(dark[inner], luma(moved)[inner])
            found[index] += response >= scenes.RELATED_RESPONSE and np.hypot(dx, dy) > MAX_SHIFT
    return list(found / len(split.pairs)), levels


def flipped_bits(content: bytes, count: int) -> dict[str, int]:
    """How copies of a JPEG file with one flipped bit are received."""
    rng = np.random.default_rng(0)
    whole = decode_image(content, 'the file')
    received = {'refused': 0, 'told of': 0, 'silent, other pixels': 0, 'silent, same pixels': 0}
    for _ in track(range(count), 'flipped bits'):
        damaged = bytearray(content)
        position = int(rng.integers(8 * len(content)))
        damaged[position // 8] ^= 1 << position % 8
        try:
            image = decode_image(bytes(damaged), 'the file')
        except ValueError:
            received['refused'] += 1
            continue
        same = np.array_equal(image, whole)
        silent = 'silent, same pixels' if same else 'silent, other pixels'
        received['told of' if jpeg_damage(bytes(damaged)) else silent] += 1
    return received


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', help='data root with aligned pairs')
    parser.add_argument('--shifts', type=float, nargs='+', default=[0, 0.5, 1, 1.5, 2, 3], help='in pixels, at most 8')
    parser.add_argument('--jpeg', help='JPEG file in which bits are flipped')
    parser.add_argument('--flips', type=int, default=300, help='number of copies with a flipped bit')
    args = parser.parse_args()
    if not args.root and not args.jpeg:
        parser.error('give --root, --jpeg, or both')
    if max(map(abs, args.shifts)) > BORDER:
        parser.error(f'--shifts: at most {BORDER} pixels')
    if args.jpeg and not verifies_jpeg():
        parser.error('--jpeg needs the extra jpeg: pip install simplejpeg')
    console = Console(highlight=False)
    if args.root:
        table = Table(
            'split', 'pairs', *(f'{shift:g} px' for shift in args.shifts), title=f'misaligned: > {MAX_SHIFT} px'
        )
        for split in find_splits(args.root):
            rates, levels = shift_rates(split, args.shifts)
            table.add_row(split.name, str(len(levels)), *(f'{100 * rate:.1f} %' for rate in rates))
            black = sum(mean < MIN_LUMA['lq'] or high < MIN_HIGHLIGHT for mean, high in levels)
            mean, high = (255 * min(values) for values in zip(*levels))
            console.print(f'{split.name}: {black} nearly black; lowest mean {mean:.1f}, 99th percentile {high:.0f}')
        console.print(table)
    if args.jpeg:
        received = flipped_bits(Path(args.jpeg).read_bytes(), args.flips)
        console.print(f'{args.flips} flipped bits:', ', '.join(f'{count} {what}' for what, count in received.items()))


if __name__ == '__main__':
    main()
