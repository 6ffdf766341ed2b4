"""Which metrics need a ground truth."""

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY


def is_full_reference(options: Mapping[str, Any]) -> bool:
    """Whether a metric, given as its `type` and arguments, compares with a ground truth; NIQE, for one, does not."""
    truth = inspect.signature(METRIC_REGISTRY.get(options['type'])).parameters.get('img2')
    return truth is not None and truth.default is truth.empty
