"""Where a run writes its outputs, as its option file says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr_entropy._checks import name_problem

LOCK_FILE = '.lock'  # in the output folder of a training run; see `training.run_lock`

# option that names the folder, and the parent of the default folder, by whether the run trains
_ROOTS = {True: ('experiments_root', 'experiments'), False: ('results_root', 'results')}
# further folders that BasicSR expects below `path`, relative to the output folder
_SUBFOLDERS = {
    True: {'models': 'models', 'training_states': 'training_states', 'log': '', 'visualization': 'visualization'},
    False: {'log': '', 'visualization': 'visualization'},
}


def output_folder(options: Mapping[str, Any], is_train: bool, root: Path = Path()) -> Path:
    """Output folder of a run: path.experiments_root or path.results_root, otherwise experiments/NAME or results/NAME.

    Args:
        options: Content of the option file.
        is_train: Whether the run trains, or tests.
        root: Folder below which `experiments/` and `results/` are; the current one by default.

    Raises:
        ValueError: If the name is a path, by which the run would leave that folder.
    """
    key, parent = _ROOTS[is_train]
    asked = (options.get('path') or {}).get(key)
    if asked:
        return Path(asked).expanduser()
    problem = name_problem(options['name'])
    if problem:
        raise ValueError(f'name: {problem}')
    return root / parent / options['name']


def folder_option(options: Mapping[str, Any], is_train: bool) -> str:
    """The option that decides about a run's output folder; arguments as `output_folder`."""
    key, _ = _ROOTS[is_train]
    return f'path.{key}' if (options.get('path') or {}).get(key) else 'name'


def is_run_folder(folder: Path, is_train: bool) -> bool:
    """Whether a folder is that of a run, empty or not there, so that a new run may archive it.

    Args:
        folder: The folder.
        is_train: Whether the run trains, or tests.
    """
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    names = {each.name for each in folder.iterdir()} - {LOCK_FILE}
    own = {below for below in _SUBFOLDERS[is_train].values() if below}
    log = f'{"train" if is_train else "test"}_*.log'
    return names <= own or own <= names or next(folder.glob(log), None) is not None


def run_paths(options: Mapping[str, Any], is_train: bool, root: Path) -> dict[str, str]:
    """What BasicSR adds to `path`: the output folder of a run and the folders in it; arguments as `output_folder`."""
    folder = output_folder(options, is_train, root)
    below = {name: str(folder / name_below) for name, name_below in _SUBFOLDERS[is_train].items()}
    return {_ROOTS[is_train][0]: str(folder), **below}


def latest_weights(options: Mapping[str, Any]) -> Path:
    """Weights of `network_g` that a finished training with these options leaves."""
    return output_folder(options, is_train=True) / 'models/net_g_latest.pth'
