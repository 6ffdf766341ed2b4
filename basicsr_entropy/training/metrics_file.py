"""Metrics of a test run: recorded for each image while BasicSR tests, kept in results/NAME/metrics.json.

The file holds one JSON object:

    name, model_type         as in the option file
    pretrain_network_g       checkpoint that was tested
    metrics                  val.metrics of the option file: options of each metric by its name
    datasets                 by their keys under `datasets` (test_1, ...):
        name                 name of the dataset
        images               in the order of the dataset: name; output (image file, relative to the folder of
                             metrics.json, or null); metrics (value by name)
        mean                 mean over the images by name of the metric

An infinite value, such as the PSNR of identical images, is written as Python's json module does: Infinity.
"""

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from basicsr import test as basicsr_test
from basicsr.metrics import calculate_metric
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger, imwrite
from basicsr.utils.dist_util import get_dist_info
from torch.utils.data import DataLoader

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.config.folders import output_folder
from basicsr_entropy.models.results import ImageResult

METRICS_FILE = 'metrics.json'


def read_metrics(options: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the metrics file that the test of an option file wrote; see the module's description.

    Args:
        options: Content of the test option file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    path = output_folder(options, is_train=False) / METRICS_FILE
    if not path.is_file():
        raise FileNotFoundError(f'no {path}; run `basicsr-entropy test` with this option file first')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is damaged; run `basicsr-entropy test` with this option file again') from error


@contextmanager
def metrics_recorded() -> Iterator[None]:
    """Context in which BasicSR's test pipeline records the metrics of each image; on success, rank 0 writes the file.

    The model may be any image model of BasicSR's. Where its `validation` returns a list of `ImageResult`, that is what
    is written; of other models, the calls of `calculate_metric` and `imwrite` are recorded.
    """
    build_model, run = basicsr_test.build_model, None

    def build_recorded_model(opt: Mapping[str, Any]) -> BaseModel:
        nonlocal run
        model = build_model(opt)
        run = _TestRun(opt, model)
        return model

    basicsr_test.build_model = build_recorded_model
    try:
        yield
    finally:
        basicsr_test.build_model = build_model
    if run is not None and get_dist_info()[0] == 0:
        run.write()


class _TestRun:
    """Results of a model's test, one dataset after the other; replaces the model's `validation`."""

    def __init__(self, opt: Mapping[str, Any], model: BaseModel) -> None:
        self.opt, self.model, self.validate = opt, model, model.validation
        self.metrics = opt['val'].get('metrics') or {}
        self.keys = iter(sorted(opt['datasets']))  # the order in which BasicSR tests them
        self.datasets: dict[str, dict[str, Any]] = {}
        model.validation = self.validation

    def validation(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> None:
        dataset: Any = dataloader.dataset  # has a length, and its options in `opt`
        key, name = next(self.keys), dataset.opt['name']
        with _recorded_calls(self.model, self.metrics) as recorded:
            returned = self.validate(dataloader, *args, **kwargs)
        images = recorded if returned is None else returned
        if get_dist_info()[0] != 0:
            return
        if len(images) != len(dataset):  # a video model, whose items are clips
            get_root_logger().warning(
                f'{METRICS_FILE}: {type(self.model).__name__} tested {len(images)} images for the '
                f"{len(dataset)} items of dataset '{name}'; its metrics are not recorded"
            )
            return
        self.datasets[key] = {
            'name': name,
            'images': [self._entry(image) for image in images],
            'mean': {
                metric: statistics.fmean(image.metrics[metric] for image in images)
                for metric in self.metrics
                if all(metric in image.metrics for image in images)
            },
        }

    def _entry(self, image: ImageResult) -> dict[str, Any]:
        output = None if image.output is None else os.path.relpath(image.output, self.opt['path']['results_root'])
        return {'name': image.name, 'output': output, 'metrics': image.metrics}

    def write(self) -> None:
        content = {
            'name': self.opt['name'],
            'model_type': self.opt['model_type'],
            'pretrain_network_g': self.opt['path'].get('pretrain_network_g'),
            'metrics': self.metrics,
            'datasets': self.datasets,
        }
        atomic_write_text(Path(self.opt['path']['results_root'], METRICS_FILE), json.dumps(content, indent=2) + '\n')


@contextmanager
def _recorded_calls(model: BaseModel, metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[list[ImageResult]]:
    """Context that yields a list, to which one result is added for each image that the model is fed.

    BasicSR's models feed one image, write it, then call `calculate_metric` once for each of val.metrics. They call both
    functions by names that they imported, so these are replaced in the modules of the model's class and its bases.
    """
    images: list[ImageResult] = []
    feed_data = model.feed_data

    def feed(data: Mapping[str, Any]) -> None:
        path = data['lq_path']  # a list of one from a data loader
        images.append(ImageResult(Path(path if isinstance(path, str) else path[0]).stem, None, {}))
        feed_data(data)

    def write(img: np.ndarray, file_path: str, *args: Any, **kwargs: Any) -> None:
        imwrite(img, file_path, *args, **kwargs)
        images[-1] = images[-1]._replace(output=file_path)

    def measure(data: Mapping[str, Any], opt: Mapping[str, Any]) -> Any:
        value, measured = calculate_metric(data, opt), images[-1].metrics
        for name, options in metrics.items():
            if options == opt and name not in measured:
                measured[name] = float(value)
                break
        return value

    model.feed_data = feed
    try:
        with _replaced(model, {imwrite: write, calculate_metric: measure}):
            yield images
    finally:
        del model.feed_data  # the method of the class is there again


@contextmanager
def _replaced(model: BaseModel, replacements: Mapping[Callable, Callable]) -> Iterator[None]:
    """Context that replaces functions in the modules that define the model's class and its bases."""
    found = [
        (module, function)
        for module in {sys.modules[each.__module__] for each in type(model).__mro__}
        for function in replacements
        if getattr(module, function.__name__, None) is function
    ]
    for module, function in found:
        setattr(module, function.__name__, replacements[function])
    try:
        yield
    finally:
        for module, function in found:
            setattr(module, function.__name__, function)
