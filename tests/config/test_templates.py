"""Option files from templates."""

from pathlib import Path

import pytest
import yaml
from jinja2 import meta, nodes

import basicsr_entropy
from basicsr_entropy.config import templates
from basicsr_entropy.config.templates import datasets, option_files, recipes, render, write_option_files

OPTIONS = Path(basicsr_entropy.__file__).parents[1] / 'options'
FOLDER = Path(templates.__file__).parent / 'templates'
HEADER = {'summary', 'file', 'dataset_in_options', 'phases_in_options'}  # of a recipe, for Python


def load(*arguments, **keywords):
    return yaml.safe_load(render(*arguments, **keywords))


def test_files_in_options_are_current():
    on_disk = {path.relative_to(OPTIONS).as_posix(): path.read_bytes() for path in OPTIONS.rglob('*.yml')}
    assert on_disk == {path: text.encode() for path, text in option_files().items()}, 'run: make options'


def test_option_files_refer_to_the_schema_at_their_root():
    for path, text in option_files().items():
        reference = text.splitlines()[0].removeprefix('# yaml-language-server: $schema=')
        assert (OPTIONS / path).parent.joinpath(reference).resolve() == (OPTIONS / 'schema.json').resolve()
    assert not any('$schema' in text for text in option_files(schema=None).values())


@pytest.mark.parametrize('text', option_files().values(), ids=option_files())
def test_option_files_read_well(text):
    assert text.isascii()
    assert text.endswith('\n')
    lines = text.splitlines()
    assert all(line == line.rstrip() and len(line) <= 120 for line in lines)
    assert not any(first == second == '' for first, second in zip(lines, lines[1:]))
    assert not any(mark in text for mark in ('{{', '{%', 'Undefined', '&', '*', '<<'))


@pytest.mark.parametrize('recipe', recipes())
def test_recipes_override_only_what_the_skeleton_has(recipe):
    environment = templates._environment()
    skeleton = environment.parse((FOLDER / 'base.yml.j2').read_text())
    changes = environment.parse((FOLDER / f'recipes/{recipe}.yml.j2').read_text())
    variables = {node.target.name for node in changes.body if isinstance(node, nodes.Assign)}
    assert variables - HEADER <= meta.find_undeclared_variables(skeleton)
    blocks = {node.name for node in skeleton.find_all(nodes.Block)}
    assert {node.name for node in changes.find_all(nodes.Block)} <= blocks


@pytest.mark.parametrize('dataset', datasets())
@pytest.mark.parametrize('recipe', recipes())
def test_the_test_file_tests_what_the_training_file_trains(recipe, dataset):
    train, test = (load(recipe, dataset, phase, name='night run') for phase in ('train', 'test'))
    for key in ('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'sde', 'network_g'):
        assert train.get(key) == test.get(key)
    assert test['path']['pretrain_network_g'] == 'experiments/night run/models/net_g_latest.pth'
    assert test['path']['param_key_g'] == 'params_ema'
    assert train['train']['ema_decay'] > 0
    assert train['train']['scheduler']['periods'] == [train['train']['total_iter']]
    if 'val' in train:
        assert train['datasets']['val'] == test['datasets']['test_1']
        assert train['val'] | {'suffix': None} == test['val'] | {'val_freq': train['val']['val_freq']}


@pytest.mark.parametrize('phase', ['train', 'test'])
def test_dataroot_of_pairs(phase):
    for dataset in load('small', 'lolv2_real', phase, dataroot='~/data/LOLv2/')['datasets'].values():
        assert dataset['dataroot'] == '~/data/LOLv2'


def test_dataroot_of_photographs_has_both_splits():
    data = load('night', 'photographs', 'train', dataroot=Path('/data/photographs'))['datasets']
    assert data['train']['dataroot_gt'] == '/data/photographs/train'
    assert data['val']['dataroot_gt'] == '/data/photographs/test'


def test_names():
    assert load('small', 'lolv1', 'train')['name'] == 'irsde_small_LOLv1'
    assert load('night', 'photographs', 'train')['name'] == 'night_small'
    assert load('night', 'lolv1', 'train')['name'] == 'night_small_LOLv1'
    assert load('small', 'photographs', 'train')['name'] == 'irsde_small_photographs'


@pytest.mark.parametrize(
    'text', ["it's: # a", '{a}', 'x, [y]', 'null', '0x1F', '- a', 'größe', '"', 'a' * 300, '*a', '~']
)
def test_any_text_survives_yaml(text):
    options = load('small', 'lolv1', 'test', dataroot=text, name=text)
    assert options['name'] == text
    assert options['datasets']['test_1']['dataroot'] == text
    assert options['path']['pretrain_network_g'] == f'experiments/{text}/models/net_g_latest.pth'


@pytest.mark.parametrize('name', ['', '.', '..', 'a/b', 'a\\b', 'a\nb'])
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ValueError, match=r'^name: '):
        render('small', 'lolv1', 'train', name=name)


@pytest.mark.parametrize(
    ('field', 'arguments'),
    [
        ('recipe', ('smal', 'lolv1', 'train')),
        ('recipe', ('../base', 'lolv1', 'train')),
        ('dataset', ('small', 'LOLv1', 'train')),
        ('phase', ('small', 'lolv1', 'val')),
    ],
)
def test_unknown_words_are_refused(field, arguments):
    with pytest.raises(ValueError, match=f'^{field}: must be one of '):
        render(*arguments)


def test_files_that_exist_are_kept(tmp_path):
    new, old = tmp_path / 'deep/new.yml', tmp_path / 'old.yml'
    old.write_text('mine')
    with pytest.raises(FileExistsError, match=r'old\.yml exists'):
        write_option_files({new: 'a: 1\n', old: 'b: 2\n'})
    assert old.read_text() == 'mine'
    assert not new.exists()
    write_option_files({new: 'a: 1\n', old: 'b: 2\n'}, overwrite=True)
    assert (new.read_text(), old.read_text()) == ('a: 1\n', 'b: 2\n')
    assert {path.name for path in tmp_path.rglob('*')} == {'deep', 'new.yml', 'old.yml'}


def test_command_writes_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['templates', '--write', str(tmp_path)])
    templates._main()
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.yml')} == option_files().keys()
