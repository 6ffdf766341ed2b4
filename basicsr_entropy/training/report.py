"""Report of a test run: a table of metrics, input -> output, and a picture of input | outputs | ground truth."""

import copy
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from basicsr_entropy._images import atomic_write_image
from basicsr_entropy.config.folders import output_folder
from basicsr_entropy.config.sections import LOWER_IS_BETTER
from basicsr_entropy.metrics.full_reference import measurable
from basicsr_entropy.training.metrics_file import METRICS_FILE, read_metrics

TITLE_HEIGHT = 26  # pixels of the strip above each row of the picture
PICTURE_WIDTH = 420  # pixels of each of its columns
PICTURE_ROWS = 6  # images in the picture, the first ones of the test
OUTPUT, TRUTH = 'output', 'ground truth'
AGAIN = 'run `basicsr-entropy test` with this option file again'


Enhance = Callable[[np.ndarray], np.ndarray]  # of a BGR image (H, W, 3), uint8


class ReportedImage(NamedTuple):
    """One image of a test run.

    Attributes:
        dataset: Name of its dataset.
        name: File name of the input, without its suffix.
        input_metrics: Metrics of the input, by their names under val.metrics.
        output_metrics: Metrics of the output, likewise.
        others: Metrics of other outputs that are shown beside it, by their names.
        cells: Input, output, other outputs and, where there is one, ground truth as the picture shows them, by their
            titles: uint8 BGR, shape (H, PICTURE_WIDTH, 3). Empty for images that the picture does not show.
    """

    dataset: str
    name: str
    input_metrics: dict[str, float]
    output_metrics: dict[str, float]
    others: dict[str, dict[str, float]]
    cells: dict[str, np.ndarray]


class Report(NamedTuple):
    """A test run beside its inputs.

    Attributes:
        metrics: Options of each metric, by its name under val.metrics. Images without ground truth have fewer.
        images: In the order of the datasets.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    images: list[ReportedImage]


def compare_results(options: Mapping[str, Any], others: Mapping[str, Enhance] | None = None) -> Report:
    """Reads the metrics and images that a test run wrote, and measures its inputs with the same metrics.

    An input smaller than its output, of a model that enlarges, is enlarged to the size of the output (bicubic) first.

    Args:
        options: Content of the test option file.
        others: Other ways to enhance the inputs, by name, which the picture shows beside the output.

    Raises:
        FileNotFoundError: If the metrics file or an output is missing; names it.
        ValueError: If the metrics or datasets of the option file are not those of the test run, or the test wrote no
            images.
    """
    tested = read_metrics(options)
    metrics = (options.get('val') or {}).get('metrics') or {}
    for name, metric in metrics.items():
        if tested['metrics'].get(name) != metric:
            raise ValueError(f'val.metrics.{name}: not measured with these options in {_file(options)}; {AGAIN}')
    if sorted(tested['datasets']) != sorted(options['datasets']):
        raise ValueError(
            f'datasets: {_file(options)} has {", ".join(tested["datasets"]) or "none"}, the option file '
            f'{", ".join(options["datasets"])}; {AGAIN}'
        )
    images: list[ReportedImage] = []
    for key, results in tested['datasets'].items():
        for item, result in _paired_items(options, key, results):
            shown = others or {} if len(images) < PICTURE_ROWS else None
            images.append(_reported(options, results['name'], item, result, shown))
    return Report(metrics, images)


def _file(options: Mapping[str, Any]) -> Path:
    return output_folder(options, is_train=False) / METRICS_FILE


def _paired_items(options: Mapping[str, Any], key: str, results: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Items of a dataset, each with its result. Paired by name: BasicSR lists folders in no fixed order."""
    dataset_options = copy.deepcopy(options['datasets'][key])
    dataset = build_dataset({'phase': 'test', 'scale': options.get('scale', 1), **dataset_options})
    if len(dataset) != len(results['images']):
        raise ValueError(
            f'datasets.{key}: {len(dataset)} images, but {len(results["images"])} in {_file(options)}; {AGAIN}'
        )
    by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results['images']:
        by_name[result['name']].append(result)
    for item in tqdm(dataset, desc=f'Measure {results["name"]}', unit='image', total=len(dataset)):
        name = Path(item['lq_path']).stem
        if not by_name[name]:
            raise ValueError(f"datasets.{key}: image '{name}' is not in {_file(options)}; {AGAIN}")
        yield item, by_name[name].pop(0)


