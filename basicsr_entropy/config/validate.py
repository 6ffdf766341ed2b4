"""Checks of a whole option file before anything is created: sections, registered types, arguments, files.

Stock classes of BasicSR, and classes of other packages, declare no keys. What they may read is taken from their source:
a key is unknown if it is neither in the typed sections nor a string in the source of the class. BasicSR's published
option files also carry keys that only a sibling class reads; these are known too, unless they would be a loss, an
optimizer or a network that is silently left out.
"""

import ast
import difflib
import functools
import importlib.util
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from basicsr_entropy._checks import is_integer
from basicsr_entropy._errors import first_line, message_of, suggestion
from basicsr_entropy._registry import is_own, look_up
from basicsr_entropy.config.folders import folder_option, is_run_folder, output_folder
from basicsr_entropy.config.outline import outline
from basicsr_entropy.config.problems import Problem, join, missing, paths_of, raise_first
from basicsr_entropy.config.section import Section, converted, make_integers, section_at, section_of
from basicsr_entropy.config.sections import (
    SCHEDULERS,
    TRAINING_DEFAULTS,
    CropPhases,
    Dataset,
    Optimizer,
    OptionFile,
    dataset_path,
    phase_of,
)

METRIC_IMAGES = ('img', 'img2')  # arguments of a metric that are not options
METRIC_KEYS = (('better', Literal['higher', 'lower']),)  # read by BasicSR's models, which take all else for lower
LARGEST_NUMBER = 3.4028234663852886e38  # of float32, in which networks and losses compute
ARGUMENTS = re.compile(r'(train\.(optim_\w+|scheduler|\w+_opt)\.|val\.metrics\.)')  # keys of a class alone
YAML_SWITCHES = ': YAML reads on, off, yes and no as true and false; quote them'
MOST_WEIGHTS = 10_000  # of a network, as tensors; more is a mistake that would be built for hours
STOCK_FILES = ('dataroot', 'meta_info')  # beginnings of keys by which BasicSR's datasets name files and folders
NOT_OPTIONAL = ('optim_', 'network_')  # beginnings of keys that must not be left out in silence, beside the end _opt
FILLED_IN = frozenset({'phase', 'scale', *TRAINING_DEFAULTS})  # of datasets, by `config.parse`

_Section = TypeVar('_Section', bound=Section)


def check_options(options: Mapping[str, Any], is_train: bool, files: bool = True) -> None:
    """Raises an error for the first problem that `find_problems` finds, and tells how many more there are.

    Raises:
        KeyError: If a section, type or key is unknown or missing.
        ValueError: If a value has the wrong type or is out of range.
        FileNotFoundError: If a file or folder is missing.
        FileExistsError: If the output folder holds other files than those of a run.
    """
    problems = find_problems(options, is_train, files)
    if problems:
        raise_first(problems)


def find_problems(options: Mapping[str, Any], is_train: bool, files: bool = True) -> list[Problem]:
    """Everything that is wrong with an option file, one problem per option.

    Args:
        options: Content of the file.
        is_train: Whether it is to train, or to test.
        files: Also look for the files, folders and GPUs that it asks for.
    """
    found: dict[str, Problem] = {}
    for problem in [*_keys(options)] or (*_problems(options, is_train, files), *_numbers(options)):
        found.setdefault(problem.path, _misplaced(problem, options))
    # a section with a wrong entry is said to be no mapping, although only the entry is none
    for path in [path for path, problem in found.items() if problem.text.startswith('must be a mapping')]:
        value: Any = options
        for key in path.split('.'):
            value = _mapping(value).get(key)
        if isinstance(value, Mapping) and any(other.startswith(f'{path}.') for other in found):
            del found[path]
    return list(found.values())


def _misplaced(problem: Problem, options: Mapping[str, Any]) -> Problem:
    """A problem with an unknown key, with the path of the key in another section if there is one such."""
    if problem.known is None or ARGUMENTS.match(problem.path):
        return problem
    model, _ = _class_of('MODEL_REGISTRY', options.get('model_type'), 'model_type')
    section, _ = options_section(model, OptionFile, 'MODEL_REGISTRY')
    paths = [*paths_of(problem.path.rpartition('.')[2], section)]
    if len(paths) != 1 or paths[0] == problem.path:
        return problem
    where = f"'{paths[0]}'" if '.' in paths[0] else f"'{paths[0]}' at the top level"
    return problem._replace(text=f'{problem.text}; did you mean {where}?', known=None)


