"""Patches of basicsr 1.4.2 for current torch versions and for machines without CUDA, one function per fault.

`before_import` patches what makes the import of basicsr fail, `after_import` the faults of its pipelines. Each function
replaces names in memory, does nothing if the fault is absent, and may be called repeatedly. Installed files are not
changed.
"""

import functools
import importlib
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from basicsr_entropy._errors import first_line
from basicsr_entropy._files import archive, files_into, folder_identity

_MARK = '_basicsr_entropy'
_FOLDERS = '_output_folders'  # attribute of a model: identities of its output folders when it was made

Function = Callable[..., Any]


def before_import() -> None:
    """Patches what makes `import basicsr` fail."""
    torchvision_without_operators()
    functional_tensor_module()


def after_import() -> None:
    """Patches basicsr's pipelines; basicsr must have been imported."""
    launcher_without_cuda()
    option_parser()
    resume_state()
    resumed_optimizers()
    archived_folders()
    atomic_checkpoints()
    tensorboard_errors()
    schedules()
    mixed_loss_terms()


def torchvision_without_operators() -> None:
    """With a CPU build of torch, torchvision from PyPI fails: `operator torchvision::nms does not exist`.

    Its compiled operators cannot be loaded there, but the registration of their fake kernels needs their schemas. With
    the schemas declared, all that basicsr uses of torchvision works. https://github.com/pytorch/pytorch/issues/122494
    """
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for operator in ('nms', 'qnms'):
            library.define(f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        torchvision = importlib.import_module('torchvision')
        setattr(torchvision, _MARK, library)  # its operators disappear when it is garbage-collected


def functional_tensor_module() -> None:
    """basicsr.data.degradations imports a module that torchvision 0.17 removed.

    https://github.com/XPixelGroup/BasicSR/issues/663
    """
    name = 'torchvision.transforms.functional_tensor'
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module = types.ModuleType(name)
        functional = importlib.import_module('torchvision.transforms.functional')
        vars(module)['rgb_to_grayscale'] = functional.rgb_to_grayscale
        sys.modules[name] = module


def _replace(owner: object, name: str, make: Callable[[Function], Function]) -> None:
    """Replaces owner.name by make(original), once."""
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, _MARK, True)
        setattr(owner, name, replacement)