def _reported(
    options: Mapping[str, Any],
    dataset: str,
    item: Mapping[str, Any],
    result: Mapping[str, Any],
    others: Mapping[str, Enhance] | None,
) -> ReportedImage:
    """An image with its metrics; `others` is None for images that the picture does not show."""
    if result['output'] is None:
        raise ValueError(f'val.save_img: the test wrote no images; set it to true and {AGAIN}')
    path = output_folder(options, is_train=False) / result['output']
    if not path.is_file():
        raise FileNotFoundError(f'no output {path}; run `basicsr-entropy test` with this option file first')
    truth = {'img2': tensor2img([item['gt']])} if 'gt' in item else {}
    metrics = measurable((options.get('val') or {}).get('metrics') or {}, bool(truth))
    if absent := metrics.keys() - result['metrics'].keys():
        raise ValueError(f"val.metrics.{min(absent)}: the model did not measure it on image '{result['name']}'")
    output = cv2.imread(str(path))
    if output is None:
        raise ValueError(f'{path} cannot be read as an image; {AGAIN}')
    size, source = (output.shape[1], output.shape[0]), tensor2img([item['lq']])
    pictures = {'input': _resized(source, *size), OUTPUT: output}
    pictures |= {name: _resized(enhance(source), *size) for name, enhance in (others or {}).items()}
    measured = {
        title: {name: float(calculate_metric({'img': picture, **truth}, metric)) for name, metric in metrics.items()}
        for title, picture in pictures.items()
        if title != OUTPUT
    }
    before, after = measured.pop('input'), {name: result['metrics'][name] for name in metrics}
    if truth:
        pictures[TRUTH] = truth['img2']
    cells = {} if others is None else {title: _cell(picture) for title, picture in pictures.items()}
    return ReportedImage(dataset, result['name'], before, after, measured, cells)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _cell(image: np.ndarray) -> np.ndarray:
    """The image at the width of the picture's columns."""
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    height, width = image.shape[:2]
    interpolation = cv2.INTER_AREA if width > PICTURE_WIDTH else cv2.INTER_CUBIC
    return cv2.resize(image, (PICTURE_WIDTH, round(height * PICTURE_WIDTH / width)), interpolation=interpolation)


def print_table(report: Report, title: str) -> None:
    """Prints a table for each dataset: metrics of each image, input -> output; their means; how many images improved.

    Args:
        report: What `compare_results` read.
        title: Name of the run.
    """
    if not report.metrics:
        print('no metrics: val.metrics names none')
        return
    for dataset in dict.fromkeys(image.dataset for image in report.images):
        images = [image for image in report.images if image.dataset == dataset]
        table = Table(title=f'{title} on {dataset}: input -> output')
        table.add_column('image')
        metrics = {name: each for name, each in report.metrics.items() if all(name in i.output_metrics for i in images)}
        columns = [_column(name, options, images) for name, options in metrics.items()]
        for name, options in metrics.items():
            table.add_column(f'{name} {"↓" if _lower_is_better(options) else "↑"}', justify='right')
        for row, image in enumerate(images):
            table.add_row(image.name, *(column[row] for column in columns))
        table.add_section()
        for row, label in ((-2, 'mean'), (-1, 'improved')):
            table.add_row(label, *(column[row] for column in columns))
        Console().print(table)


def _column(name: str, options: Mapping[str, Any], images: list[ReportedImage]) -> list[str]:
    """Cells of a metric: each image's, their mean, and the number of images that it finds improved."""
    values = [(image.input_metrics[name], image.output_metrics[name]) for image in images]
    means = [statistics.fmean(side) for side in zip(*values)]
    digits = decimals(value for pair in values for value in pair)
    improved = sum(after < before if _lower_is_better(options) else after > before for before, after in values)
    pairs = [f'{before:.{digits}f} -> {after:.{digits}f}' for before, after in [*values, means]]
    return [*pairs, f'{improved} of {len(images)}']


def _lower_is_better(options: Mapping[str, Any]) -> bool:
    return options.get('better', 'lower' if options['type'] in LOWER_IS_BETTER else 'higher') == 'lower'


def decimals(values: Iterable[float]) -> int:
    """Decimals to print values of one metric with: 2 for PSNR and the like, 3 where all are below 10."""
    return 2 if any(abs(value) >= 10 for value in values) else 3


def write_picture(report: Report, path: str | Path) -> None:
    """Writes a picture with a row for each of the first images: input, outputs, and ground truth if there is one.

    Args:
        report: What `compare_results` read.
        path: File to write; replaced if it exists.

    Raises:
        OSError: If it cannot be written.
    """
    images = [image for image in report.images if image.cells]
    columns = max(len(image.cells) for image in images)
    rows = []
    for image in images:
        measured = {'input': image.input_metrics, OUTPUT: image.output_metrics, **image.others}
        titles, first = list(image.cells), next(iter(image.output_metrics), None)
        if first is not None:
            digits = decimals(values[first] for values in measured.values())
            values = {title: f'  {first} {metrics[first]:.{digits}f}' for title, metrics in measured.items()}
            titles = [title + values.get(title, '') for title in titles]
        if columns > len(titles):
            titles.append('no ground truth')
        titles[-1] += f'  ({image.name})'
        cells = list(image.cells.values())
        cells += [np.full_like(cells[0], 255)] * (columns - len(cells))
        rows.append(np.hstack([_title(text) for text in titles]))
        rows.append(np.hstack(cells))
    atomic_write_image(path, np.vstack(rows))


def _title(text: str) -> np.ndarray:
    strip = np.full((TITLE_HEIGHT, PICTURE_WIDTH, 3), 255, np.uint8)
    cv2.putText(strip, text, (6, TITLE_HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