def _keys(options: Mapping[Any, Any]) -> Iterator[Problem]:
    """Keys that are no text. Deeper than here, mappings are arguments of classes, and may have any keys."""
    sections = {'': options, **{str(key): value for key, value in options.items() if isinstance(value, Mapping)}}
    for name in ('datasets', 'train', 'val', 'val.metrics'):
        inner = sections.get(name, {})
        sections |= {f'{name}.{key}': value for key, value in inner.items() if isinstance(value, Mapping)}
    for path, section in sections.items():
        for key in section:
            if not isinstance(key, str):
                remedy = YAML_SWITCHES if isinstance(key, bool) else ''
                yield Problem(join(path, str(key)), f'a key must be text, got {key!r}{remedy}')


def _numbers(value: Any, path: str = '') -> Iterator[Problem]:
    """Numbers that are not finite, or infinite in float32, anywhere in the file."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _numbers(each, join(path, str(key)))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            # a number of a list goes by the list, as in the problems of typed sections
            yield from _numbers(each, path if not isinstance(each, (Mapping, list)) else f'{path}[{index}]')
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, f'must be finite, got {value}')
    elif isinstance(value, (int, float)) and abs(value) > LARGEST_NUMBER:
        yield Problem(path, f'must be at most {LARGEST_NUMBER:.1e}, the largest number of float32, got {value!s:.20}')


def _problems(options: Mapping[str, Any], is_train: bool, files: bool) -> Iterator[Problem]:
    for key in ('train', 'logger') if is_train else ('val',):
        if options.get(key) is None:
            yield Problem(key, f'missing; {"training" if is_train else "a test"} needs this section', KeyError)
    model, problem = _class_of('MODEL_REGISTRY', options.get('model_type'), 'model_type')
    if problem and 'model_type' in options:
        yield problem
    yield from _sections(options, model)
    datasets, val = _mapping(options.get('datasets')), _mapping(options.get('val'))
    for key in options:
        if key.startswith('network_'):
            yield from _network(options[key], key, files)
    for phase, dataset in datasets.items():
        yield from _dataset(dataset, phase, options, is_train, files)
    yield from _same_names({key: _mapping(each).get('name') for key, each in datasets.items() if key != 'train'})
    for name, metric in _mapping(val.get('metrics')).items():
        yield from _metric(metric, f'val.metrics.{name}', files)
        if model is not None and _is_stock(model) and _compares(metric):
            for phase, dataset in datasets.items():
                if _mapping(dataset).get('type') == 'SingleImageDataset':
                    text = f'compares with a ground truth, and SingleImageDataset (datasets.{phase}) has none'
                    yield Problem(f'val.metrics.{name}', text)
    if is_train:
        yield from _training(options, model)
    if files:
        yield from _num_gpu(options.get('num_gpu'))
        if is_train:
            yield from _prefetching(_mapping(datasets.get('train')), options.get('num_gpu'))
            yield from _logging(_mapping(options.get('logger')))
        yield from _weights(options, is_train)
        yield from _output_folder(options, is_train)


def convert_integers(options: dict[str, Any]) -> None:
    """Replaces floats such as 5000.0 by integers in place, wherever an option is one; see `make_integers`."""
    model, _ = _class_of('MODEL_REGISTRY', options.get('model_type'), 'model_type')
    make_integers(options_section(model, OptionFile, 'MODEL_REGISTRY')[0], options)
    for dataset in filter(None, map(_mapping, _mapping(options.get('datasets')).values())):
        cls, _ = _class_of('DATASET_REGISTRY', dataset.get('type'), 'datasets')
        make_integers(options_section(cls, Dataset, 'DATASET_REGISTRY')[0], cast(dict[str, Any], dataset))
    for network in (_mapping(value) for key, value in options.items() if key.startswith('network_')):
        callee, _, problem = _typed('ARCH_REGISTRY', network, 'network')
        if problem is None and is_own(callee):
            make_integers(section_of(callee, any_key=True), cast(dict[str, Any], network))


@functools.cache
def keys_read_by(source: Any) -> frozenset[str] | None:
    """The strings in the source of a function, or of a class and its bases; None if the source is not there."""
    found: set[str] = set()
    for each in source.__mro__[:-1] if inspect.isclass(source) else (source,):
        if each.__module__.partition('.')[0] == 'torch':
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):
            return None
        found |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    return frozenset(found)


@functools.cache
def _keys_needed_by(cls: Any) -> frozenset[str]:
    """The keys that the constructor of one of BasicSR's datasets reads in any case."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__))).body[0]
    found: set[str] = set()
    pending: list[ast.AST] = [*getattr(body, 'body', ())]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.If, ast.IfExp, ast.Try, ast.For, ast.While)):
            continue
        match node:
            case ast.Subscript(value=value, slice=ast.Constant(value=key)) if ast.unparse(value) in ('opt', 'self.opt'):
                found.add(str(key))
        pending += ast.iter_child_nodes(node)
    return frozenset(found)