def launcher_without_cuda() -> None:
    """`--launcher pytorch` divides by the number of GPUs, requires NCCL, and wraps networks for a GPU.

    Without CUDA, the gloo backend and a wrapper without devices are used instead.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/utils/dist_util.py
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    def make_init(original: Function) -> Function:
        def init_dist(backend: str = 'nccl', **kwargs: Any) -> None:
            if 'RANK' not in os.environ:
                raise ValueError('launcher: pytorch needs torchrun, which sets RANK and WORLD_SIZE')
            if torch.cuda.is_available():
                original(backend, **kwargs)
            else:
                torch.distributed.init_process_group(backend='gloo', **kwargs)

        return init_dist

    def make_to_device(original: Function) -> Function:
        def model_to_device(self: BaseModel, net: torch.nn.Module) -> torch.nn.Module:
            if not self.opt['dist'] or self.device.type == 'cuda':
                return original(self, net)
            unused = self.opt.get('find_unused_parameters', False)
            return torch.nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

        return model_to_device

    _replace(dist_util, '_init_dist_pytorch', make_init)
    _replace(BaseModel, 'model_to_device', make_to_device)


def option_parser() -> None:
    """BasicSR's parser evaluates the values of `--force_yml` as Python and ignores `path.experiments_root`.

    `config.parse_options` replaces it, without checks of the options: they belong to this package's command line.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/utils/options.py
    """
    from basicsr import test, train

    from basicsr_entropy.config import parse_options

    for module in (train, test):
        _replace(module, 'parse_options', lambda original: functools.partial(parse_options))


def resume_state() -> None:
    """Resuming calls torch.cuda.current_device(), and `--auto_resume` searches ./experiments only.

    The replacement loads the state to the CPU, from where optimizers move it to the device of their parameters. It
    searches `path.training_states`, and skips states that are damaged or whose checkpoints are.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/train.py
    """
    from basicsr import train

    def make(original: Function) -> Function:
        def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
            from basicsr_entropy.training import checkpoints

            return checkpoints.load_resume_state(opt)

        return load_resume_state

    _replace(train, 'load_resume_state', make)


def resumed_optimizers() -> None:
    """The state of another optimizer or schedule is loaded without a word, and fails in the first step, by a KeyError.

    The replacement compares it with what this run has, and says what differs.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/models/base_model.py
    """
    from basicsr.models.base_model import BaseModel

    def refuse(what: str) -> None:
        raise ValueError(
            f'path.resume_state: the training state does not belong to this option file: {what}; resume with the '
            'optimizers and schedule that it was written with, or start anew with path.pretrain_network_g'
        )

    def make(original: Function) -> Function:
        def resume_training(self: BaseModel, state: Mapping[str, Any]) -> None:
            for kind in ('optimizers', 'schedulers'):
                own, stored = getattr(self, kind), state.get(kind)
                if not isinstance(stored, list) or len(stored) != len(own):
                    found = len(stored) if isinstance(stored, list) else 'no'
                    refuse(f'it holds {found} {kind}, and this run has {len(own)}')
            for scheduler, stored in zip(self.schedulers, state['schedulers']):
                # torch adds and drops private keys from version to version
                lacking = [key for key in scheduler.state_dict() if not key.startswith('_') and key not in stored]
                if lacking:
                    refuse(f'its schedule has no {", ".join(lacking)}, which {type(scheduler).__name__} needs')
            before = [set(group) for optimizer in self.optimizers for group in optimizer.param_groups]
            try:
                original(self, state)
            except ValueError as error:  # torch's, of groups of other sizes
                refuse(first_line(error))
            # after loading, since an optimizer completes the states of older versions of itself
            after = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
            for needed, (optimizer, group) in zip(before, after):
                lacking = sorted(needed - group.keys() - {'param_names'})
                if lacking:
                    refuse(f'its optimizer has no {", ".join(lacking)}, which {type(optimizer).__name__} needs')

        return resume_training

    _replace(BaseModel, 'resume_training', make)


def archived_folders() -> None:
    """An earlier run's folder is renamed to a name with the time in seconds, which may be taken: the start fails.

    The replacement adds a number to it. Two runs that start at once can no longer share a folder either.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/utils/misc.py
    """
    from basicsr import train, utils
    from basicsr.utils import misc

    def mkdir_and_rename(path: str) -> None:
        archived = archive(path)
        if archived is not None:
            print(f'Path already exists. Rename it to {archived}', flush=True)
        try:
            Path(path).mkdir(parents=True)
        except FileExistsError as error:
            raise FileExistsError(
                f'{path}: another run has just made this folder; give each run its own name'
            ) from error

    for module in (misc, utils, train):
        _replace(module, 'mkdir_and_rename', lambda original: mkdir_and_rename)


def tensorboard_errors() -> None:
    """On a full disk, TensorBoard's writer ends the run with a bare `No space left on device`.

    The replacement names the folder.
    """
    from basicsr import train, utils
    from basicsr.utils import logger

    def naming(write: Function, folder: str) -> Function:
        def named(*args: Any, **kwargs: Any) -> Any:
            try:
                return write(*args, **kwargs)
            except OSError as error:
                raise OSError(
                    f'logger.use_tb_logger: cannot write to {folder}: {error.strerror or error}; free some space, or '
                    'turn TensorBoard off'
                ) from error

        return named

    def make(original: Function) -> Function:
        def init_tb_logger(log_dir: str) -> Any:
            writer = original(log_dir)
            if writer is not None:  # it is on rank 0 alone
                # its thread keeps an error until the next call of one of these
                events = writer._get_file_writer().event_writer
                for name in ('add_event', 'flush', 'close'):
                    setattr(events, name, naming(getattr(events, name), log_dir))
            return writer

        return init_tb_logger

    for module in (logger, utils, train):
        _replace(module, 'init_tb_logger', make)


def atomic_checkpoints() -> None:
    """Networks and states are written in place: a run that is killed while it writes leaves a truncated checkpoint.

    The replacement writes them into a private folder, syncs them to disk and renames them. A write that fails is an
    error, not a warning in the log, and so is an output folder that was removed or replaced since the run began.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/models/base_model.py
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import get_dist_info

    def write_atomically(key: str) -> Callable[[Function], Function]:
        def make(original: Function) -> Function:
            def save(self: BaseModel, *args: Any, **kwargs: Any) -> None:
                if get_dist_info()[0] != 0:
                    return
                from basicsr_entropy.training.checkpoints import check_whole

                final = self.opt['path'][key]
                began = vars(self).get(_FOLDERS, {}).get(key)
                if began is not None and folder_identity(Path(final)) != began:
                    raise FileNotFoundError(
                        f'{final} was removed or replaced since the run began: its checkpoints are lost, and no more '
                        'are written; start it again'
                    )
                try:
                    with files_into(Path(final), check_whole) as private:
                        self.opt['path'][key] = str(private)
                        original(self, *args, **kwargs)
                finally:
                    self.opt['path'][key] = final

            return save

        return make

    def make_init(original: Function) -> Function:
        def __init__(self: BaseModel, opt: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
            original(self, opt, *args, **kwargs)
            folders = {key: (opt.get('path') or {}).get(key) for key in ('models', 'training_states')}
            setattr(self, _FOLDERS, {key: folder_identity(folder) for key, folder in folders.items() if folder})

        return __init__

    _replace(BaseModel, '__init__', make_init)
    _replace(BaseModel, 'save_network', write_atomically('models'))
    _replace(BaseModel, 'save_training_state', write_atomically('training_states'))


def schedules() -> None:
    """BasicSR's models know two schedules; the replacement adds those of `models.schedulers`, for all of them."""
    from basicsr.models.base_model import BaseModel

    def make(original: Function) -> Function:
        def setup_schedulers(self: BaseModel) -> None:
            from basicsr_entropy.models.schedulers import LR_SCHEDULES

            options = self.opt['train']['scheduler']
            if options['type'] not in LR_SCHEDULES:
                original(self)
                return
            schedule = LR_SCHEDULES[options.pop('type')]  # popped as in BasicSR
            self.schedulers.extend(schedule(optimizer, **options) for optimizer in self.optimizers)

        return setup_schedulers

    _replace(BaseModel, 'setup_schedulers', make)


def mixed_loss_terms() -> None:
    """Models log only the value of a loss. The replacement also logs the terms of every `MixedLoss`."""
    from basicsr.models.base_model import BaseModel

    def make(original: Function) -> Function:
        def reduce_loss_dict(self: BaseModel, loss_dict: Mapping[str, torch.Tensor]) -> OrderedDict[str, float]:
            from basicsr_entropy.models.logged_losses import with_mixed_terms

            return original(self, with_mixed_terms(self, loss_dict))

        return reduce_loss_dict

    _replace(BaseModel, 'reduce_loss_dict', make)
