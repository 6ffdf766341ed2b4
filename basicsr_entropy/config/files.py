"""Option files: YAML on disk to a mapping of options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MERGE = 'tag:yaml.org,2002:merge'  # of the key <<, which may be there twice


def read_option_file(path: str | Path) -> Mapping[str, Any]:
    """Options as the file has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, no mapping, or has a key twice, of which YAML readers keep the last in silence.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'options: no file {path}')
    try:
        options = _load(Path(path).read_text(encoding='utf-8-sig'))
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not a text file in UTF-8') from error
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f', line {mark.line + 1}' if mark else ''
        raise ValueError(f'{path}{line}: not valid YAML: {getattr(error, "problem", None) or error}') from error
    if not isinstance(options, Mapping):
        raise ValueError(f'{path}: an option file is a mapping of options, got {type(options).__name__}')
    return options


def _load(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, ())
        return _unshared(loader.construct_document(node))
    finally:
        loader.dispose()


def _unshared(value: Any) -> Any:
    """A copy in which no two places are one object, as those of an alias are: BasicSR takes keys out of sections."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value


def _check_nodes(node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
    """Raises an error for a key that is there twice, or for a node that contains itself by an alias."""
    if any(each is node for each in above):
        raise yaml.constructor.ConstructorError(None, None, 'an alias of what it stands in', node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_nodes(each, (*above, node))
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is there twice; remove one of them", key.start_mark
                    )
                seen.add(key.value)
            _check_nodes(value, (*above, node))
