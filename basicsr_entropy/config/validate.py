"""Checks of a whole option file before anything is created: sections, registered types, arguments, files.

Stock classes of BasicSR, and classes of other packages, declare no keys. What they may read is taken from their source:
a key is unknown if it is neither in the typed sections nor a string in the source of the class.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from basicsr_entropy._errors import message_of, suggestion
from basicsr_entropy._registry import is_own, look_up
from basicsr_entropy.config.problems import Problem, join, missing, raise_first
from basicsr_entropy.config.section import Section, section_at, section_of
from basicsr_entropy.config.sections import (
    SCHEDULERS,
    CropPhases,
    Dataset,
    Optimizer,
    OptionFile,
    dataset_path,
    phase_of,
)

METRIC_IMAGES = ('img', 'img2')  # arguments of a metric that are not options
METRIC_KEYS = ('better',)  # read by BasicSR's models

_Section = TypeVar('_Section', bound=Section)


def check_options(options: Mapping[str, Any], is_train: bool, files: bool = True) -> None:
    """Raises an error for the first problem that `find_problems` finds, and tells how many more there are.

    Raises:
        KeyError: If a section, type or key is unknown or missing.
        ValueError: If a value has the wrong type or is out of range.
        FileNotFoundError: If a file or folder is missing.
    """
    problems = find_problems(options, is_train, files)
    if problems:
        raise_first(problems)


def find_problems(options: Mapping[str, Any], is_train: bool, files: bool = True) -> list[Problem]:
    """Everything that is wrong with an option file, one problem per option.

    Args:
        options: Content of the file.
        is_train: Whether it is to train, or to test.
        files: Also look for the files and folders that it names.
    """
    found: dict[str, Problem] = {}
    for problem in _problems(options, is_train, files):
        found.setdefault(problem.path, problem)
    return list(found.values())


def _problems(options: Mapping[str, Any], is_train: bool, files: bool) -> Iterator[Problem]:
    for key in ('train', 'logger') if is_train else ('val',):
        if options.get(key) is None:
            yield Problem(key, f'missing; {"training" if is_train else "a test"} needs this section', KeyError)
    model, problem = _class_of('MODEL_REGISTRY', options.get('model_type'), 'model_type')
    if problem and 'model_type' in options:
        yield problem
    yield from _sections(options, model)
    datasets, val = _mapping(options.get('datasets')), _mapping(options.get('val'))
    yield from _num_gpu(options.get('num_gpu'))
    for key in options:
        if key.startswith('network_'):
            yield from _network(options[key], key)
    for phase, dataset in datasets.items():
        yield from _dataset(dataset, phase, options, is_train, files)
    for name, metric in _mapping(val.get('metrics')).items():
        yield from _metric(metric, f'val.metrics.{name}')
    if is_train:
        yield from _training(options, model)
    if files:
        yield from _weights(_mapping(options.get('path')))


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


def options_section(cls: type | None, default: type[_Section]) -> tuple[type[_Section], frozenset[str] | None]:
    """The section that describes a registered class, and further keys that it may read (None: any)."""
    if cls is None:
        return default, None
    strict = 'OPTIONS' in vars(cls)
    return getattr(cls, 'OPTIONS', default), frozenset() if strict else keys_read_by(cls)


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
    section, read = options_section(model, OptionFile)
    networks = [key.removeprefix('network_') for key in options if key.startswith('network_')]
    by_network = [f'{kind}_{name}' for kind in ('pretrain_network', 'strict_load', 'param_key') for name in networks]
    fields = {key: section_at(section, key).model_fields for key in ('train', 'val', 'path', 'logger')}
    fields[''] = section.model_fields

    def is_the_models(where: str, key: str) -> bool:
        if key in fields[where]:
            return False
        special = by_network if where == 'path' else [f'network_{name}' for name in networks] if where == '' else []
        return read is None or key in read or key in special or section.allows(where, key)

    def typed(where: str, keys: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in keys.items() if not is_the_models(where, key)}

    nested = {key: typed(key, options[key]) for key in fields if isinstance(options.get(key), Mapping)}
    for problem in section.problems(typed('', {**options, **nested})):
        if problem.known is not None and problem.path.endswith('_opt') and read:
            yield problem._replace(known=tuple(key for key in read if key.endswith('_opt')))
        elif problem.known is not None and problem.path.startswith('path.'):
            yield problem._replace(known=(*problem.known, *by_network))
        else:
            yield problem


def _num_gpu(value: Any) -> Iterator[Problem]:
    import torch

    if isinstance(value, int) and value > 0 and not torch.cuda.is_available():
        yield Problem('num_gpu', f'{value} asked for, but torch sees no CUDA device; use auto or 0')


def _network(options: Any, path: str) -> Iterator[Problem]:
    import torch

    callee, arguments, problem = _typed('ARCH_REGISTRY', options, path)
    if problem:
        yield problem
        return
    problems = section_of(callee, any_key=True).problems(arguments, path)
    yield from problems
    if not problems and is_own(callee):
        with torch.device('meta'):  # without memory for the weights
            yield from _construction(callee, arguments, path)


def _construction(callee: Any, arguments: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What the constructor of one of this package's classes refuses."""
    try:
        callee(**arguments)
    except (KeyError, TypeError, ValueError) as error:
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
    section, read = options_section(cls, Dataset)
    found = False
    for each in section.problems(dataset, path):
        key = each.path.removeprefix(f'{path}.')
        if each.known is None or (read is not None and key not in read):
            found = True
            yield each
    if phase == 'train':
        for key in ('batch_size_per_gpu', 'num_worker_per_gpu'):
            if dataset.get(key) is None:
                found = True
                yield Problem(join(path, key), missing(section.model_fields[key]), KeyError)
    if found or not files:
        return
    if is_own(cls):
        yield from _readable(cls, {'phase': kind, 'scale': options.get('scale', 1), **dataset}, path)
    else:
        for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file'):
            if dataset.get(key) and not Path(dataset[key]).expanduser().exists():
                yield Problem(join(path, key), f'no file or folder {dataset[key]}', FileNotFoundError)