@functools.cache
def _keys_read_by_siblings(registry: str) -> frozenset[str]:
    """The keys that any of BasicSR's own classes in a registry may read, without those that must be read."""
    from basicsr.utils import registry as registries

    stock = (cls for _, cls in getattr(registries, registry) if _is_stock(cls))
    read = frozenset[str]().union(*(keys_read_by(cls) or () for cls in stock))
    return frozenset(key for key in read if not (key.endswith('_opt') or key.startswith(NOT_OPTIONAL)))


def _is_stock(cls: Any) -> bool:
    return cls.__module__.partition('.')[0] == 'basicsr'


def options_section(
    cls: type | None, default: type[_Section], registry: str
) -> tuple[type[_Section], frozenset[str] | None]:
    """The section that describes a registered class, and further keys that it may be given (None: any).

    Args:
        cls: The class; None if it is unknown.
        default: The section of a class that names none.
        registry: Name of the registry that holds the class.
    """
    if cls is None:
        return default, None
    section = getattr(cls, 'OPTIONS', default)
    if 'OPTIONS' in vars(cls):
        return section, frozenset()
    read = keys_read_by(cls)
    return section, read if read is None or not _is_stock(cls) else read | _keys_read_by_siblings(registry)


def _near(problem: Problem, read: frozenset[str] | None) -> Problem:
    """A problem with a key, with the most similar of the keys that are read among those it suggests."""
    if problem.known is None or not read:
        return problem
    near = difflib.get_close_matches(problem.path.rpartition('.')[2], read, n=1)
    return problem._replace(known=(*problem.known, *near))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _class_of(registry: str, name: Any, path: str) -> tuple[Any, Problem | None]:
    """A registered class, or what is wrong with its name."""
    from basicsr.utils import registry as registries

    if not isinstance(name, str):
        kind, given = (KeyError, 'missing') if name is None else (ValueError, f'must be a name, got {name!r}')
        return None, Problem(
            path, f'{given}; it names an entry of the {registry.partition("_")[0].lower()} registry', kind
        )
    try:
        return look_up(getattr(registries, registry), name, path), None
    except KeyError as error:
        return None, Problem.of(error, path)


def _typed(registry: str, options: Any, path: str) -> tuple[Any, dict[str, Any], Problem | None]:
    """The registered class that a section's `type` names, and the section's other keys."""
    if not isinstance(options, Mapping):
        return None, {}, Problem(path, f'must be a mapping with a type, got {options!r}')
    callee, problem = _class_of(registry, options.get('type'), f'{path}.type')
    return callee, {key: value for key, value in options.items() if key != 'type'}, problem


