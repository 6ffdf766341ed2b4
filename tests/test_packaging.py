"""Metadata of the distribution, content of the wheel, and pinned versions."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import basicsr_entropy

PACKAGE = Path(basicsr_entropy.__file__).parent
ROOT = PACKAGE.parent
IN_ROOT = ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources by a Python that cannot import torch or basicsr."""
    pytest.importorskip('build')
    source, blocked = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('blocked')
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(ROOT / 'tests/losses', source / 'tests/losses')
    for name in IN_ROOT:
        shutil.copy(ROOT / name, source)
    for name in ('torch', 'basicsr'):
        (blocked / f'{name}.py').write_text(f'raise ImportError("the build needs no {name}")')
    command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', str(source / 'dist')]
    environment = {**os.environ, 'PYTHONPATH': str(blocked)}
    built = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (source / 'dist').glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel):
    packed = {name for name in wheel.namelist() if '.dist-info/' not in name}
    files = (path for path in PACKAGE.rglob('*') if path.is_file() and '__pycache__' not in path.parts)
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert {
        'basicsr_entropy/py.typed',
        'basicsr_entropy/entropy/backends/local_divergence.c',
        'basicsr_entropy/weights/night_small.safetensors',
    } <= packed


@pytest.mark.slow
def test_metadata_of_the_wheel(wheel):
    info = f'basicsr_entropy-{basicsr_entropy.__version__}.dist-info'
    metadata = message_from_string(wheel.read(f'{info}/METADATA').decode())
    assert metadata['Name'] == 'basicsr-entropy'
    assert metadata['Version'] == basicsr_entropy.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Requires-Python'] == '<3.13,>=3.10'
    assert metadata.get_payload().strip() == (ROOT / 'README.md').read_text().strip()
    extras = ['app', 'bench', 'dev', 'docs', 'heif', 'hub', 'jpeg', 'lion', 'lpips', 'notebook', 'onnx', 'spandrel']
    assert sorted(metadata.get_all('Provides-Extra')) == extras
    assert 'basicsr-entropy = basicsr_entropy.cli:main' in wheel.read(f'{info}/entry_points.txt').decode()


def test_every_dependency_is_pinned():
    tomllib = pytest.importorskip('tomllib')  # new in Python 3.11
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    requirements = [*project['dependencies'], *sum(project['optional-dependencies'].values(), [])]
    pinned = {normalized(line) for line in (ROOT / 'constraints.txt').read_text().splitlines() if '==' in line}
    assert {normalized(requirement) for requirement in requirements} <= pinned


def normalized(requirement):
    """Name of the distribution in a requirement, in the form in which names are compared."""
    return re.sub(r'[-_.]+', '-', re.match(r'[\w.-]+', requirement)[0]).lower()
