"""The network of a model as an ONNX file, with the numbers of its process, for programs without torch.

`scripts/sample_onnx.py` samples from such a file with numpy and onnxruntime.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from basicsr_entropy._files import atomic_write
from basicsr_entropy._version import __version__
from basicsr_entropy.inference.module import EnhancementModule
from basicsr_entropy.inference.pretrained import METADATA_KEY, Pretrained

try:
    import onnx  # noqa: F401  (torch.onnx imports it)
    import onnxscript  # noqa: F401
except ImportError as error:
    raise ImportError(
        'ONNX files need the packages onnx and onnxscript: pip install "basicsr-entropy[onnx]"'
    ) from error

EXAMPLE_SIDE = 48  # pixels; the network is traced on an image of this size, and takes any
IMAGE = {2: torch.export.Dim('height'), 3: torch.export.Dim('width')}


def write_onnx(model: Pretrained, out: str | Path) -> None:
    """Writes one evaluation of the network as an ONNX graph. The write is atomic, and replaces an existing file.

    The graph has the inputs x_t and mu, float32 (1, 3, height, width) of any size, and t, float32 (1,), and the output
    prediction, of the shape of x_t. Its metadata hold, as JSON under the key basicsr_entropy:

    - `prediction`: what the network predicts: noise, x0 or residual;
    - `max_sigma`: standard deviation lambda of the noise at timestep T;
    - `decay`: -log(alpha_t) at the timesteps t = 0..T, between which it is linear;
    - `condition`: how the degraded image becomes mu: the fields of `Condition`;
    - `timesteps`: those of the model's sampler, from T to 0;
    - `sampler`: the type of the sampler.

    Args:
        model: The model.
        out: File to write.

    Raises:
        ValueError: If the weights do not fit the network.
    """
    module = EnhancementModule.of(model)
    process = module.process
    numbers = {
        'prediction': process.prediction,
        'max_sigma': process.max_sigma,
        'decay': process.decay.tolist(),
        'condition': asdict(module.condition),
        'timesteps': module.sampler.timesteps(process),
        'sampler': module.sampler.type,
        'version': __version__,
    }
    example = torch.rand(1, 3, EXAMPLE_SIDE, EXAMPLE_SIDE + 16)
    inputs, shapes = (example, example.clone(), torch.ones(1)), {'x_t': IMAGE, 'mu': IMAGE, 't': None}
    with _quiet():
        # sizes that the network pads are left to the run, instead of being refused
        exported = torch.export.export(
            module.net, inputs, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
        )
        program: Any = torch.onnx.export(
            exported,
            input_names=['x_t', 'mu', 't'],
            output_names=['prediction'],
            dynamic_shapes=shapes,
            dynamo=True,
        )
    program.model.metadata_props[METADATA_KEY] = json.dumps(numbers)
    with atomic_write(out) as temporary:
        program.save(str(temporary))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress that torch prints, and its warnings about itself."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
