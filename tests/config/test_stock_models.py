"""Option files of BasicSR's own models pass the checks, and their misspelt keys do not."""

import copy

import pytest
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from helpers import FIXTURES

from basicsr_entropy.config import find_problems
from basicsr_entropy.config.as_test import as_test_options

FOLDER = FIXTURES / 'stock_options'
FILES = {str(path.relative_to(FOLDER)): path for path in sorted(FOLDER.rglob('*.yml'))}  # tests in test/


@pytest.fixture(params=FILES)
def file(request):
    """Options, and whether they are for training."""
    return yaml.safe_load(FILES[request.param].read_text()), not request.param.startswith('test/')


def test_published_keys_are_known(file):
    options, is_train = file
    assert find_problems(options, is_train, files=False) == []


def test_a_training_file_tests_too(file):
    options, is_train = file
    if is_train and any(key.startswith('val') for key in options['datasets']):
        assert find_problems(as_test_options(options), is_train=False, files=False) == []


def test_every_misspelt_key_is_found(file):
    """One letter is left out of each key of the file in turn."""

    options, is_train = file

    def keys_of(section, path=()):
        for key, value in section.items():
            # names of one's own: metrics, layers of a perceptual loss
            if path[-1:] in (('metrics',), ('layer_weights',), ('dist_params',)):
                continue
            yield (*path, key)
            if isinstance(value, dict):
                yield from keys_of(value, (*path, key))

    for *parents, key in keys_of(options):
        wrong = copy.deepcopy(options)
        section = wrong
        for parent in parents:
            section = section[parent]
        misspelt = f'{key[:2]}{key[3:]}' if len(key) > 3 else f'{key}x'
        section[misspelt] = section.pop(key)
        assert find_problems(wrong, is_train, files=False), (*parents, misspelt)


@pytest.mark.parametrize(
    ('file', 'path', 'key', 'message'),
    [
        ('edvr.yml', 'train', 'tsa_itr', "train.tsa_itr: unknown option; did you mean 'tsa_iter'?"),
        (
            'stylegan2.yml',
            'train',
            'r1_reg_weigth',
            "train.r1_reg_weigth: unknown option; did you mean 'r1_reg_weight'",
        ),
        (
            'realesrgan.yml',
            'datasets.train',
            'kernel_lst',
            "datasets.train.kernel_lst: unknown option; did you mean 'kernel_list'?",
        ),
        ('realesrgan.yml', '', 'l1_gt_usn', "l1_gt_usn: unknown option; did you mean 'l1_gt_usm'?"),
        (
            'rcan.yml',
            'datasets.train.io_backend',
            'client_config',
            "datasets.train.io_backend.client_config: unknown option; did you mean 'client_cfg'?",
        ),
        ('swinir.yml', 'network_g', 'embed_dims', "network_g.embed_dims: unknown option; did you mean 'embed_dim'?"),
        ('msrresnet.yml', 'train', 'gan_opt', 'train.gan_opt: unknown option; known: perceptual_opt, pixel_opt'),
    ],
)
def test_the_nearest_key_that_a_stock_class_reads_is_suggested(file, path, key, message):
    options = yaml.safe_load(FILES[file].read_text())
    section = options
    for each in filter(None, path.split('.')):
        section = section[each]
    section[key] = 1
    assert any(message in str(problem) for problem in find_problems(options, is_train=True, files=False))


@pytest.mark.parametrize(
    ('path', 'key', 'value', 'message'),
    [
        ('datasets.train', 'prefetch_mode', 'cuda', 'datasets.train.pin_memory: must be true for prefetch_mode: cuda'),
        ('datasets.val', 'persistent_workers', True, 'datasets.val.persistent_workers: applies to training; remove it'),
        ('datasets.val', 'io_backend', {'type': 'dsk'}, "io_backend.type: no backend 'dsk'; did you mean 'disk'?"),
        ('datasets.train', 'std', [1, 1, 1], 'datasets.train.mean: missing; mean and std go together'),
        ('logger', 'wandb', {'project': 'x'}, 'logger.use_tb_logger: must be true for logger.wandb'),
        ('train.optim_g', 'betas', [0.9, 1.5], 'train.optim_g: Adam refuses them: Invalid beta parameter at index 1'),
        ('train.pixel_opt', 'reduction', 'avg', "reduction: must be one of none, mean or sum, got 'avg'"),
    ],
)
def test_what_basicsr_refuses_after_its_folders_are_there_is_refused_before(path, key, value, message):
    options = yaml.safe_load(FILES['msrresnet.yml'].read_text())
    options['logger']['use_tb_logger'] = False
    assert find_problems(options, is_train=True, files=False) == []
    section = options
    for each in path.split('.'):
        section = section[each]
    section[key] = value
    assert [message in str(problem) for problem in find_problems(options, is_train=True, files=False)] == [True]


def test_files_that_networks_and_datasets_read_are_looked_for(tmp_path):
    options = yaml.safe_load(FILES['vimeo_gan.yml'].read_text())
    found = [str(problem) for problem in find_problems(options, is_train=True) if problem.kind is FileNotFoundError]
    paths = [line.partition(':')[0] for line in found]
    assert paths == [
        'network_g.spynet_path',
        *(f'datasets.train.{key}' for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file')),
        *(f'datasets.val.{key}' for key in ('dataroot_gt', 'dataroot_lq')),
    ]


def test_a_schedule_that_the_model_of_another_package_sets_up_is_left_to_it(monkeypatch):
    class Model(SRModel):
        def setup_schedulers(self):
            pass

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'ForeignModel', Model)
    options = yaml.safe_load(FILES['msrresnet.yml'].read_text())
    options['train']['scheduler'] = {'type': 'TrueCosineAnnealingLR', 'T_max': 5}
    found = [str(problem) for problem in find_problems(options, is_train=True, files=False)]
    assert [line.partition(';')[0] for line in found] == [
        "train.scheduler.type: no schedule 'TrueCosineAnnealingLR'",
    ]
    assert find_problems({**options, 'model_type': 'ForeignModel'}, is_train=True, files=False) == []


@pytest.mark.parametrize(
    ('changes', 'missing'),
    [
        ({'gt_size': None}, ['datasets.train.gt_size']),
        ({'io_backend': None, 'dataroot_lq': None}, ['datasets.train.dataroot_lq', 'datasets.train.io_backend']),
        ({'use_hflip': None, 'use_rot': None, 'mean': None}, []),
        ({'gt_size': None, 'gt_sizes': [32, 64], 'iters': [2, 2]}, []),
    ],
    ids=str,
)
def test_what_a_stock_dataset_reads_in_any_case_is_missing(changes, missing):
    options = yaml.safe_load(FILES['msrresnet.yml'].read_text()) | {'model_type': 'ProgressiveSRModel'}
    options['logger']['use_tb_logger'] = False
    dataset = {**options['datasets']['train'], **changes}
    options['datasets']['train'] = {key: value for key, value in dataset.items() if value is not None}
    problems = find_problems(options, is_train=True, files=False)
    assert [problem.path for problem in problems] == missing
    assert all('missing' in problem.text for problem in problems)
