"""The JSON schema of option files: current, valid, and as strict as the checks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import train_options

import basicsr_entropy
from basicsr_entropy.config.templates import datasets, option_files, recipes, render

jsonschema = pytest.importorskip('jsonschema')

OPTIONS = Path(basicsr_entropy.__file__).parents[1] / 'options'
SCHEMA = json.loads((OPTIONS / 'schema.json').read_text())


@pytest.fixture(scope='module')
def validator():
    return jsonschema.Draft7Validator(SCHEMA)


def errors(validator, options):
    """Where an option file is refused, and why, with the reasons of each branch of `anyOf`."""
    found, open_ = [], list(validator.iter_errors(options))
    while open_:
        error = open_.pop()
        found.append(f'{".".join(map(str, error.absolute_path))}: {error.message}')
        open_ += error.context
    return found


def test_schema_on_disk_is_current(tmp_path):
    # in a process of its own: other tests register further classes
    subprocess.run([sys.executable, '-m', 'basicsr_entropy.config.json_schema', tmp_path / 'schema.json'], check=True)
    current = (tmp_path / 'schema.json').read_text()
    assert (OPTIONS / 'schema.json').read_text() == current, 'run: make options'


def test_schema_is_valid_draft_07():
    assert SCHEMA['$schema'] == 'http://json-schema.org/draft-07/schema#'
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_schema_has_no_keyword_that_draft_07_does_not_know():
    known = set(jsonschema.Draft7Validator.META_SCHEMA['properties'])
    for path, schema in schemas(SCHEMA):
        assert schema.keys() <= known, path
        assert '$ref' not in schema or len(schema) == 1, path  # all else would be ignored


def schemas(schema, path=''):
    """Every schema in a schema, with its path."""
    yield path, schema
    for key, value in schema.items():
        if key in ('properties', 'patternProperties', 'definitions'):
            for name, inner in value.items():
                yield from schemas(inner, f'{path}/{key}/{name}')
        elif key in ('allOf', 'anyOf'):
            for index, inner in enumerate(value):
                yield from schemas(inner, f'{path}/{key}/{index}')
        elif isinstance(value, dict) and key != 'default':
            yield from schemas(value, f'{path}/{key}')


def test_editors_can_explain_every_option_of_the_package():
    own = ['IRSDETrain', 'IRSDEVal', 'ProcessOptions', 'SamplerOptions', 'Tiling', 'Paths', 'Logger', 'Wandb']
    sections = [SCHEMA, *(SCHEMA['definitions'][name] for name in [*own, 'Rescale', 'Mixup', 'LowLightDegradation'])]
    for kind, name in (
        ('dataset', 'LowLightPairedDataset'),
        ('dataset', 'SyntheticLowLightDataset'),
        ('loss', 'SpatialEntropyLoss'),
        ('loss', 'MixedLoss'),
        ('network', 'ConditionalNAFNet'),
        ('metric', 'calculate_lpips'),
    ):
        branches = SCHEMA['definitions'][kind]['allOf']
        sections += [each['then'] for each in branches if each['if']['properties']['type'] == {'const': name}]
    assert len(sections) == 18
    for section in sections:
        for key, option in section['properties'].items():
            assert option.get('description') or key in ('type', 'better'), key
    assert SCHEMA['definitions']['ProcessOptions']['properties']['timesteps']['default'] == 100
    assert SCHEMA['definitions']['Tiling']['properties']['mode']['enum'] == ['per_step', 'interlace', 'downscale']


@pytest.mark.parametrize('path', option_files())
def test_every_option_file_is_valid(validator, path):
    assert errors(validator, yaml.safe_load((OPTIONS / path).read_text())) == []


@pytest.mark.parametrize('phase', ['train', 'test'])
@pytest.mark.parametrize('dataset', datasets())
@pytest.mark.parametrize('recipe', recipes())
def test_every_recipe_is_valid_for_every_dataset(validator, recipe, dataset, phase):
    assert errors(validator, yaml.safe_load(render(recipe, dataset, phase))) == []


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'val__val_freq': 5000.0},  # !!float 5e3
        {'val__tile': {'size': 256, 'mode': 'interlace'}},
        {'train__entropy_opt': None, 'train__pixel_opt': {'type': 'MixedLoss', 'losses': [{'type': 'L1Loss'}]}},
        {'train__scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5}},
        {'datasets__train__io_backend': {'type': 'mmengine', 'backend': 'petrel'}},
        {'datasets__train__prefetch_mode': None},
        {'path__pretrain_network_g': 'net.pth'},
        {'model_type': 'SRModel', 'sde': None, 'val__sampler': None, 'train__pixel_opt': {'type': 'L1Loss'}},
        {'model_type': 'AnotherModel', 'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}, 'its_own_key': 1},
    ],
)
def test_right_option_files_are_accepted(validator, tmp_path, changes):
    nothing = [key for key, value in changes.items() if value is None and '__' not in key]
    options = train_options(tmp_path, **{key: value for key, value in changes.items() if value is not None})
    for key in nothing:
        options.pop(key)
    assert errors(validator, options) == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'sdee': {'timesteps': 10}}, "'sdee' is not valid"),
        ({'train__ema_deacy': 0.9}, "train: 'ema_deacy' is not valid"),
        ({'train__ema_decay': 1.0}, 'train.ema_decay: 1.0 is greater than or equal to the maximum of 1'),
        ({'train__total_iter': 2.5}, "train.total_iter: 2.5 is not of type 'integer'"),
        ({'train__entropy_opt__levels': '8'}, "train.entropy_opt.levels: '8' is not of type 'integer'"),
        ({'train__entropy_opt__compare': 'x_0'}, "train.entropy_opt.compare: 'x_0' is not one of"),
        ({'train__entropy_opt__level': 8}, "'level' was unexpected"),
        ({'train__entropy_opt': {'type': 'EntropyLoss'}}, "train.entropy_opt.type: 'EntropyLoss' is not one of"),
        (
            {'train__entropy_opt': {'type': 'MixedLoss', 'losses': [{'type': 'L2Loss'}]}},
            "train.entropy_opt.losses.0.type: 'L2Loss' is not one of",
        ),
        ({'train__optim_g__type': 'Adan'}, "train.optim_g.type: 'Adan' is not one of"),
        ({'train__optim_g__lr': '1e-3'}, "train.optim_g.lr: '1e-3' is not of type 'number'"),
        ({'train__scheduler__periods': []}, 'train.scheduler.periods: '),
        ({'train__scheduler__type': 'StepLR'}, "train.scheduler.type: 'StepLR' is not one of"),
        ({'sde__prediction': 'score'}, "sde.prediction: 'score' is not one of"),
        ({'datasets__train__type': 'LowLightDataset'}, "datasets.train.type: 'LowLightDataset' is not one of"),
        ({'datasets__train__data_root': 'x'}, "'data_root' was unexpected"),
        ({'datasets__train__batch_size_per_gpu': 0}, 'datasets.train.batch_size_per_gpu: 0 is less than the minimum'),
        ({'network_g__widht': 8}, "'widht' was unexpected"),
        ({'val__sampler__spacing': 'even'}, "val.sampler.spacing: 'even' is not one of"),
        ({'val__metrics__psnr__type': 'psnr'}, "val.metrics.psnr.type: 'psnr' is not one of"),
        ({'val__metrics__psnr__crop': 4}, "'crop' was unexpected"),
        ({'logger__print_freq': None}, "logger: 'print_freq' is a required property"),
        ({'num_gpu': -1}, 'num_gpu: -1 is less than the minimum'),
        ({'manual_seed': -1}, 'manual_seed: -1 is less than the minimum'),
        ({'amp': 'fp8'}, "amp: 'fp8' is not one of"),
        ({'name': None}, "'name' is a required property"),
    ],
)
def test_wrong_option_files_are_refused(validator, tmp_path, changes, message):
    assert any(message in each for each in errors(validator, train_options(tmp_path, **changes)))
