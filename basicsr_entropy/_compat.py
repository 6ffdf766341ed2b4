"""What basicsr 1.4.2 needs on today's torch and on machines without CUDA: one function a fault.

`before_import` mends what keeps basicsr from being imported, `after_import` what its pipelines get wrong. Each function
replaces one name in memory, does nothing where the fault is absent, and may be called again. Installed files stay as
they are.
"""

import functools
import importlib
import os
import shutil
import sys
import types
from collections import OrderedDict
from pathlib import Path

import torch

from basicsr_entropy._errors import first_line
from basicsr_entropy._files import replace_durably

_MARK = '_basicsr_entropy'


def before_import() -> None:
    """Makes `import basicsr` possible."""
    torchvision_without_operators()
    functional_tensor_module()


def after_import() -> None:
    """Mends basicsr's pipelines; basicsr must be importable."""
    launcher_without_cuda()
    option_parser()
    resume_state()
    whole_checkpoints()
    mixed_loss_terms()


def torchvision_without_operators() -> None:
    """A CPU build of torch beside the registry's torchvision: `operator torchvision::nms does not exist`.

    torchvision's compiled operators do not load there, but registering their fake kernels needs their schemas. With
    the schemas declared everything basicsr uses of torchvision works. https://github.com/pytorch/pytorch/issues/122494
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
        setattr(torchvision, _MARK, library)  # a library that is collected takes its operators along


def functional_tensor_module() -> None:
    """basicsr.data.degradations imports a module that torchvision 0.17 removed.

    https://github.com/XPixelGroup/BasicSR/issues/663
    """
    name = 'torchvision.transforms.functional_tensor'
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module = types.ModuleType(name)
        module.rgb_to_grayscale = importlib.import_module('torchvision.transforms.functional').rgb_to_grayscale
        sys.modules[name] = module


def _replace(owner: object, name: str, make) -> None:
    """Puts make(original) in the place of owner.name, once."""
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, _MARK, True)
        setattr(owner, name, replacement)


def launcher_without_cuda() -> None:
    """`--launcher pytorch` divides by the number of GPUs, asks for NCCL and wraps networks for a GPU.

    Where there is no CUDA, gloo and a wrapper without devices take their places.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/utils/dist_util.py
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    def make_init(original):
        def init_dist(backend='nccl', **kwargs):
            if 'RANK' not in os.environ:
                raise ValueError('launcher: pytorch needs torchrun, which sets RANK and WORLD_SIZE')
            if torch.cuda.is_available():
                return original(backend, **kwargs)
            return torch.distributed.init_process_group(backend='gloo', **kwargs)

        return init_dist

    def make_to_device(original):
        def model_to_device(self, net):
            if not self.opt['dist'] or self.device.type == 'cuda':
                return original(self, net)
            unused = self.opt.get('find_unused_parameters', False)
            return torch.nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

        return model_to_device

    _replace(dist_util, '_init_dist_pytorch', make_init)
    _replace(BaseModel, 'model_to_device', make_to_device)


def option_parser() -> None:
    """BasicSR's parser evaluates the values of `--force_yml` as Python and ignores `path.experiments_root`.

    Its place is taken by `config.parse_options`, here without checks: stock models may read keys of their own.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/utils/options.py
    """
    from basicsr import test, train

    from basicsr_entropy.config import parse_options

    _replace(train, 'parse_options', lambda original: _forwarding(parse_options))
    _replace(test, 'parse_options', lambda original: _forwarding(parse_options))


def _forwarding(function):
    """A function of its own that calls another one, so that marking it leaves the other as it is."""
    return lambda *args, **kwargs: function(*args, **kwargs)


def resume_state() -> None:
    """Resuming calls torch.cuda.current_device(), and `--auto_resume` looks under ./experiments only.

    Here the state is loaded to the CPU, from where optimisers move it to their parameters' device; it is looked for
    under `path.training_states`; and one that is torn, or whose networks are, is passed over for the newest whole one.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/train.py
    """
    from basicsr import train

    def load_whole(path, opt):
        state = torch.load(path, map_location='cpu', weights_only=True)
        for key in opt:
            if key.startswith('network_'):
                _check_whole(Path(opt['path']['models'], f'net_{key.removeprefix("network_")}_{state["iter"]}.pth'))
        return state

    def make(original):
        def load_resume_state(opt):
            asked, state = opt['path'].get('resume_state'), None
            if opt['auto_resume']:
                folder = Path(opt['path']['training_states'])
                numbered = [path for path in folder.glob('*.state') if path.stem.isdecimal()]
                for path in sorted(numbered, key=lambda path: int(path.stem), reverse=True):
                    try:
                        state, asked = load_whole(path, opt), str(path)
                        break
                    except Exception as error:  # whatever a torn file does to the unpickler
                        print(f'Not resuming from {path}: {first_line(error)}', file=sys.stderr, flush=True)
            elif asked:
                try:
                    state = load_whole(asked, opt)
                except Exception as error:
                    raise ValueError(f'path.resume_state: cannot resume from {asked}: {first_line(error)}') from error
            if state is not None:
                opt['path']['resume_state'] = asked
                train.check_resume(opt, state['iter'])
            return state

        return load_resume_state

    _replace(train, 'load_resume_state', make)


def _check_whole(path: Path) -> None:
    """Raises an error unless the file is a whole checkpoint; its index comes last, and tensors stay on disk."""
    torch.load(path, map_location='cpu', weights_only=True, mmap=True)


def whole_checkpoints() -> None:
    """Networks and states are written in place: a run that is killed while it writes leaves a truncated checkpoint.

    Here they are written into a private folder, synced to disk and renamed, and a write that fails is an error, not a
    warning in the log.
    https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/models/base_model.py
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import get_dist_info

    def write_beside(key):
        def make(original):
            def save(self, *args, **kwargs):
                if get_dist_info()[0] != 0:
                    return
                final = Path(self.opt['path'][key])
                beside = final / '.writing'
                shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed
                beside.mkdir(parents=True)
                self.opt['path'][key] = str(beside)
                try:
                    original(self, *args, **kwargs)
                    for path in beside.iterdir():
                        try:
                            _check_whole(path)
                        except Exception as error:
                            raise OSError(f'could not write {final / path.name}; is the disk full?') from error
                        replace_durably(path, final / path.name)
                finally:
                    self.opt['path'][key] = str(final)
                    shutil.rmtree(beside)

            return save

        return make

    _replace(BaseModel, 'save_network', write_beside('models'))
    _replace(BaseModel, 'save_training_state', write_beside('training_states'))


def mixed_loss_terms() -> None:
    """Models log the value of a loss only; here the terms of every `MixedLoss` are logged beside its sum.

    The sum is found among the logged values by its memory, because models name it differently: `l_pix` in SRModel,
    `l_g_pix` in SRGANModel. A term is logged under the sum's name followed by its own: `l_pix_L1Loss`.
    """
    from basicsr.models.base_model import BaseModel

    from basicsr_entropy.losses.mixed_loss import MixedLoss

    def make(original):
        def reduce_loss_dict(self, loss_dict):
            modules = [each for each in vars(self).values() if isinstance(each, torch.nn.Module)]
            losses = [one for each in modules for one in (each, *each.children()) if isinstance(one, MixedLoss)]
            logged = OrderedDict()
            for name, value in loss_dict.items():
                logged[name] = value
                for loss in losses:
                    if loss.total is not None and value.is_set_to(loss.total):
                        logged.update({f'{name}_{term}': part for term, part in loss.terms.items()})
            return original(self, logged)

        return reduce_loss_dict

    _replace(BaseModel, 'reduce_loss_dict', make)
