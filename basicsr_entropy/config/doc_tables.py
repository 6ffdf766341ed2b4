"""The tables of the option reference, generated from the typed sections.

A page of the documentation marks where a table goes, by the name of the table:

    <!-- options: val.sampler -->
    <!-- end -->

`python -m basicsr_entropy.config.doc_tables PAGE ...` replaces what is between the marks. A key that contains a section
links to the heading of the same name, so the page has a heading `sampler` for `val.sampler`.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import create_model
from pydantic.fields import FieldInfo

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy._registry import is_own
from basicsr_entropy.config.problems import inner_model, wanted_value
from basicsr_entropy.config.section import Section, section_at, section_of
from basicsr_entropy.config.sections import (
    AnyDataset,
    CosineScheduler,
    CyclicCosineScheduler,
    Logger,
    MultiStepScheduler,
    Optimizer,
    Paths,
    Wandb,
)
from basicsr_entropy.config.validate import METRIC_IMAGES

MARK = re.compile(r'(<!-- options: (?P<name>[\w.]+) -->\n).*?(<!-- end -->)', re.DOTALL)
# sections that are mappings in `sections.py`: the registered class that their `type` names decides about their keys
BY_TYPE = {'datasets': 'sections', 'network_g': 'section', 'scheduler': 'section', 'metrics': 'sections'}
# order of the rows, which is that of an option file: these keys first and last, all others between them as declared
FIRST = (
    *('name', 'model_type', 'type', 'num_gpu', 'manual_seed'),
    *('dataroot', 'layout', 'split', 'dataroot_lq', 'dataroot_gt'),
)
LAST = (
    *('batch_size_per_gpu', 'gt_sizes', 'iters', 'mini_batch_sizes', 'phase', 'scale'),
    *('datasets', 'sde', 'network_g', 'path', 'train', 'val', 'logger'),
)


def sections() -> dict[str, type[Section]]:
    """The sections that have a table: those of the option file by their path, this package's classes by their name."""
    import basicsr  # noqa: F401  (fills the registries)
    from basicsr.utils import registry as registries

    model = registries.MODEL_REGISTRY.get('IRSDEModel')
    run = model.OPTIONS
    found: dict[str, type[Section]] = {'run': run, 'datasets': AnyDataset, 'loss': run.LOSS_KEYS}
    found |= {name: cls.OPTIONS for name, cls in _own(registries.DATASET_REGISTRY)}
    found |= {name: section_of(loss) for name, loss in _own(registries.LOSS_REGISTRY)}
    found |= {name: section_of(network) for name, network in _own(registries.ARCH_REGISTRY)}
    found |= {name: section_of(metric, without=METRIC_IMAGES) for name, metric in _own(registries.METRIC_REGISTRY)}
    for owner, keys in (
        ('LowLightPairedDataset', ('rescale', 'mixup')),
        ('SyntheticLowLightDataset', ('degradation',)),
        ('run', ('sde', 'train', 'val')),
        ('sde', ('condition',)),
        ('val', ('sampler', 'tile')),
    ):
        prefix = 'val.' if owner == 'val' else ''
        found |= {prefix + key: section_at(found[owner], key) for key in keys}
    return found | {
        'path': Paths,
        'logger': Logger,
        'logger.wandb': Wandb,
        'train.optim_g': _with_types(Optimizer, model.OPTIMIZERS),
        'CosineAnnealingRestartLR': CosineScheduler,
        'CosineAnnealingRestartCyclicLR': CyclicCosineScheduler,
        'MultiStepRestartLR': MultiStepScheduler,
    }


def _own(registry: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """What this package has put into a registry."""
    for name, registered in registry:
        if is_own(registered):
            yield name, registered


def _with_types(section: type[Section], names: tuple[str, ...]) -> type[Section]:
    """A section whose `type` is one of some names."""
    choice: Any = Literal[names]
    described = FieldInfo(description=section.model_fields['type'].description)
    return create_model(section.__name__, __base__=section, type=(choice, described))


def tables() -> dict[str, str]:
    """The Markdown tables by name."""
    return {name: table(section) for name, section in sections().items()}


def table(section: type[Section]) -> str:
    """A Markdown table of a section: key, values, default, meaning.

    Keys that a dataset shares with every other have their rows in the table of `datasets`.
    """
    lines = ['| key | values | default | meaning |', '|---|---|---|---|']
    for name, field in sorted(_rows(section), key=lambda row: _position(row[0])):
        default = 'required' if field.is_required() else f'`{_default(field)}`'
        cells = (f'`{name}`', _values(name, field), default, field.description or '')
        lines.append('| ' + ' | '.join(' '.join(cell.split()).replace('|', '\\|') for cell in cells) + ' |')
    return '\n'.join(lines) + '\n'


def _rows(section: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    common = AnyDataset.model_fields if issubclass(section, AnyDataset) and section is not AnyDataset else {}
    for name, field in section.model_fields.items():
        if name not in common or field.description != common[name].description:
            yield name, field


def _position(name: str) -> int:
    return FIRST.index(name) - len(FIRST) if name in FIRST else LAST.index(name) + 1 if name in LAST else 0


def _values(name: str, field: FieldInfo) -> str:
    """What a key takes: choices as code, sections as links, everything else in the words of error messages."""
    if name in BY_TYPE:
        return f'[{BY_TYPE[name]}](#{name})'
    if name == 'losses':
        return 'a list of [losses](#losses)'
    inner = inner_model(field)
    if inner is not None:
        return 'a mapping with a `type`' if list(inner.model_fields) == ['type'] else f'[section](#{name})'
    union = isinstance(field.annotation, UnionType) or get_origin(field.annotation) is Union
    branches = [FieldInfo.from_annotation(each) for each in get_args(field.annotation)] if union else [field]
    words = [
        _code(get_args(each.annotation)) if get_origin(each.annotation) is Literal else wanted_value(each)
        for each in branches
        if each.annotation is not type(None)
    ]
    between = ', or ' if any(' or ' in each for each in words) else ' or '
    return re.sub(r' and at most \d{10,}$', '', between.join(words))  # the largest seeds


def _code(choices: Iterable[Any]) -> str:
    *most, last = (f'`{_yaml(each)}`' for each in choices)
    return f'{", ".join(most)} or {last}' if most else last


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return '{}' if isinstance(default, Section) else _yaml(list(default) if isinstance(default, tuple) else default)


def _yaml(value: Any) -> str:
    """A value as an option file has it."""
    if value is None:
        return '~'
    return yaml.safe_dump(value, default_flow_style=True, width=float('inf')).removesuffix('...\n').strip()


def fill(page: str) -> str:
    """A page with its marked places filled.

    Raises:
        KeyError: If a mark names no table.
    """
    known = tables()
    return MARK.sub(lambda mark: f'{mark[1]}\n{known[mark["name"]]}\n{mark[3]}', page)


if __name__ == '__main__':
    for argument in sys.argv[1:]:
        atomic_write_text(argument, fill(Path(argument).read_text(encoding='utf-8')))
