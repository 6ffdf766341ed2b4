"""Which metrics need a ground truth."""

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY


def measurable(metrics: Mapping[str, Mapping[str, Any]], has_truth: bool) -> dict[str, Mapping[str, Any]]:
    """The metrics that an image can have: without ground truth only those that need none, such as NIQE.

    Args:
        metrics: The options of each metric, its `type` and arguments, by name.
        has_truth: Whether the image has a ground truth.
    """
    return {name: options for name, options in metrics.items() if has_truth or not _is_full_reference(options)}


def _is_full_reference(options: Mapping[str, Any]) -> bool:
    truth = inspect.signature(METRIC_REGISTRY.get(options['type'])).parameters.get('img2')
    return truth is not None and truth.default is truth.empty
