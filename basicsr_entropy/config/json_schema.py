"""The JSON schema of option files, by which editors complete and check them.

`python -m basicsr_entropy.config.json_schema FILE` writes it from the typed sections and the registries. Types
and keys are those that `config.validate` checks, but not all ranges; and it is open where a model of another package
may read further keys.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy._registry import plain_name
from basicsr_entropy.config.section import Section, section_of
from basicsr_entropy.config.sections import SCHEDULERS, Dataset
from basicsr_entropy.config.validate import METRIC_IMAGES, METRIC_KEYS

DRAFT = 'http://json-schema.org/draft-07/schema#'
# pydantic keeps its own names for the bounds of integers that are converted before they are checked
BOUNDS = {'ge': 'minimum', 'gt': 'exclusiveMinimum', 'le': 'maximum', 'lt': 'exclusiveMaximum'}
Schema = dict[str, Any]


def option_schema() -> Schema:
    """The schema, with the sections of every registered dataset, network, loss and metric."""
    import basicsr  # noqa: F401  (fills the registries)
    from basicsr.utils import registry as registries

    model = registries.MODEL_REGISTRY.get('IRSDEModel')
    definitions: dict[str, Schema] = {}
    schema = _of_section(model.OPTIONS, definitions)
    datasets = {plain_name(name): getattr(cls, 'OPTIONS', Dataset) for name, cls in registries.DATASET_REGISTRY}
    metrics = {
        plain_name(name): section_of(metric, without=METRIC_IMAGES, extra=METRIC_KEYS)
        for name, metric in registries.METRIC_REGISTRY
    }
    losses = {plain_name(name): section_of(loss, any_key=True) for name, loss in registries.LOSS_REGISTRY}
    networks = {plain_name(name): section_of(network, any_key=True) for name, network in registries.ARCH_REGISTRY}
    loss_keys = _of_section(model.OPTIONS.LOSS_KEYS, definitions)['properties']
    definitions['loss'] = _by_type(losses, definitions, loss_keys)
    definitions['network'] = _by_type(networks, definitions)
    definitions['metric'] = _by_type(metrics, definitions)
    definitions['dataset'] = _by_type(datasets, definitions, open_section=Dataset)
    definitions['scheduler'] = _by_type(SCHEDULERS, definitions)
    for branch in definitions['loss']['allOf']:  # a sum of losses
        if 'losses' in branch['then']['properties']:
            branch['then']['properties']['losses'] |= {'items': _ref('loss'), 'minItems': 1}

    properties, train, val = schema['properties'], definitions['IRSDETrain'], definitions['IRSDEVal']
    properties['model_type']['examples'] = sorted(plain_name(name) for name, _ in registries.MODEL_REGISTRY)
    properties['datasets'] |= {'additionalProperties': _ref('dataset'), 'minProperties': 1}
    for owner, key, name in ((properties, 'network_g', 'network'), (train['properties'], 'scheduler', 'scheduler')):
        owner[key] = {'description': owner[key]['description'], 'allOf': [_ref(name)]}
    schema['patternProperties'] = {'^network_': _ref('network')}
    train['patternProperties'] = {'_opt$': {'anyOf': [_ref('loss'), {'type': 'null'}]}}
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
    own = {
        **_only(known.pop('')),
        'properties': {key: _only(names) for key, names in known.items()},
    }
    own['properties']['train']['properties'] = {'optim_g': {'properties': {'type': {'enum': [*model.OPTIMIZERS]}}}}
    return {
        '$schema': DRAFT,
        'title': 'BasicSR option file',
        **schema,
        'description': 'An option file of BasicSR; the keys of basicsr-entropy included.',
        'if': {'properties': {'model_type': {'const': 'IRSDEModel'}}, 'required': ['model_type']},
        'then': own,
        'definitions': dict(sorted(definitions.items())),
    }


def write_schema(path: str | Path) -> None:
    """Writes the schema as JSON; replaces a file that exists."""
    atomic_write_text(path, json.dumps(option_schema(), indent=1) + '\n')


def _ref(name: str) -> Schema:
    return {'$ref': f'#/definitions/{name}'}


def _of_section(section: type[Section], definitions: dict[str, Schema]) -> Schema:
    """The schema of a section; those of sections in it go to the definitions."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # defaults that JSON cannot express are omitted
        schema = section.model_json_schema(ref_template='#/definitions/{model}')
    for name, inner in schema.pop('$defs', {}).items():
        definitions[name] = _as_draft_07(inner)
    return _as_draft_07(schema)


def _as_draft_07(schema: Any, keywords: bool = True) -> Any:
    """A schema of pydantic's, with the names of draft 7 and without titles, which only repeat the keys.

    Args:
        schema: A schema, or a part of one.
        keywords: Whether the keys of a mapping are keywords of JSON schema; those of `properties` are options.
    """
    if isinstance(schema, list):
        return [_as_draft_07(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if not keywords:
        return {key: _as_draft_07(value) for key, value in schema.items()}
    found = {
        BOUNDS.get(key, key): value if key == 'default' else _as_draft_07(value, keywords=key != 'properties')
        for key, value in schema.items()
        if key != 'title'
    }
    if 'description' in found:
        found['description'] = ' '.join(found['description'].split())
    if '$ref' in found and len(found) > 1:  # draft 7 ignores everything beside a reference
        found['allOf'] = [{'$ref': found.pop('$ref')}]
    return found


def _by_type(
    sections: Mapping[str, type[Section]],
    definitions: dict[str, Schema],
    extra: Mapping[str, Schema] | None = None,
    open_section: type[Section] | None = None,
) -> Schema:
    """A mapping whose `type` decides about its other keys.

    Args:
        sections: The section of each type.
        definitions: Receives the sections that these hold.
        extra: Keys that all types have.
        open_section: The section of types that may read further keys.
    """
    types: dict[type[Section], list[str]] = {}
    for name, section in sorted(sections.items()):
        types.setdefault(section, []).append(name)
    branches = []
    for section, names in types.items():
        of_type = {'const': names[0]} if len(names) == 1 else {'enum': names}
        schema = _of_section(section, definitions)
        schema['properties'] = {**schema.get('properties', {}), **(extra or {}), 'type': of_type}
        if section is open_section:
            schema.pop('additionalProperties', None)
        branches.append({'if': {'properties': {'type': of_type}, 'required': ['type']}, 'then': schema})
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


if __name__ == '__main__':
    write_schema(sys.argv[1])
