"""What a test run made of its inputs: a table of numbers and a picture of input | output | truth."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from basicsr_entropy.metrics import calculate_psnr_gt_mean

METRICS = {
    'PSNR': lambda img, gt: calculate_psnr(img, gt, 0),
    'SSIM': lambda img, gt: calculate_ssim(img, gt, 0),
    'PSNR, GT mean': calculate_psnr_gt_mean,
}
TITLE_HEIGHT = 26  # pixels of the strip above the picture
PICTURE_WIDTH = 420  # pixels of each of its three columns


class Compared(NamedTuple):
    """One image of a test run; images are uint8 BGR (H, W, 3), metrics by the names of `METRICS`."""

    name: str
    images: tuple[np.ndarray, np.ndarray, np.ndarray]  # input, output, truth
    before: dict[str, float]
    after: dict[str, float]


def results_root(options: Mapping[str, Any]) -> Path:
    """Where the test of an option file writes: path.results_root, or results/NAME."""
    asked = (options.get('path') or {}).get('results_root')
    return Path(asked).expanduser() if asked else Path('results') / options['name']


def compare_results(options: Mapping[str, Any]) -> list[Compared]:
    """Measures the outputs of a test run beside its inputs.

    Args:
        options: Content of the test option file.

    Returns:
        Images in the order of the datasets.

    Raises:
        FileNotFoundError: If an output is missing; names it.
        ValueError: If a dataset has no ground truth.
    """
    compared = []
    suffix = (options.get('val') or {}).get('suffix') or options['name']
    for dataset_options in options['datasets'].values():
        dataset = build_dataset({'phase': 'test', 'scale': options.get('scale', 1), **copy.deepcopy(dataset_options)})
        outputs = results_root(options) / 'visualization' / dataset_options['name']
        for item in tqdm(dataset, desc=f'Measure {dataset_options["name"]}', unit='image', total=len(dataset)):
            if 'gt' not in item:
                raise ValueError(f"datasets: '{dataset_options['name']}' has no ground truth to measure against")
            name = Path(item['lq_path']).stem
            path = outputs / f'{name}_{suffix}.png'
            output = cv2.imread(str(path)) if path.is_file() else None
            if output is None:
                raise FileNotFoundError(f'no output {path}; run `basicsr-entropy test` with this option file first')
            lq, gt = tensor2img([item['lq']]), tensor2img([item['gt']])
            before, after = ({key: metric(img, gt) for key, metric in METRICS.items()} for img in (lq, output))
            compared.append(Compared(name, (lq, output, gt), before, after))
    return compared


def print_table(compared: list[Compared], title: str) -> None:
    """Prints each image's metrics, input to output, and their means."""
    table = Table(title=f'{title}: input -> output')
    table.add_column('image')
    for key in METRICS:
        table.add_column(key, justify='right')
    rows = [(each.name, each.before, each.after) for each in compared]
    means = [{key: sum(row[side][key] for row in rows) / len(rows) for key in METRICS} for side in (1, 2)]
    for name, before, after in [*rows, ('mean', *means)]:
        if name == 'mean':
            table.add_section()
        table.add_row(name, *(f'{before[key]:.{_digits(key)}f} -> {after[key]:.{_digits(key)}f}' for key in METRICS))
    Console().print(table)


def _digits(metric: str) -> int:
    return 3 if metric == 'SSIM' else 2


def write_picture(compared: list[Compared], path: str | Path, most: int = 6) -> None:
    """Writes a picture with a row an image: input, output, truth.

    Args:
        compared: Images; the first `most` of them are shown.
        path: File to write; replaced if it exists.
        most: Largest number of rows.
    """
    rows = []
    for each in compared[:most]:
        height, width = each.images[0].shape[:2]
        size = (PICTURE_WIDTH, round(height * PICTURE_WIDTH / width))
        shrinks = size[0] < width
        cells = [
            cv2.resize(img, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC) for img in each.images
        ]
        titles = (
            f'input  {each.before["PSNR"]:.1f} dB',
            f'output  {each.after["PSNR"]:.1f} dB',
            f'truth  ({each.name})',
        )
        rows += [np.hstack([_title(text, size[0]) for text in titles]), np.hstack(cells)]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise OSError(f'could not write {path}')


def _title(text: str, width: int) -> np.ndarray:
    strip = np.full((TITLE_HEIGHT, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (6, TITLE_HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