def _sections(options: Mapping[str, Any], model: type | None) -> Iterator[Problem]:
    """Problems of the typed sections; keys that only the model knows are left to it."""
    section, read = options_section(model, OptionFile, 'MODEL_REGISTRY')
    networks = [key.removeprefix('network_') for key in options if key.startswith('network_')]
    by_network = [f'{kind}_{name}' for kind in ('pretrain_network', 'strict_load', 'param_key') for name in networks]
    fields = {key: section_at(section, key).model_fields for key in ('train', 'val', 'path', 'logger')}
    fields[''] = section.model_fields
    elsewhere = {
        where: {key for other, typed in fields.items() if other != where for key in typed} - fields[where].keys()
        for where in fields
    }
    val = _mapping(options.get('val'))

    def is_the_models(where: str, key: str) -> bool:
        if key in fields[where]:
            return False
        special = by_network if where == 'path' else [f'network_{name}' for name in networks] if where == '' else []
        if where == '' and key in val and val[key] == options[key]:
            return model is None or not is_own(model)  # BasicSR's published files repeat save_img and suffix
        if read and (key in elsewhere[where] or (where != 'train' and re.match(r'optim_|\w+_opt$', key))):
            return False  # the model reads it in another section
        return read is None or key in read or key in special or section.allows(where, key)

    def typed(where: str, keys: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in keys.items() if not is_the_models(where, key)}

    typed_in_train = {key for key, value in _mapping(options.get('train')).items() if 'type' in _mapping(value)}
    nested = {key: typed(key, options[key]) for key in fields if isinstance(options.get(key), Mapping)}
    for problem in section.problems(typed('', {**options, **nested})):
        if problem.known is not None and problem.path.endswith('_opt') and read:
            yield problem._replace(known=tuple(key for key in read if key.endswith('_opt')))
        elif problem.known is not None and problem.path.removeprefix('train.') in typed_in_train:
            yield problem._replace(text=f'{problem.text}; the key of a loss ends in _opt', known=None)
        elif problem.known is not None and problem.path.startswith('path.'):
            yield problem._replace(known=(*problem.known, *by_network))
        else:
            yield _near(problem, read)


def _num_gpu(value: Any) -> Iterator[Problem]:
    import torch

    if isinstance(value, int) and value > 0 and not torch.cuda.is_available():
        yield Problem('num_gpu', f'{value} asked for, but torch sees no CUDA device; use auto or 0')


def _prefetching(dataset: Mapping[str, Any], num_gpu: Any) -> Iterator[Problem]:
    import torch

    if dataset.get('prefetch_mode') == 'cuda' and (num_gpu == 0 or not torch.cuda.is_available()):
        yield Problem('datasets.train.prefetch_mode', 'cuda needs a GPU, and there is none; use cpu, or leave it out')


def _network(options: Any, path: str, files: bool) -> Iterator[Problem]:
    callee, arguments, problem = _typed('ARCH_REGISTRY', options, path)
    if problem:
        yield problem
        return
    problems = section_of(callee, any_key=True).problems(arguments, path)
    yield from problems
    if files:
        yield from _absent(arguments, path, lambda key: key.endswith('_path'))
    if not problems and is_own(callee):
        build = partial(callee, **converted(callee, arguments, path))
        yield from _construction(partial(outline, build, MOST_WEIGHTS), path)


def _absent(options: Mapping[str, Any], path: str, is_file: Callable[[str], bool]) -> Iterator[Problem]:
    """Files and folders that options name and that are not there."""
    for key, value in options.items():
        if is_file(key) and isinstance(value, str) and value and not Path(value).expanduser().exists():
            yield Problem(join(path, key), f'no file or folder {value}', FileNotFoundError)


def _construction(construct: Callable[[], Any], path: str) -> Iterator[Problem]:
    """What the constructor of one of this package's classes refuses."""
    try:
        construct()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        yield Problem.of(error, path)


def _dataset(dataset: Any, phase: str, options: Mapping[str, Any], is_train: bool, files: bool) -> Iterator[Problem]:
    path = f'datasets.{phase}'
    kind = phase_of(phase)
    if is_train and phase != 'train' and kind != 'val':
        yield Problem(path, 'unknown phase; training takes train, val, val_1, val_2 ...', KeyError)
    elif not is_train and kind not in ('test', 'val'):
        yield Problem(path, 'unknown phase; a test takes test, test_1, test_2 ...', KeyError)
    cls, _, problem = _typed('DATASET_REGISTRY', dataset, path)
    if problem:
        yield problem
        return
    section, read = options_section(cls, Dataset, 'DATASET_REGISTRY')
    found = False
    backend = _backend(dataset.get('io_backend'), path) if _is_stock(cls) else ()
    complete = {**dataset, 'phase': kind, 'scale': options.get('scale', 1)} if is_own(cls) else dataset
    for each in (*section.problems(complete, path), *backend, *_loader(dataset, phase, path)):
        key = each.path.removeprefix(f'{path}.')
        if each.known is None or (read is not None and key not in read):
            found = True
            yield _near(each, read)
    needed = {'batch_size_per_gpu', 'num_worker_per_gpu'} if phase == 'train' else set()
    if _is_stock(cls):
        needed |= _keys_needed_by(cls) - FILLED_IN
        if phase == 'train' and 'gt_size' in (keys_read_by(cls) or ()) and not dataset.get('gt_sizes'):
            needed.add('gt_size')
    for key in sorted(key for key in needed if dataset.get(key) is None):
        found = True
        field = section.model_fields.get(key)
        yield Problem(join(path, key), missing(field) if field else f'missing; {cls.__name__} needs it', KeyError)
    if found or not files:
        return
    if is_own(cls):
        yield from _readable(cls, complete, path)
    else:
        yield from _absent(dataset, path, lambda key: key.startswith(STOCK_FILES) or key.endswith('_path'))


