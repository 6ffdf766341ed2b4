"""Model files: weights in safetensors, with the options of the model as JSON in the metadata; the bundled models."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from basicsr_entropy._files import atomic_write_bytes
from basicsr_entropy._version import __version__
from basicsr_entropy.config import build
from basicsr_entropy.models.networks import check_conditional_network
from basicsr_entropy.models.weights import load_weights, read_weights

METADATA_KEY = 'basicsr_entropy'  # entry of the file's metadata that holds the options
BUNDLED_FOLDER = Path(__file__).parents[1] / 'weights'


class Pretrained(NamedTuple):
    """Weights and the sections of an option file that describe the model.

    Attributes:
        weights: State dict of the network.
        network_g: Type and arguments of the network, as in the option file.
        sde: Arguments of `MeanRevertingSDE`, as in the option file.
        sampler: Default sampler: the keys of val.sampler (type, steps, ...) that the option file gives.
    """

    weights: dict[str, torch.Tensor]
    network_g: dict[str, Any]
    sde: dict[str, Any]
    sampler: dict[str, Any]


def find_model(model: str | Path) -> Path:
    """Returns the path of a model file.

    Args:
        model: A file, or the name of a bundled model.

    Raises:
        FileNotFoundError: If it is neither.

    Example:
        >>> find_model('night_small').name
        'night_small.safetensors'
    """
    if Path(model).is_file():
        return Path(model)
    bundled = {path.stem: path for path in sorted(BUNDLED_FOLDER.glob('*.safetensors'))}
    if str(model) not in bundled:
        raise FileNotFoundError(f'no model file {model}; bundled models: {", ".join(bundled)}')
    return bundled[str(model)]


def write_pretrained(options: Mapping[str, Any], weights: str | Path, out: str | Path) -> None:
    """Writes weights and the options of their model to one safetensors file. The write is atomic.

    Args:
        options: Content of the option file that the weights were trained or are tested with.
        weights: Checkpoint of BasicSR, of which the EMA weights are taken if it has them, or a bare state dict.
        out: File to write; must not exist, and must end in .safetensors.

    Raises:
        FileExistsError: If `out` exists.
        FileNotFoundError: If there is no file `weights`.
        KeyError: If an option is unknown or missing.
        ValueError: If an option is out of its range, network_g is not a conditional network, or the weights do not fit
            it.
    """
    out = Path(out)
    if out.suffix != '.safetensors':
        raise ValueError(f'out: {out} must end in .safetensors')
    if out.exists():
        raise FileExistsError(f'out: {out} exists; remove it, or write somewhere else')
    sections = _sections(options)
    check_conditional_network(sections['network_g'], 'network_g')
    state = read_weights(str(weights), 'params_ema', option='weights')
    load_weights(build(ARCH_REGISTRY, sections['network_g'], 'network_g'), state, str(weights), option='weights')
    metadata = {'format': 'pt', METADATA_KEY: json.dumps({**sections, 'version': __version__})}
    atomic_write_bytes(out, save({key: value.contiguous() for key, value in state.items()}, metadata))


def read_pretrained(path: str | Path, options: Mapping[str, Any] | None = None) -> Pretrained:
    """Reads a model file that `write_pretrained` wrote, or plain weights together with their options.

    Args:
        path: A .safetensors file, weights as `write_pretrained` takes them, or the name of a bundled model.
        options: Content of an option file; required for weights without options, overrides the options in the file.

    Raises:
        FileNotFoundError: If there is no such file or bundled model.
        KeyError: If network_g is missing from the options.
        ValueError: If the file is damaged, or no options are given for weights without options.

    Example:
        >>> model = read_pretrained('night_small')
        >>> model.network_g['type'], model.sde['prediction']
        ('ConditionalNAFNet', 'residual')
    """
    path, stored = find_model(path), None
    if path.suffix == '.safetensors':
        try:
            with safe_open(path, framework='pt') as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a mapping)
                stored = json.loads((file.metadata() or {}).get(METADATA_KEY, 'null'))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f'{path} is not a safetensors file, or is damaged') from error
    else:
        weights = read_weights(str(path), 'params_ema', option='model')
    if options is not None:
        sections = _sections(options)
    elif stored is not None:
        sections = stored
    else:
        raise ValueError(
            f'{path} holds weights without their options; give the option file they were trained with (options=...), '
            'or an exported model file, which holds both'
        )
    return Pretrained(weights, sections['network_g'], sections['sde'], sections['sampler'])


def _sections(options: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of an option file that describe a model, without the options of a single run."""
    if not options.get('network_g'):
        raise KeyError('network_g: missing from the options')
    sampler = (options.get('val') or {}).get('sampler') or {}
    return {
        'network_g': dict(options['network_g']),
        'sde': dict(options.get('sde') or {}),
        'sampler': {key: value for key, value in sampler.items() if key not in ('seed', 'progress')},
    }
