"""Checkpoints: a training state and the weights of its networks, of which only whole pairs are resumed from.

`torch.save` writes zip archives with a checksum (CRC-32) of each record, which `torch.load` does not look at. Here they
are compared, and a state names the checksums of the weights that belong to it.
"""

import hashlib
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils.misc import check_resume
from torch import nn

from basicsr_entropy._errors import first_line
from basicsr_entropy._files import files_into

FINGERPRINTS = 'fingerprints'  # key of a state: fingerprint of each file of weights, by its name


def check_whole(path: Path) -> None:
    """Reads a file that `torch.save` wrote, and compares its checksums.

    Raises:
        ValueError: If it is truncated or changed.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise ValueError(f'{path.name} is truncated or damaged') from error
    if damaged is not None:
        raise ValueError(f'{path.name} is damaged: the checksum of its record {damaged} is wrong')


def fingerprint(path: Path) -> str:
    """Digest of the checksums that a file of `torch.save` holds; it does not read the records themselves."""
    with zipfile.ZipFile(path) as archive:
        checksums = [(each.filename, each.file_size, each.CRC) for each in archive.infolist()]
    return hashlib.sha256(repr(checksums).encode()).hexdigest()


def first_not_finite(content: Any, path: str = '') -> str | None:
    """Path of the first tensor in nested mappings and sequences that holds NaN or infinity; None if there is none."""
    if isinstance(content, torch.Tensor):
        return path if content.is_floating_point() and not bool(torch.isfinite(content).all()) else None
    items: Any = ()
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    found = (first_not_finite(value, f'{path}.{key}'.lstrip('.')) for key, value in items)
    return next(filter(None, found), None)


class Checkpoints:
    """Writes the checkpoints of a run; BasicSR's `save` of the model decides which networks they hold.

    Args:
        model: The model. Its `save_training_state` is replaced.
        opt: Options of the run.
        keep: How many numbered checkpoints to keep; None for all.
    """

    def __init__(self, model: BaseModel, opt: Mapping[str, Any], keep: int | None = None) -> None:
        self.model, self.keep, self.rank = model, keep, opt['rank']
        self.states, self.weights = Path(opt['path']['training_states']), Path(opt['path']['models'])
        self._further: dict[str, Any] = {}
        model.save_training_state = self._save_state

    def save(self, epoch: int, iteration: int | str, further: Mapping[str, Any] | None = None) -> None:
        """Writes the weights and, after them, the training state; then removes checkpoints beyond `keep`.

        Args:
            epoch: Epoch of the last step.
            iteration: Number of the last step. -1 or a word ('best') writes weights alone.
            further: What the state holds beside BasicSR's own content.

        Raises:
            ValueError: If a weight, or the state of an optimizer, is not finite. Then nothing is written.
            OSError: If a file cannot be written.
        """
        self._check_finite()
        self._further = dict(further or {})
        self.model.save(epoch, iteration)
        if self.rank == 0 and self.keep is not None and isinstance(iteration, int) and iteration >= 0:
            self._remove_old(self.keep, iteration)

    def _check_finite(self) -> None:
        networks = {name: net for name, net in vars(self.model).items() if name.startswith('net_')}
        for name, net in networks.items():
            if isinstance(net, nn.Module) and (found := first_not_finite(net.state_dict())):
                raise ValueError(f'{name}: {found} is not finite; no checkpoint is written')
        for index, optimizer in enumerate(self.model.optimizers):
            if found := first_not_finite(optimizer.state_dict()['state']):
                raise ValueError(f'optimizer {index}: {found} is not finite; no checkpoint is written')

    def _save_state(self, epoch: int, iteration: int | str) -> None:
        """BasicSR's `save_training_state`, with further content."""
        if self.rank != 0 or not isinstance(iteration, int) or iteration < 0:
            return
        state = {
            'epoch': epoch,
            'iter': iteration,
            'optimizers': [each.state_dict() for each in self.model.optimizers],
            'schedulers': [each.state_dict() for each in self.model.schedulers],
            FINGERPRINTS: {path.name: fingerprint(path) for path in self.weights.glob(f'*_{iteration}.pth')},
            **self._further,
        }
        with files_into(self.states, check_whole) as private:
            path = private / f'{iteration}.state'
            try:
                torch.save(state, path)
            except (OSError, RuntimeError) as error:  # torch raises the latter when the disk is full
                raise OSError(f'could not write {self.states / path.name}; is the disk full?') from error

    def _remove_old(self, keep: int, newest: int) -> None:
        # a state of a later iteration is not of this run: it was damaged, or the run began again before it
        numbers = map(_number, numbered_states(self.states))
        kept = sorted(number for number in numbers if number <= newest)[-keep:]
        old = [path for path in numbered_states(self.states) if _number(path) < kept[0]]
        # states first: weights without a state are no checkpoint, but a state without its weights would be a broken one
        for path in (*old, *(path for path in self.weights.glob('*.pth') if _number(path, kept[0]) < kept[0])):
            path.unlink(missing_ok=True)


