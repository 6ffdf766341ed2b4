"""Model files: weights and options of a model in safetensors; the bundled models.

The options are JSON, twice: in the metadata of the file, and as the bytes of a small tensor beside the weights, since
other programs keep nothing of a file but its tensors.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from basicsr_entropy._files import atomic_write_bytes
from basicsr_entropy._version import __version__
from basicsr_entropy.models.networks import network_with_weights, own_conditional_networks
from basicsr_entropy.models.weights import read_weights

METADATA_KEY = 'basicsr_entropy'  # entry of the file's metadata that holds the options
FILE_IN_FOLDER = 'model.safetensors'  # as huggingface_hub names it
OPTIONS_KEY = 'basicsr_entropy.options'  # of the tensor that holds them too, uint8
SECTIONS = ('network_g', 'sde', 'sampler')  # of these options
MOST_FILE_TIMESTEPS = 10_000  # of a process that a model file describes; published ones have 100 to 1000
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
        model: A file, a folder that `HubModel.save_pretrained` wrote, or the name of a bundled model.

    Raises:
        FileNotFoundError: If it is none of these.

    Example:
        >>> find_model('night_small').name
        'night_small.safetensors'
    """
    for path in (Path(model), Path(model, FILE_IN_FOLDER)):
        if path.is_file():
            return path
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
    out = check_output(out, ('.safetensors',))
    write_model(model_of(options, weights), out)


def check_output(out: str | Path, suffixes: Sequence[str]) -> Path:
    """Raises an error unless a model file can be written here: none is there, and it ends in one of the suffixes."""
    out = Path(out)
    if out.suffix not in suffixes:
        raise ValueError(f'out: {out} must end in {" or ".join(suffixes)}')
    if out.exists():
        raise FileExistsError(f'out: {out} exists; remove it, or write somewhere else')
    return out


def model_of(options: Mapping[str, Any], weights: str | Path) -> Pretrained:
    """Reads weights that fit their options; arguments and errors as in `write_pretrained`."""
    sections = _sections(options)
    state = read_weights(str(weights), 'params_ema', option='weights')
    network_with_weights(sections['network_g'], state, str(weights), 'weights')
    return Pretrained(state, **sections)


def write_model(model: Pretrained, out: str | Path) -> None:
    """Writes a model in memory to a safetensors file, which is replaced if it exists. The write is atomic."""
    options = json.dumps({'network_g': model.network_g, 'sde': model.sde, 'sampler': model.sampler})
    state = {key: value.contiguous() for key, value in model.weights.items()}
    state[OPTIONS_KEY] = torch.frombuffer(bytearray(options.encode()), dtype=torch.uint8)
    described = json.dumps({**json.loads(options), 'version': __version__})
    atomic_write_bytes(out, save(state, {'format': 'pt', METADATA_KEY: described}))


def read_pretrained(path: str | Path, options: Mapping[str, Any] | None = None) -> Pretrained:
    """Reads a model file that `write_pretrained` wrote, or plain weights together with their options.

    A model file from elsewhere can do no harm: it holds numbers and text, may name networks of this package alone,
    and its options are checked. Give `options` to use a network of another package.

    Args:
        path: A .safetensors file, weights as `write_pretrained` takes them, or the name of a bundled model.
        options: Content of an option file; required for weights without options, overrides the options in the file.

    Raises:
        FileNotFoundError: If there is no such file or bundled model.
        KeyError: If network_g is missing from the options.
        ValueError: If the file is damaged, no options are given for weights without options, or the options in the file
            name a network of another package.

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
        except (SafetensorError, ValueError, RecursionError) as error:
            raise ValueError(f'{path} is not a safetensors file, or is damaged') from error
    else:
        weights = read_weights(str(path), 'params_ema', option='model')
    return _described(weights, path, options, stored)


def pretrained_from_tensors(state: Mapping[str, torch.Tensor], name: str) -> Pretrained:
    """The model that the tensors of a model file describe, as programs without its metadata have them.

    Args:
        state: Weights, and the options under `OPTIONS_KEY`.
        name: What to call them in errors.

    Raises:
        ValueError: If there are no options, or they are damaged.
    """
    return _described(dict(state), name, None, None)


def _described(
    weights: dict[str, torch.Tensor], path: str | Path, options: Mapping[str, Any] | None, stored: Any
) -> Pretrained:
    """The model of these weights, by the given options, those stored in the metadata, or those among the weights."""
    embedded = weights.pop(OPTIONS_KEY, None)
    if stored is None and embedded is not None:
        try:
            stored = json.loads(bytes(embedded.to('cpu', torch.uint8).tolist()))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f'{path} is damaged: its tensor {OPTIONS_KEY} is not JSON') from error
    if options is not None:
        sections = _sections(options)
    elif stored is not None:
        sections = _checked(stored, path)
    else:
        raise ValueError(
            f'{path} holds weights without their options; give the option file they were trained with (options=...), '
            'or an exported model file, which holds both'
        )
    return Pretrained(weights, sections['network_g'], sections['sde'], sections['sampler'])


def _checked(stored: Any, path: str | Path) -> dict[str, Any]:
    """The options of a model file, if they are options and ask for nothing but a model of this package."""
    if not isinstance(stored, Mapping) or not all(isinstance(stored.get(key), Mapping) for key in SECTIONS):
        raise ValueError(f'{path} is damaged: its options must have the sections {", ".join(SECTIONS)}')
    allowed = own_conditional_networks()
    if stored['network_g'].get('type') not in allowed:
        raise ValueError(
            f'{path}: network_g.type: a model file may name {" or ".join(allowed)}, got '
            f'{stored["network_g"].get("type")!r}; give the option file of another network that you trust '
            '(options=...)'
        )
    timesteps = stored['sde'].get('timesteps', 1)
    if isinstance(timesteps, (int, float)) and timesteps > MOST_FILE_TIMESTEPS:
        raise ValueError(
            f'{path}: sde.timesteps: must be at most {MOST_FILE_TIMESTEPS} in a model file, got {timesteps}'
        )
    return {key: dict(stored[key]) for key in SECTIONS}


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
