"""Where a run writes its outputs, as its option file says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """
    key, parent = _ROOTS[is_train]
    asked = (options.get('path') or {}).get(key)
    return Path(asked).expanduser() if asked else root / parent / options['name']


def run_paths(options: Mapping[str, Any], is_train: bool, root: Path) -> dict[str, str]:
    """What BasicSR adds to `path`: the output folder of a run and the folders in it; arguments as `output_folder`."""
    folder = output_folder(options, is_train, root)
    below = {name: str(folder / name_below) for name, name_below in _SUBFOLDERS[is_train].items()}
    return {_ROOTS[is_train][0]: str(folder), **below}


def latest_weights(options: Mapping[str, Any]) -> Path:
    """Weights of `network_g` that a finished training with these options leaves."""
    return output_folder(options, is_train=True) / 'models/net_g_latest.pth'
