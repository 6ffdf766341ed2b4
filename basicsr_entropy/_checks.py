"""Checks of options that every part of the package shares. Knows nothing but Python."""

from collections.abc import Iterable, Sequence


def is_whole(value: object, least: int | None = None) -> bool:
    """Whether a value is a whole number, of at least `least`; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)


def are_whole(values: object, least: int | None = None) -> bool:
    """Whether values are a list of whole numbers, not an empty one."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    return is_list and all(is_whole(value, least) for value in values)


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Raises a ValueError that begins with the option's name unless its value is known; no choice is true or false."""
    known = tuple(known)
    if value not in known or isinstance(value, bool):
        raise ValueError(f'{name} must be one of {", ".join(map(str, known))}, got {value!r}')
