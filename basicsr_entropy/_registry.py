"""Registering in BasicSR's registries, and looking up their entries."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from basicsr_entropy._errors import suggestion

PACKAGE = __name__.partition('.')[0]
_SUFFIX = '_basicsr'


def is_own(registered: Any) -> bool:
    """Whether a class or function belongs to this package."""
    return (registered.__module__ or '').partition('.')[0] == PACKAGE


def plain_name(name: str) -> str:
    """A registered name without the suffix that BasicSR appends to some of its own, and need not be written."""
    return name.removesuffix(_SUFFIX)


class Registry(Protocol):
    """The part of basicsr.utils.registry.Registry that is used here."""

    _name: str

    def __iter__(self) -> Iterator[tuple[str, Any]]: ...

    def register(self, obj: Any) -> Any: ...


def register(registry: Registry, entries: Iterable[Any]) -> None:
    """Registers classes or functions under their own names; registering them again changes nothing.

    Raises:
        KeyError: If a name is taken by a class or function of another package.
    """
    known = dict(iter(registry))
    for entry in entries:
        taken = known.get(entry.__name__)
        if taken is None:
            registry.register(entry)
        elif taken is not entry and not is_own(taken):
            raise KeyError(
                f"BasicSR's {registry._name} registry already holds a '{entry.__name__}', from {taken.__module__}: "
                f'{PACKAGE} cannot register its own. Rename one of them, or do not import {taken.__module__}.'
            )


def look_up(registry: Registry, name: str, path: str) -> Any:
    """Looks up an entry of a registry.

    Args:
        registry: One of BasicSR's registries.
        name: Name of an entry.
        path: Path of the name in the option file, for the error message.

    Raises:
        KeyError: If there is no such entry; names the option path and the most similar entry.
    """
    known = dict(iter(registry))
    for candidate in (name, f'{name}{_SUFFIX}'):
        if candidate in known:
            return known[candidate]
    near = suggestion(name, map(plain_name, known))
    raise KeyError(f"{path}: no '{name}' in the {registry._name} registry{near}")


def look_up_type(registry: Registry, options: Mapping[str, Any], path: str) -> Any:
    """Looks up the entry that options['type'] names.

    Raises:
        KeyError: As `look_up`, also if the type is missing.
        ValueError: If it is no text.
    """
    if not isinstance(options, Mapping) or options.get('type') is None:
        raise KeyError(f'{path}.type: missing; it names an entry of the {registry._name} registry')
    if not isinstance(options['type'], str):
        raise ValueError(f'{path}.type: must be a name, got {options["type"]!r}')
    return look_up(registry, options['type'], f'{path}.type')
