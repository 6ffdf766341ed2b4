"""Templates of option files: a recipe (network, losses, schedule) for a dataset, as flat BasicSR YAML.

The templates are in the folder `templates` beside this module:

- `base.yml.j2`: the skeleton, with a default for everything that recipes may change;
- `recipes/NAME.yml.j2`: what recipe NAME changes;
- `datasets.yml`: the datasets, each with the template of its section.

They are Jinja templates. To add a recipe, add a file to `recipes/`: it extends `base.yml.j2` and sets

- `summary`: one line, for the first line of its option files and for `basicsr-entropy init --list`;
- `file`: the stem of its option files;
- `dataset_in_options`: the only dataset for which `options/` has files of it; the four published ones by default;
- `phases_in_options`: the phases for which `options/` has files of it; train and test by default.

`python -m basicsr_entropy.config.templates --write options` writes the folder `options/` of the repository.
"""

import argparse
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2
import yaml
from jinja2 import nodes

from basicsr_entropy._checks import check_choice, has_control_characters, is_path
from basicsr_entropy._files import atomic_write_text

PHASES = ('train', 'test')
_PUBLISHED = ('lolv1', 'lolv2_real', 'lolv2_synthetic', 'ntire2024')
_FOLDER = Path(__file__).parent / 'templates'


def recipes() -> dict[str, str]:
    """Names of the recipes, each with its description in one line."""
    return {name: _recipe(name)['summary'] for name in _recipe_names()}


def datasets() -> dict[str, str]:
    """Names of the datasets that option files are written for, each with its description in one line."""
    return {name: f'{dataset["title"]}: {dataset["description"]}' for name, dataset in _datasets().items()}


def usual_dataset(recipe: str) -> str | None:
    """The dataset that a recipe is meant for, or None if it suits every dataset.

    Raises:
        ValueError: If the recipe is unknown.
    """
    return _recipe(recipe).get('dataset_in_options')


def usual_dataroot(dataset: str) -> str:
    """The dataroot of the option files in `options/`, relative to the current directory.

    Raises:
        ValueError: If the dataset is unknown.
    """
    return _dataset(dataset)['dataroot']


def render(
    recipe: str,
    dataset: str,
    phase: str,
    dataroot: str | PurePath | None = None,
    name: str | None = None,
    schema: str | None = None,
) -> str:
    """Text of an option file.

    Args:
        recipe: Name of a recipe; see `recipes`.
        dataset: Name of a dataset; see `datasets`.
        phase: 'train', or 'test' for the test of the network that training under the same name gives.
        dataroot: Folder of the data; for the dataset `photographs`, the folder with `train` and `test` in it. Default:
            a folder in `datasets/`.
        name: Name of the run, hence of its folder in `experiments/`. Default: the file stem of the recipe and the name
            of the dataset, such as irsde_small_LOLv1.
        schema: URL of the JSON schema, or its path relative to the file, for the YAML language server of an editor.

    Returns:
        Flat YAML with comments, ASCII.

    Raises:
        ValueError: If the recipe, dataset or phase is unknown, or the name cannot be that of a folder.
    """
    check_choice('phase', phase, PHASES)
    settings, section = _recipe(recipe), _dataset(dataset)
    if name is None:
        only_dataset = settings.get('dataset_in_options') == dataset
        name = settings['file'] if only_dataset else f'{settings["file"]}_{section["name"]}'
    if not name or has_control_characters(name) or is_path(name):
        raise ValueError(f'name: it names a folder in experiments/, so it cannot be {name!r}')
    return (
        _environment()
        .get_template(_template(recipe))
        .render(
            name=name,
            phase=phase,
            dataset=section,
            dataroot=str(PurePath(section['dataroot'] if dataroot is None else dataroot)),
            schema=schema,
        )
    )


def option_files(schema: str | None = 'schema.json') -> dict[str, str]:
    """The option files of `options/`: text by path relative to that folder.

    Args:
        schema: Path of the JSON schema relative to that folder, which the files refer to; None for no reference.
    """
    files = {}
    for recipe in _recipe_names():
        settings = _recipe(recipe)
        only_dataset = settings.get('dataset_in_options')
        for dataset in (only_dataset,) if only_dataset else _PUBLISHED:
            for phase in settings.get('phases_in_options', PHASES):
                path = PurePath(phase, _dataset(dataset)['folder'], f'{settings["file"]}.yml')
                up = '../' * (len(path.parts) - 1)
                files[path.as_posix()] = render(recipe, dataset, phase, schema=schema and up + schema)
    return dict(sorted(files.items()))


def write_option_files(files: Mapping[Path, str], overwrite: bool = False) -> None:
    """Writes option files, each with an atomic write; folders are created as needed.

    Args:
        files: Text by path.
        overwrite: Whether files that exist are replaced.

    Raises:
        FileExistsError: If a file exists and `overwrite` is false; names the file, and nothing has been written.
    """
    if not overwrite:
        for path in files:
            if path.exists():
                raise FileExistsError(f'out: {path} exists; write to another path, or overwrite it explicitly')
    for path, text in files.items():
        atomic_write_text(path, text)


def _scalar(text: str) -> str:
    """Text as a YAML scalar, quoted only where it has to be."""
    return yaml.safe_dump([text], default_flow_style=True, width=float('inf'))[1:].rstrip()[:-1]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters['scalar'] = _scalar
    return environment


def _template(recipe: str) -> str:
    return f'recipes/{recipe}.yml.j2'


def _recipe_names() -> list[str]:
    return sorted(path.name.partition('.')[0] for path in (_FOLDER / 'recipes').glob('*.yml.j2'))


def _recipe(name: str) -> dict[str, Any]:
    """What a recipe sets: its `{% set NAME = VALUE %}`."""
    check_choice('recipe', name, _recipe_names())
    tree = _environment().parse((_FOLDER / _template(name)).read_text(encoding='utf-8'))
    return {
        statement.target.name: statement.node.as_const()
        for statement in tree.body
        if isinstance(statement, nodes.Assign)
        and isinstance(statement.target, nodes.Name)
        and isinstance(statement.node, nodes.Expr)
    }


@cache
def _datasets() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((_FOLDER / 'datasets.yml').read_text(encoding='utf-8'))


def _dataset(name: str) -> dict[str, Any]:
    check_choice('dataset', name, _datasets())
    return _datasets()[name]


def _main() -> None:
    parser = argparse.ArgumentParser(description='Writes the option files of the repository from their templates.')
    parser.add_argument('--write', required=True, type=Path, metavar='FOLDER', help='folder to write to: options')
    folder = parser.parse_args().write
    write_option_files({folder / path: text for path, text in option_files().items()}, overwrite=True)


if __name__ == '__main__':
    _main()