def _same_names(names: Mapping[str, Any]) -> Iterator[Problem]:
    """Validation or test datasets of one name, by which results are kept."""
    first: dict[str, str] = {}
    for phase, name in names.items():
        if isinstance(name, str) and (other := first.setdefault(name, phase)) != phase:
            yield Problem(f'datasets.{phase}.name', f"'{name}' is also the name of datasets.{other}; give it another")


def _backend(options: Any, path: str) -> Iterator[Problem]:
    """What BasicSR's file client refuses."""
    from basicsr.utils.file_client import FileClient

    if not isinstance(options, Mapping) or not isinstance(options.get('type'), str):
        return
    path, backend = f'{path}.io_backend', FileClient._backends.get(options['type'])
    if backend is None:
        near = suggestion(options['type'], FileClient._backends)
        yield Problem(f'{path}.type', f"no backend '{options['type']}'{near}")
        return
    given = ('type', 'db_paths', 'client_keys')  # BasicSR's datasets set all but the type themselves
    arguments = {key: value for key, value in options.items() if key not in given}
    if '__init__' in vars(backend):
        yield from section_of(backend, without=given, any_key=True).problems(arguments, path)
    else:
        yield from Section.problems(arguments, path)


def _loader(dataset: Mapping[str, Any], phase: str, path: str) -> Iterator[Problem]:
    """Combinations that the data loader refuses."""
    if phase == 'train' and dataset.get('prefetch_mode') == 'cuda' and dataset.get('pin_memory') is not True:
        yield Problem(join(path, 'pin_memory'), 'must be true for prefetch_mode: cuda')
    workers = dataset.get('num_worker_per_gpu') if phase == 'train' else 0
    if dataset.get('persistent_workers') is True and workers == 0:
        text = 'needs num_worker_per_gpu of at least 1' if phase == 'train' else 'applies to training; remove it'
        yield Problem(join(path, 'persistent_workers'), text)


