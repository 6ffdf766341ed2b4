"""The random number generators of a process, as content of a training state."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# nothing but tensors and plain values, which `torch.load` reads without running code
RandomState = dict[str, Any]


def captured() -> RandomState:
    """States of the generators of `random`, numpy (the global one) and torch, on the CPU and the current GPU."""
    name, words, *rest = np.random.get_state()  # noqa: NPY002  (BasicSR's models draw from it)
    return {
        'python': random.getstate(),
        'numpy': [name, torch.from_numpy(np.asarray(words, dtype=np.int64)), *rest],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore(state: Mapping[str, Any]) -> None:
    """Sets the generators to what `captured` returned; that of the GPU where there is one now and was one then."""
    random.setstate(state['python'])
    name, words, *rest = state['numpy']
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])