def numbered_states(folder: Path) -> list[Path]:
    """The training states in a folder, newest iteration first."""
    return sorted((path for path in folder.glob('*.state') if path.stem.isdecimal()), key=_number, reverse=True)


def _number(path: Path, otherwise: int = -1) -> int:
    found = re.search(r'(?:^|_)(\d+)$', path.stem)
    return int(found[1]) if found else otherwise


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state to resume from, or None to start anew; BasicSR's function of this name.

    It loads the state of `path.resume_state`, or with `--auto_resume` the newest one that is whole, and sets
    `path.pretrain_network_*` to the weights of this state.

    Raises:
        ValueError: If path.resume_state is damaged, or its weights are.
    """
    path = resumable_state(opt)
    return None if path is None else load_state(opt, path)


def resumable_state(opt: Mapping[str, Any]) -> Path | None:
    """Path of the state to resume from; see `load_resume_state`."""
    asked = opt['path'].get('resume_state')
    if opt['auto_resume']:
        for path in numbered_states(Path(opt['path']['training_states'])):
            try:
                _read_whole(path, opt)
                return path
            except Exception as error:  # damaged files raise various errors
                print(f'Not resuming from {path}: {first_line(error)}', file=sys.stderr, flush=True)
    elif asked:
        try:
            _read_whole(Path(asked), opt)
        except Exception as error:
            raise ValueError(f'path.resume_state: cannot resume from {asked}: {first_line(error)}') from error
        return Path(asked)
    return None


def load_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Loads a state that `resumable_state` found, and points the options to its weights."""
    state = torch.load(path, map_location='cpu', weights_only=True)
    opt['path']['resume_state'] = str(path)
    given, ignored = dict(opt['path']), opt['path'].get('ignore_resume_networks') or ()
    check_resume(opt, state['iter'])
    for key in (key for key in given if key.startswith('param_key_')):  # the weights of the run, whatever it began with
        opt['path'][key] = given[key] if f'network_{key.removeprefix("param_key_")}' in ignored else 'params'
    return state


def _read_whole(path: Path, opt: Mapping[str, Any]) -> None:
    """Raises an error if a state or its weights are damaged, not finite or do not belong together."""
    check_whole(path)
    state = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(state, dict) or not state.keys() >= {'epoch', 'iter', 'optimizers', 'schedulers'}:
        raise ValueError(f'{path.name} is no training state of BasicSR')
    if found := first_not_finite(state['optimizers']):
        raise ValueError(f'{path.name}: optimizers.{found} is not finite')
    ignored = opt['path'].get('ignore_resume_networks') or ()
    for key in (key for key in opt if key.startswith('network_') and key not in ignored):
        weights = Path(opt['path']['models'], f'net_{key.removeprefix("network_")}_{state["iter"]}.pth')
        if not weights.is_file():
            raise FileNotFoundError(f'no weights {weights}')
        check_whole(weights)
        recorded = state.get(FINGERPRINTS, {}).get(weights.name)
        if recorded is not None and recorded != fingerprint(weights):
            raise ValueError(f'{weights.name} does not belong to {path.name}: it was written by another run')
        if found := first_not_finite(torch.load(weights, map_location='cpu', weights_only=True, mmap=True)):
            raise ValueError(f'{weights.name}: {found} is not finite')
