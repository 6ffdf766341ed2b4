"""Option files: YAML on disk to a mapping of options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def read_option_file(path: str | Path) -> Mapping[str, Any]:
    """Options as the file has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, or no mapping.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'options: no file {path}')
    try:
        options = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f', line {mark.line + 1}' if mark else ''
        raise ValueError(f'{path}{line}: not valid YAML: {getattr(error, "problem", None) or error}') from error
    if not isinstance(options, Mapping):
        raise ValueError(f'{path}: an option file is a mapping of options, got {type(options).__name__}')
    return options
