"""The command `basicsr-entropy init`."""

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from basicsr_entropy.cli import init
from basicsr_entropy.config.templates import datasets, option_files, recipes


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        parser = argparse.ArgumentParser(prog='basicsr-entropy init')
        init.add_arguments(parser)
        assert init.run(parser.parse_args(list(map(str, arguments)))) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def schema(monkeypatch):
    module = ModuleType('basicsr_entropy.config.json_schema')
    module.write_schema = lambda path: Path(path).write_text('{}')
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_writes_a_training_file(call, tmp_path):
    (tmp_path / 'LOLv2').mkdir()
    printed = call('--recipe', 'small', '--dataset', 'lolv2_real', '--dataroot', 'LOLv2', '-o', 'runs/my first.yml')
    options = yaml.safe_load(Path('runs/my first.yml').read_text())
    assert options['name'] == 'my first'
    assert options['datasets']['train']['dataroot'] == options['datasets']['val']['dataroot'] == 'LOLv2'
    assert printed.splitlines()[-1] == "next: basicsr-entropy train -opt 'runs/my first.yml'"
    assert 'no folder' not in printed
    assert list(Path('runs').iterdir()) == [Path('runs/my first.yml')]
    assert '$schema' not in Path('runs/my first.yml').read_text()


def test_writes_a_test_file(call):
    printed = call(
        *('--recipe', 'small', '--dataset', 'lolv1', '--phase', 'test', '--name', 'mine', '-o', 'test_mine.yaml')
    )
    options = yaml.safe_load(Path('test_mine.yaml').read_text())
    assert options['path']['pretrain_network_g'] == 'experiments/mine/models/net_g_latest.pth'
    assert printed.splitlines()[-1] == 'next: basicsr-entropy test -opt test_mine.yaml'


def test_says_that_the_data_are_elsewhere(call):
    assert 'no folder /far/away' in call('--recipe', 'night', '--dataroot', '/far/away', '-o', 'a.yml')
    assert 'no folder datasets/LOLv1' in call('--recipe', 'l1', '--dataset', 'lolv1', '-o', 'b.yml')


def test_a_recipe_knows_the_dataset_that_it_is_meant_for(call):
    call('--recipe', 'night', '--dataroot', 'pictures', '-o', 'a.yml')
    assert yaml.safe_load(Path('a.yml').read_text())['datasets']['train']['dataroot_gt'] == 'pictures/train'


def test_lists(call):
    printed = call('--list')
    for name, description in (recipes() | datasets()).items():
        assert any(line.split() == [name, *description.split()] for line in printed.splitlines())


def test_writes_the_whole_tree(call, schema):
    printed = call('--all', '-o', 'options')
    on_disk = {path.relative_to('options').as_posix(): path.read_text() for path in Path('options').rglob('*.yml')}
    assert on_disk == option_files(schema=None)
    assert printed.splitlines()[-1].startswith('next: basicsr-entropy train -opt options/train/LOLv1/')
    with pytest.raises(FileExistsError, match='exists'):
        call('--all', '-o', 'options', '--schema')
    assert not Path('options/schema.json').exists()
    call('--all', '-o', 'options', '--schema', '--overwrite')
    assert Path('options/schema.json').is_file()
    on_disk = {path.relative_to('options').as_posix(): path.read_text() for path in Path('options').rglob('*.yml')}
    assert on_disk == option_files()


def test_writes_the_schema_beside(call, schema):
    call('--recipe', 'demo', '-o', 'runs/a.yml', '--schema')
    assert Path('runs/a.yml').read_text().startswith('# yaml-language-server: $schema=option_schema.json\n')
    Path('runs/option_schema.json').write_text('kept')
    call('--recipe', 'demo', '-o', 'runs/b.yml', '--schema')
    assert Path('runs/option_schema.json').read_text() == 'kept'
    call('--recipe', 'demo', '-o', 'runs/b.yml', '--schema', '--overwrite')
    assert Path('runs/option_schema.json').read_text() == '{}'


def test_a_file_that_exists_is_kept(call):
    Path('a.yml').write_text('mine')
    with pytest.raises(FileExistsError, match=r'a\.yml exists'):
        call('--recipe', 'demo', '-o', 'a.yml')
    assert Path('a.yml').read_text() == 'mine'
    call('--recipe', 'demo', '-o', 'a.yml', '--overwrite')
    assert yaml.safe_load(Path('a.yml').read_text())['name'] == 'a'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'one of the arguments --recipe --all --list is required'),
        (['--recipe', 'small', '--dataset', 'lolv1'], 'arguments are required: -o/--out'),
        (['--recipe', 'small', '-o', 'a.yml'], 'the recipe small suits every dataset: --dataset is required'),
        (['--recipe', 'small', '--list'], 'not allowed with argument'),
        (['--all', '--phase', 'test', '-o', 'a'], 'argument --phase: not allowed with argument --all'),
    ],
)
def test_wrong_command_lines(call, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        call(*arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--recipe', 'smal', '-o', 'a.yml'], '^recipe: must be one of '),
        (['--recipe', 'small', '--dataset', 'lol', '-o', 'a.yml'], '^dataset: must be one of '),
        (['--recipe', 'demo', '-o', 'a.json'], r'^out: an option file ends in \.yml or \.yaml, got a\.json'),
        (['--recipe', 'demo', '--name', 'a/b', '-o', 'a.yml'], '^name: '),
    ],
)
def test_unfit_values_name_their_field(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)
    assert not list(Path().iterdir())
