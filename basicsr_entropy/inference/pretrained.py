"""Weights in one file with the options they need: safetensors, with the options as JSON in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from basicsr_entropy._files import atomic_write_bytes
from basicsr_entropy.config import build
from basicsr_entropy.models.weights import load_weights, read_weights

METADATA = 'basicsr_entropy'  # key of the options in the file's metadata
SHIPPED = Path(__file__).parents[1] / 'weights'


class Pretrained(NamedTuple):
    """Weights, and the sections of an option file that say what they are.

    Attributes:
        weights: State dict of the network.
        network_g: Type and arguments of the network.
        sde: Arguments of the process.
        sampler: As in val.sampler: type, steps and more, where the option file had them.
    """

    weights: dict[str, torch.Tensor]
    network_g: dict[str, Any]
    sde: dict[str, Any]
    sampler: dict[str, Any]


def find_model(model: str | Path) -> Path:
    """The file of a model.

    Args:
        model: A file, or the name of a model that comes with the package.

    Raises:
        FileNotFoundError: If it is neither.
    """
    if Path(model).is_file():
        return Path(model)
    shipped = {path.stem: path for path in sorted(SHIPPED.glob('*.safetensors'))}
    if str(model) not in shipped:
        raise FileNotFoundError(f'no model file {model}; models that come with the package: {", ".join(shipped)}')
    return shipped[str(model)]


def write_pretrained(options: Mapping[str, Any], weights: str | Path, out: str | Path) -> None:
    """Writes weights with their options to a safetensors file, whole or not at all.

    Args:
        options: Content of the option file the weights were trained or are tested with.
        weights: File as BasicSR writes it, whose averaged weights are taken where there are any, or a bare state dict.
        out: File to write; must not exist.

    Raises:
        FileExistsError: If `out` exists.
        FileNotFoundError: If there are no such weights.
        KeyError, ValueError: If the options are unfit, or the weights do not fit network_g.
    """
    from basicsr_entropy import __version__

    out = Path(out)
    if out.suffix != '.safetensors':
        raise ValueError(f'out: {out} must end in .safetensors')
    if out.exists():
        raise FileExistsError(f'out: {out} exists; remove it, or write somewhere else')
    sections = _sections(options)
    state = read_weights(str(weights), 'params_ema', option='weights')
    load_weights(build(ARCH_REGISTRY, sections['network_g'], 'network_g'), state, str(weights), option='weights')
    metadata = {'format': 'pt', METADATA: json.dumps({**sections, 'version': __version__})}
    atomic_write_bytes(out, save({key: value.contiguous() for key, value in state.items()}, metadata))


def read_pretrained(path: str | Path, options: Mapping[str, Any] | None = None) -> Pretrained:
    """Reads a file of `write_pretrained`, or plain weights with their options beside.

    Args:
        path: A .safetensors file, or weights as `write_pretrained` takes them; or a model's name, as in `find_model`.
        options: Content of an option file; needed for a file that has none inside, and taken before those inside.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or comes without options.
        KeyError: If network_g is missing from the options.
    """
    path, inside = find_model(path), None
    if path.suffix == '.safetensors':
        try:
            with safe_open(path, framework='pt') as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
                inside = json.loads((file.metadata() or {}).get(METADATA, 'null'))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f'{path} is no safetensors file, or is damaged') from error
    else:
        weights = read_weights(str(path), 'params_ema', option='model')
    if options is None and inside is None:
        raise ValueError(
            f'{path} holds weights without their options; give the option file they were trained with (options=...), '
            'or an exported model file, which holds both'
        )
    sections = inside if options is None else _sections(options)
    return Pretrained(weights, sections['network_g'], sections['sde'], sections['sampler'])


def _sections(options: Mapping[str, Any]) -> dict[str, Any]:
    """What sampling needs of an option file, apart from what belongs to a run."""
    if not options.get('network_g'):
        raise KeyError('network_g: missing from the options')
    sampler = (options.get('val') or {}).get('sampler') or {}
    return {
        'network_g': dict(options['network_g']),
        'sde': dict(options.get('sde') or {}),
        'sampler': {key: value for key, value in sampler.items() if key not in ('seed', 'progress')},
    }