def _readable(cls: Any, options: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What one of this package's datasets finds wrong with the images that it lists."""
    try:
        cls(options)
    except (KeyError, ValueError, OSError) as error:
        yield Problem.of(type(error)(message_of(error).removeprefix(dataset_path(options)).lstrip('.: ')), path)


def _metric(metric: Any, path: str) -> Iterator[Problem]:
    callee, arguments, problem = _typed('METRIC_REGISTRY', metric, path)
    if problem:
        yield problem
        return
    read = keys_read_by(callee)
    for each in section_of(callee, without=METRIC_IMAGES, extra=METRIC_KEYS).problems(arguments, path):
        if each.known is None or (read is not None and each.path.rpartition('.')[2] not in read):
            yield each


def _training(options: Mapping[str, Any], model: type | None) -> Iterator[Problem]:
    train, datasets = _mapping(options.get('train')), _mapping(options.get('datasets'))
    if 'train' not in datasets:
        yield Problem('datasets.train', 'missing; training needs a dataset', KeyError)
    val = _mapping(options.get('val'))
    if val and val.get('val_freq') is None:
        yield Problem('val.val_freq', 'missing; iterations between validations', KeyError)
    yield from _schedule_of_crops(_mapping(datasets.get('train')), options.get('model_type'), model)
    section, _ = options_section(model, OptionFile)
    losses = {key: value for key, value in train.items() if key.endswith('_opt') and value is not None}
    for key, loss in losses.items():
        yield from _loss(loss, f'train.{key}', section.LOSS_KEYS)
    if train and not losses:
        yield Problem('train', 'no loss; add one, e.g. pixel_opt: {type: L1Loss}')
    for key in train:
        if key.startswith('optim_') and isinstance(train[key], Mapping):
            yield from _optimizer(train[key], f'train.{key}', model)
    yield from _scheduler(train)


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
    parts = arguments.get('losses') if 'losses' in section.model_fields else None
    if isinstance(parts, list):  # a sum of losses; its parts may be heavy to construct
        for index, part in enumerate(parts):
            yield from _loss(part, f'{path}.losses[{index}]')
    elif not problems and is_own(callee):
        yield from _construction(callee, arguments, path)


def _optimizer(options: Mapping[str, Any], path: str, model: type | None) -> Iterator[Problem]:
    import torch
    from basicsr.models.base_model import BaseModel

    yield from Optimizer.problems(options, path)
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
    callee = getattr(torch.optim, name, None)
    if callee is not None:
        arguments = {key: value for key, value in options.items() if key not in ('type', 'lr')}
        yield from section_of(callee, without=('params', 'lr')).problems(arguments, path)


def _scheduler(train: Mapping[str, Any]) -> Iterator[Problem]:
    options = train.get('scheduler')
    if not isinstance(options, Mapping):
        return
    section = SCHEDULERS.get(str(options.get('type')))
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


def _weights(path: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in path.items():
        named = key.startswith('pretrain_network') or key == 'resume_state'
        if named and isinstance(value, str) and not Path(value).expanduser().is_file():
            yield Problem(f'path.{key}', f'no file {value}', FileNotFoundError)
