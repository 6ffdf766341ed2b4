"""The tables of the option reference, generated from the typed sections.

A page of the documentation marks where a table goes, by the name of the table:

    <!-- options: val.sampler -->
    <!-- end -->

`python -m basicsr_entropy.config.reference PAGE ...` replaces what stands between the marks.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.config.check import METRIC_IMAGES
from basicsr_entropy.config.run import CosineScheduler, Dataset, Logger, MultiStepScheduler, Optimizer, Paths, Wandb
from basicsr_entropy.config.section import Section, as_yaml, inner_section, section_of, wanted_value

MARK = re.compile(r'(<!-- options: (?P<name>[\w.]+) -->\n).*?(<!-- end -->)', re.DOTALL)
EXTENDED = ('train', 'val', 'sampler', 'tile', 'logger', 'path', 'wandb', 'sde')  # sections with a table of their own


def tables() -> dict[str, str]:
    """Markdown tables by name: sections of the option file by their path, registered classes by their name."""
    return {name: table(section, hidden) for name, (section, hidden) in _sections().items()}


def _sections() -> dict[str, tuple[type[Section], tuple[str, ...]]]:
    """Sections by the name of their table, each with the keys that are documented elsewhere."""
    import basicsr  # noqa: F401  (fills the registries)
    from basicsr.utils import registry as registries

    run = registries.MODEL_REGISTRY.get('IRSDEModel').OPTIONS
    inner = {name: inner_section(run.model_fields[name]) for name in ('sde', 'train', 'val')}
    found: dict[str, tuple[type[Section], tuple[str, ...]]] = {'run': (run, ())}
    found |= {name: (section, ()) for name, section in inner.items()}
    for name in ('sampler', 'tile'):
        found[f'val.{name}'] = (inner_section(inner['val'].model_fields[name]), ())
    found |= {
        'path': (Paths, ()),
        'logger': (Logger, ()),
        'logger.wandb': (Wandb, ()),
        'train.optim_g': (Optimizer, ()),
        'CosineAnnealingRestartLR': (CosineScheduler, ()),
        'MultiStepRestartLR': (MultiStepScheduler, ()),
        'loss': (run.LOSS_KEYS, ()),
        'datasets': (Dataset, ()),
    }
    for name in ('LowLightPairedDataset', 'SyntheticLowLightDataset'):
        found[name] = (registries.DATASET_REGISTRY.get(name).OPTIONS, _common(found))
    paired, synthetic = (found[name][0] for name in ('LowLightPairedDataset', 'SyntheticLowLightDataset'))
    found |= {name: (inner_section(paired.model_fields[name]), ()) for name in ('rescale', 'mixup')}
    found['degradation'] = (inner_section(synthetic.model_fields['degradation']), ())
    for registry, names in (
        (registries.LOSS_REGISTRY, ('SpatialEntropyLoss', 'MixedLoss', 'GaussianBlurL1Loss')),
        (registries.ARCH_REGISTRY, ('ConditionalNAFNet', 'ConditionalUNet')),
    ):
        found |= {name: (section_of(registry.get(name)), ()) for name in names}
    for name in ('calculate_psnr_gt_mean', 'calculate_ssim_gt_mean', 'calculate_lpips'):
        found[name] = (section_of(registries.METRIC_REGISTRY.get(name), without=METRIC_IMAGES), ())
    return found


def _common(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of every dataset, but for those that this package's datasets describe anew."""
    return tuple(name for name in Dataset.model_fields if not name.startswith(('dataroot', 'io_', 'meta_')))


def table(section: type[Section], hidden: tuple[str, ...] = ()) -> str:
    """A Markdown table of a section: key, values, default, meaning."""
    lines = ['| key | values | default | meaning |', '|---|---|---|---|']
    for name, field in section.model_fields.items():
        if name in hidden:
            continue
        default = '' if field.is_required() else as_yaml(_plain(field.get_default(call_default_factory=True)))
        cells = [f'`{name}`', wanted_value(field), f'`{default}`' if default else 'required', field.description or '']
        lines.append('| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |')
    return '\n'.join(lines) + '\n'


def _plain(default: Any) -> Any:
    if isinstance(default, Section):
        return '{}' if not default.model_fields_set else default.model_dump(exclude_unset=True)
    return list(default) if isinstance(default, tuple) else default


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
