"""The JSON schema of option files, by which editors complete and check them.

Generated from the typed sections and the registries: `python -m basicsr_entropy.config.schema FILE` writes it.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy.config.check import METRIC_IMAGES, METRIC_KEYS
from basicsr_entropy.config.run import SCHEDULERS, Dataset
from basicsr_entropy.config.section import Section, inner_section, section_of

DRAFT = 'http://json-schema.org/draft-07/schema#'
Schema = dict[str, Any]


def option_schema() -> Schema:
    """The schema, with the sections of every registered dataset, network, loss and metric."""
    import basicsr  # noqa: F401  (fills the registries)
    from basicsr.utils import registry as registries

    model = registries.MODEL_REGISTRY.get('IRSDEModel')
    definitions: dict[str, Schema] = {}
    schema = _of_section(model.OPTIONS, definitions)
    datasets = {name: getattr(cls, 'OPTIONS', Dataset) for name, cls in registries.DATASET_REGISTRY}
    metrics = {
        _plain(name): section_of(metric, without=METRIC_IMAGES, extra=METRIC_KEYS)
        for name, metric in registries.METRIC_REGISTRY
    }
    losses = {_plain(name): section_of(loss, any_key=True) for name, loss in registries.LOSS_REGISTRY}
    networks = {_plain(name): section_of(network, any_key=True) for name, network in registries.ARCH_REGISTRY}
    loss_keys = _of_section(model.OPTIONS.LOSS_KEYS, definitions)['properties']
    definitions['loss'] = _by_type(losses, definitions, loss_keys)
    definitions['network'] = _by_type(networks, definitions)
    definitions['metric'] = _by_type(metrics, definitions)
    definitions['dataset'] = _by_type(datasets, definitions, strict=lambda section: section is not Dataset)
    definitions['scheduler'] = _by_type(SCHEDULERS, definitions)

    properties, train, val = schema['properties'], definitions['IRSDETrain'], definitions['IRSDEVal']
    properties['model_type']['examples'] = sorted(name for name, _ in registries.MODEL_REGISTRY)
    properties['network_g'] = _ref('network')
    properties['datasets'] |= {'additionalProperties': _ref('dataset')}
    schema['patternProperties'] = {'^network_': _ref('network')}
    train['patternProperties'] = {'_opt$': {'anyOf': [_ref('loss'), {'type': 'null'}]}}
    train['properties']['scheduler'] = _ref('scheduler')
    train['properties']['optim_g']['properties'] = {'type': {'enum': list(model.OPTIMIZERS)}}
    val['properties']['metrics'] |= {'additionalProperties': _ref('metric')}
    # models of other packages may read further keys
    for section in (schema, train, val, definitions['Paths'], definitions['Logger']):
        section.pop('additionalProperties', None)
    known = {
        '': [*properties, '^network_'],
        'train': [*train['properties'], '_opt$'],
        'val': [*val['properties']],
        'path': [*definitions['Paths']['properties'], '^(pretrain_network|strict_load|param_key)_'],
        'logger': [*definitions['Logger']['properties']],
    }
    schema['if'] = {'properties': {'model_type': {'const': 'IRSDEModel'}}}
    schema['then'] = {
        **_only(known.pop('')),
        'properties': {key: _only(names) for key, names in known.items()},
    }
    return {
        '$schema': DRAFT,
        'title': 'BasicSR option file',
        **schema,
        'definitions': dict(sorted(definitions.items())),
    }


def write_schema(path: str | Path) -> None:
    """Writes the schema as JSON; replaces a file that exists."""
    atomic_write_text(path, json.dumps(option_schema(), indent=1) + '\n')


def _plain(name: str) -> str:
    return name.removesuffix('_basicsr')


def _ref(name: str) -> Schema:
    return {'$ref': f'#/definitions/{name}'}


def _of_section(section: type[Section], definitions: dict[str, Schema]) -> Schema:
    """The schema of a section; those of sections in it go to the definitions."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # defaults that JSON cannot express are left out
        schema = section.model_json_schema(ref_template='#/definitions/{model}')
    for name, inner in schema.pop('$defs', {}).items():
        definitions[name] = _without_titles(inner)
    return _without_titles(schema)


def _without_titles(schema: Schema) -> Schema:
    """pydantic titles every field with its own name."""
    schema.pop('title', None)
    for field in schema.get('properties', {}).values():
        field.pop('title', None)
    return schema


def _by_type(
    sections: Mapping[str, type[Section]],
    definitions: dict[str, Schema],
    extra: Mapping[str, Schema] | None = None,
    strict: Any = lambda section: True,
) -> Schema:
    """A mapping whose `type` decides about its other keys."""
    branches = []
    for name, section in sorted(sections.items()):
        schema = _of_section(section, definitions)
        schema['properties'] = {**schema.get('properties', {}), **(extra or {}), 'type': {'const': name}}
        if not strict(section):
            schema.pop('additionalProperties', None)
        branches.append({'if': {'properties': {'type': {'const': name}}}, 'then': schema})
    return {
        'type': 'object',
        'required': ['type'],
        'properties': {'type': {'type': 'string', 'enum': sorted(sections)}},
        'allOf': branches,
    }


def _only(names: Iterable[str]) -> Schema:
    """A mapping of keys that are listed, or match a listed pattern."""
    names = list(names)
    patterns = [{'pattern': name} for name in names if not name.isidentifier()]
    return {'propertyNames': {'anyOf': [{'enum': [name for name in names if name.isidentifier()]}, *patterns]}}


def nested_sections(section: type[Section]) -> dict[str, type[Section]]:
    """Keys of a section that hold sections themselves."""
    found = {name: inner_section(field) for name, field in section.model_fields.items()}
    return {name: inner for name, inner in found.items() if inner is not None}


if __name__ == '__main__':
    write_schema(sys.argv[1])
