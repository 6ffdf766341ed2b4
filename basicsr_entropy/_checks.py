"""Checks of option values, shared by every part of the package. Depends on Python's standard library only."""

from collections.abc import Iterable, Sequence


def is_whole(value: object, least: int | None = None) -> bool:
    """Whether a value is an integer, and at least `least` if that is given; booleans do not count as integers."""
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)


def are_whole(values: object, least: int | None = None) -> bool:
    """Whether a value is a non-empty sequence of integers, each at least `least` if that is given."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    return is_list and all(is_whole(value, least) for value in values)


def check_whole(name: str, value: object, least: int) -> None:
    """Raises a ValueError that begins with the option's name unless its value is an integer of at least `least`."""
    if not is_whole(value, least):
        raise ValueError(f'{name}: must be an integer of at least {least}, got {value!r}')


LARGEST_SEED = 2**63 - 1  # that torch takes


def check_seed(name: str, value: object) -> None:
    """Raises a ValueError that begins with the option's name unless its value is a seed for torch."""
    if not is_whole(value, 0) or value > LARGEST_SEED:
        raise ValueError(f'{name}: must be an integer from 0 to {LARGEST_SEED}, got {value!r}')


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises a ValueError that begins with the option's name unless its value is one of the choices.

    Booleans are never a choice, although Python counts True as equal to 1.
    """
    choices = tuple(choices)
    if value not in choices or isinstance(value, bool):
        raise ValueError(f'{name}: must be one of {", ".join(map(str, choices))}, got {value!r}')
