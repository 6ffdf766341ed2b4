"""Choosing a command: help, version and wrong command lines."""

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import CLI

import basicsr_entropy
from basicsr_entropy import cli


def test_help_and_wrong_commands(run):
    code, out, _ = run('--help')
    assert code == 0
    assert all(f'  {name} ' in out for name in cli.COMMANDS)
    assert all(summary in ' '.join(out.split()) for summary in cli.COMMANDS.values())
    assert run('help')[:2] == (0, out)
    code, _, err = run('trian')
    assert code == 2
    assert "no command 'trian'; did you mean 'train'?" in err
    assert run()[0] == 2
    assert run('prepare')[0] == 2
    assert run('train')[0] == 2


def test_version(run):
    assert run('--version')[:2] == (0, f'basicsr-entropy {basicsr_entropy.__version__}\n')
    result = subprocess.run([*CLI, '--version'], capture_output=True, text=True, check=True)
    assert result.stdout == f'basicsr-entropy {basicsr_entropy.__version__}\n'


@pytest.mark.parametrize('words', [['--help'], ['--version'], ['trian'], []])
def test_nothing_heavy_is_imported_before_a_command_is_chosen(words):
    program = """
        import sys
        from basicsr_entropy.cli import main
        try:
            main()
        finally:
            print(sorted({'torch', 'torchvision', 'numpy', 'cv2', 'basicsr'} & set(sys.modules)))
    """
    program = re.sub('^ {8}', '', program, flags=re.MULTILINE)
    result = subprocess.run([sys.executable, '-c', program, *words], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == '[]', result.stderr


def test_the_table_lists_the_modules():
    files = {path.stem for path in Path(cli.__file__).parent.glob('[!_]*.py')}
    assert set(cli.COMMANDS) == files - {'errors', 'memory'}


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(run, name):
    module = importlib.import_module(f'basicsr_entropy.cli.{name}')
    code, out, _ = run(name, '--help')
    assert code == 0
    assert f'usage: basicsr-entropy {name} ' in out
    assert run('help', name)[:2] == (0, out)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert parser.description
    heading, _, example = parser.epilog.partition('\n')
    assert heading == 'example:'
    for line in example.replace('\\\n', ' ').replace("'", '').splitlines():
        program, command, *words = line.split()
        assert (program, command) == ('basicsr-entropy', name)
        parser.parse_args(words)
    shown = re.findall(r'(?<![\w-])(?:--?[a-z][\w-]*|[A-Z]+)', out)  # flags, and arguments without one
    assert set(module.FLAGS.values()) <= set(shown)


def test_traceback_may_stand_before_the_command(run):
    with pytest.raises(FileNotFoundError, match='options: no file absent.yml'):
        run('--traceback', 'report', '-opt', 'absent.yml')


def test_unknown_arguments_are_reported_with_the_usage_of_the_command(run):
    code, _, err = run('report', '-opt', 'test.yml', '--pictur', 'a.png', '--color', 'red')
    assert code == 2
    assert 'usage: basicsr-entropy report ' in err
    assert 'unrecognized arguments: --color red' in err