def _readable(cls: Any, options: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What one of this package's datasets finds wrong with the images that it lists."""
    try:
        cls(options)
    except (KeyError, ValueError, OSError) as error:
        yield Problem.of(type(error)(message_of(error).removeprefix(dataset_path(options)).lstrip('.: ')), path)


def _metric(metric: Any, path: str, files: bool) -> Iterator[Problem]:
    callee, arguments, problem = _typed('METRIC_REGISTRY', metric, path)
    if problem:
        yield problem
        return
    read = keys_read_by(callee)
    for each in section_of(callee, without=METRIC_IMAGES, extra=METRIC_KEYS).problems(arguments, path):
        if each.known is None or (read is not None and each.path.rpartition('.')[2] not in read):
            yield each
    border = arguments.get('crop_border', 0)
    if isinstance(border, (int, float)) and not is_integer(border, 0):
        yield Problem(f'{path}.crop_border', f'must be an integer of at least 0, got {border!r}')
    if not files:
        return
    absent = [*_absent(arguments, path, lambda key: key == 'trunk' or key.endswith('_path'))]
    yield from absent
    if not absent and (prepare := getattr(callee, 'prepare', None)):
        try:
            prepare(**arguments)
        except Exception as error:  # also those of a download, or of a device that is not there
            yield Problem.of(ValueError(first_line(error)), path)


def _compares(metric: Any) -> bool:
    """Whether a metric needs a ground truth."""
    callee, _, problem = _typed('METRIC_REGISTRY', metric, 'metric')
    return problem is None and 'img2' in inspect.signature(callee).parameters


def _training(options: Mapping[str, Any], model: type | None) -> Iterator[Problem]:
    train, datasets = _mapping(options.get('train')), _mapping(options.get('datasets'))
    if 'train' not in datasets:
        yield Problem('datasets.train', 'missing; training needs a dataset', KeyError)
    val = _mapping(options.get('val'))
    if val and val.get('val_freq') is None:
        yield Problem('val.val_freq', 'missing; iterations between validations', KeyError)
    yield from _schedule_of_crops(_mapping(datasets.get('train')), options.get('model_type'), model)
    section, _ = options_section(model, OptionFile, 'MODEL_REGISTRY')
    losses = {key: value for key, value in train.items() if key.endswith('_opt') and value is not None}
    for key, loss in losses.items():
        yield from _loss(loss, f'train.{key}', section.LOSS_KEYS)
        if model is not None and _is_stock(model):
            yield from _perceptual(loss, key)
    if train and not losses:
        yield Problem('train', 'no loss; add one, e.g. pixel_opt: {type: L1Loss}')
    for key in train:
        if key.startswith('optim_') and isinstance(train[key], Mapping):
            yield from _optimizer(train[key], f'train.{key}', model)
    yield from _scheduler(train, model)
    logger = _mapping(options.get('logger'))
    if _mapping(logger.get('wandb')).get('project') is not None and logger.get('use_tb_logger') is not True:
        yield Problem('logger.use_tb_logger', 'must be true for logger.wandb, which takes its values from TensorBoard')


def _logging(logger: Mapping[str, Any]) -> Iterator[Problem]:
    for key, wanted, package in (
        ('use_tb_logger', logger.get('use_tb_logger') is True, 'tensorboard'),
        ('wandb', _mapping(logger.get('wandb')).get('project') is not None, 'wandb'),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            yield Problem(f'logger.{key}', f'needs the package {package}: pip install {package}', ImportError)


def _schedule_of_crops(dataset: Mapping[str, Any], name: Any, model: type | None) -> Iterator[Problem]:
    from basicsr.utils.registry import MODEL_REGISTRY

    yield from CropPhases.problems(
        {key: dataset[key] for key in CropPhases.model_fields if key in dataset}, 'datasets.train'
    )
    if (
        dataset.get('gt_sizes') is not None
        and model is not None
        and not getattr(model, 'SUPPORTS_PROGRESSIVE_CROPS', False)
    ):
        able = [each for each, cls in MODEL_REGISTRY if getattr(cls, 'SUPPORTS_PROGRESSIVE_CROPS', False)]
        yield Problem('datasets.train.gt_sizes', f'{name} ignores it; {" and ".join(sorted(able))} support it')


def _loss(options: Any, path: str, extra: type[Section] = Section) -> Iterator[Problem]:
    callee, arguments, problem = _typed('LOSS_REGISTRY', options, path)
    if problem:
        yield problem
        return
    own = {key: value for key, value in arguments.items() if key in extra.model_fields}
    yield from extra.problems(own, path)
    arguments = {key: value for key, value in arguments.items() if key not in own}
    section = section_of(callee, any_key=True)
    problems = [
        each._replace(known=(*each.known, *extra.model_fields)) if each.known else each
        for each in section.problems(arguments, path)
    ]
    yield from problems
    if arguments.get('reduction') == 'none':
        yield Problem(f'{path}.reduction', 'must be mean or sum: a training minimizes one number')
    parts = arguments.get('losses') if 'losses' in section.model_fields else None
    if isinstance(parts, list):  # a sum of losses; its parts may be heavy to construct
        for index, part in enumerate(parts):
            yield from _loss(part, f'{path}.losses[{index}]')
        if not parts:
            yield Problem(f'{path}.losses', 'must be a list of loss options, got []')
    elif not problems and is_own(callee):
        yield from _construction(partial(callee, **converted(callee, arguments, path)), path)


def _perceptual(options: Any, key: str) -> Iterator[Problem]:
    """A loss in a place where BasicSR's models expect, or do not expect, the two values of a PerceptualLoss."""
    from basicsr.losses.basic_loss import PerceptualLoss

    callee, _, problem = _typed('LOSS_REGISTRY', options, f'train.{key}')
    if problem:
        return
    gives_two = inspect.isclass(callee) and issubclass(callee, PerceptualLoss)
    if key == 'perceptual_opt' and not gives_two and (is_own(callee) or _is_stock(callee)):
        yield Problem('train.perceptual_opt.type', f'must be a PerceptualLoss; put {options["type"]} into pixel_opt')
    elif key == 'pixel_opt' and gives_two:
        yield Problem('train.pixel_opt.type', 'must give one value; put it into perceptual_opt, or into a MixedLoss')


def _optimizer(options: Mapping[str, Any], path: str, model: type | None) -> Iterator[Problem]:
    import torch
    from basicsr.models.base_model import BaseModel

    problems = Optimizer.problems(options, path)
    yield from problems
    name = options.get('type')
    if not isinstance(name, str):
        return
    if model is not None and getattr(model, 'get_optimizer', None) is BaseModel.get_optimizer:
        known: tuple[str, ...] = ('Adam',)  # the only one that basicsr 1.4.2 builds
    else:
        known = getattr(model, 'OPTIMIZERS', tuple(torch.optim.__all__))
    if name not in known:
        yield Problem(f'{path}.type', f"no optimizer '{name}'{suggestion(name, known)}")
        return
    own = getattr(model, 'optimizer_class', None)
    try:
        callee = own(name) if own else getattr(torch.optim, name, None)
    except ImportError as error:
        yield Problem(f'{path}.type', str(error))
        return
    if callee is not None:
        arguments = {key: value for key, value in options.items() if key not in ('type', 'lr')}
        problems += section_of(callee, without=('params', 'lr')).problems(arguments, path)
        yield from problems
        if not problems and not [*_numbers(arguments)]:
            try:
                callee([torch.zeros(1, requires_grad=True)], lr=options['lr'], **arguments)
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                yield Problem(path, f'{name} refuses them: {message_of(error)}')


def _scheduler(train: Mapping[str, Any], model: type | None) -> Iterator[Problem]:
    from basicsr.models.base_model import BaseModel

    options = train.get('scheduler')
    if not isinstance(options, Mapping):
        return
    section = SCHEDULERS.get(str(options.get('type')))
    own = getattr(model, 'setup_schedulers', BaseModel.setup_schedulers) is not BaseModel.setup_schedulers
    if section is None and own and not is_own(model) and options.get('type') is not None:
        return  # a schedule of the model's own
    if section is None:
        what = 'missing' if options.get('type') is None else f"no schedule '{options['type']}'"
        yield Problem('train.scheduler.type', f'{what}; known: {", ".join(SCHEDULERS)}', KeyError)
        return
    problems = section.problems(options, 'train.scheduler')
    yield from problems
    total = train.get('total_iter')
    if not problems and 'periods' in section.model_fields and isinstance(total, (int, float)):
        covered = int(sum(options['periods']))
        if covered < total - 1:
            yield Problem(
                'train.scheduler.periods',
                f'must add up to at least train.total_iter, {total:.0f}, but add up to {covered}',
            )


def _output_folder(options: Mapping[str, Any], is_train: bool) -> Iterator[Problem]:
    """A folder of other things where a run would write: it would be renamed to make room."""
    try:
        folder = output_folder(options, is_train)
        if is_run_folder(folder, is_train):
            return
    # no name, or one that is no name, which the sections tell; an unreadable folder
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        return
    option = folder_option(options, is_train)
    yield Problem(
        option,
        f'{folder} holds other files than those of a run, which would rename it to make room; choose another '
        f'{"name" if option == "name" else "folder"}, or move it',
        FileExistsError,
    )


def _weights(options: Mapping[str, Any], is_train: bool) -> Iterator[Problem]:
    path = _mapping(options.get('path'))
    for key, value in path.items():
        initial = key.startswith('pretrain_network')
        if not isinstance(value, str) or not (initial or key == 'resume_state'):
            continue
        file = Path(value).expanduser()
        if not file.is_file():
            yield Problem(f'path.{key}', f'no file {value}', FileNotFoundError)
        elif is_train and initial and _is_within_the_run(file, options):
            yield Problem(
                f'path.{key}', f'{value} lies in the folder that a new run of this name archives; change name'
            )
    if not is_train and 'network_g' in options and path and path.get('pretrain_network_g') is None:
        yield Problem('path.pretrain_network_g', 'missing; a test needs weights', KeyError)


def _is_within_the_run(file: Path, options: Mapping[str, Any]) -> bool:
    try:
        return file.resolve().is_relative_to(Path(output_folder(options, is_train=True)).resolve())
    except (AttributeError, KeyError, TypeError, ValueError, OSError):  # no name, which the sections tell
        return False
