"""Entry of this package's classes and functions into BasicSR's registries, and clear errors for wrong options."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from basicsr_entropy._errors import suggestion

PACKAGE = __name__.partition('.')[0]


class Registry(Protocol):
    """What is used of basicsr.utils.registry.Registry."""

    _name: str

    def __iter__(self) -> Iterator[tuple[str, Any]]: ...

    def register(self, obj: Any) -> Any: ...


def register(registry: Registry, entries: Iterable[Any]) -> None:
    """Registers classes or functions under their own names; registering them again changes nothing.

    Raises:
        KeyError: If a name is taken by something that is not this package's.
    """
    known = dict(iter(registry))
    for entry in entries:
        taken = known.get(entry.__name__)
        if taken is None:
            registry.register(entry)
        elif taken is not entry and taken.__module__.partition('.')[0] != PACKAGE:
            raise KeyError(
                f"BasicSR's {registry._name} registry already holds a '{entry.__name__}', from {taken.__module__}: "
                f'{PACKAGE} cannot register its own. Rename one of them, or do not import {taken.__module__}.'
            )


def check_keys(options: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    """Raises a KeyError that names the first key of `options` that is not known, and the nearest that is."""
    known = list(known)
    for key in options:
        if key not in known:
            raise KeyError(f'{path}.{key}: there is no such option{suggestion(key, known)}')


def look_up(registry: Registry, name: str, path: str) -> Any:
    """What a name stands for in the registry.

    Args:
        registry: One of BasicSR's registries.
        name: Name of an entry.
        path: Where the name stands in the option file, for the error.

    Raises:
        KeyError: If there is no such entry; names the option path and the nearest entry.
    """
    known = dict(iter(registry))
    for candidate in (name, f'{name}_basicsr'):  # BasicSR adds a suffix to some of its own
        if candidate in known:
            return known[candidate]
    near = suggestion(name, (entry.removesuffix('_basicsr') for entry in known))
    raise KeyError(f"{path}: no '{name}' in the {registry._name} registry{near}")


def look_up_type(registry: Registry, options: Mapping[str, Any], path: str) -> Any:
    """What options['type'] stands for in the registry; errors as in `look_up`, also for a missing type."""
    if not isinstance(options, Mapping) or 'type' not in options:
        raise KeyError(f'{path}.type: missing; it names an entry of the {registry._name} registry')
    return look_up(registry, options['type'], f'{path}.type')


def check_arguments(callee: Any, options: Mapping[str, Any], path: str) -> None:
    """Checks that `options` (less 'type') are arguments of a registered class or function.

    Raises:
        KeyError: If an option is unknown or a needed one is missing; names the option path.
    """
    parameters = inspect.signature(callee).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    given = {key: value for key, value in options.items() if key != 'type'}
    check_keys(given, parameters, path)
    for name, parameter in parameters.items():
        if (
            parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_POSITIONAL
            and name not in given
        ):
            raise KeyError(f'{path}.{name}: missing; {callee.__name__} needs it')


def build(registry: Registry, options: Mapping[str, Any], path: str) -> Any:
    """Builds what options['type'] names with the other options as its arguments; `options` stay as they are.

    Args:
        registry: One of BasicSR's registries.
        options: A mapping with 'type' and the arguments.
        path: Where the options stand in the option file, for errors.

    Raises:
        KeyError: If the type or an option is unknown, or one is missing.
        ValueError: If the built thing refuses an option; the message begins with the path.
    """
    callee = look_up_type(registry, options, path)
    check_arguments(callee, options, path)
    try:
        return callee(**{key: value for key, value in options.items() if key != 'type'})
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from error
