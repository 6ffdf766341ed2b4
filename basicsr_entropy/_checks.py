"""Checks of option values, shared by every part of the package. Depends on Python's standard library only."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeGuard

LARGEST_SEED = 2**63 - 1  # the largest that torch takes


def is_integer(value: object, minimum: int | None = None) -> TypeGuard[int]:
    """Whether a value is an integer, and at least `minimum` if that is given; booleans do not count as integers."""
    return isinstance(value, int) and not isinstance(value, bool) and (minimum is None or value >= minimum)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; booleans do not count as numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def are_integers(values: object, minimum: int | None = None) -> TypeGuard[Sequence[int]]:
    """Whether a value is a non-empty sequence of integers, each at least `minimum` if that is given."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return False
    return all(is_integer(value, minimum) for value in values)


def has_control_characters(text: str) -> bool:
    """Whether a text has control characters, line separators or lone surrogates (Unicode Cc, Zl, Zp, Cs)."""
    return any(unicodedata.category(character) in ('Cc', 'Zl', 'Zp', 'Cs') for character in text)


def is_path(name: str) -> bool:
    """Whether a name would lead out of the folder that it is joined to, or into another one below."""
    return name in ('.', '..') or '/' in name or '\\' in name


def name_problem(name: str) -> str | None:
    """What is wrong with a name that files or folders are named after; None if nothing is."""
    if is_path(name):
        return f'must be a name and not a path, got {name!r}: output files are named after it'
    if has_control_characters(name):
        return f'must have no control characters, got {name!r}: output files are named after it'
    return None


def check_integer(name: str, value: object, minimum: int) -> None:
    """Raises a ValueError that begins with the option's name unless its value is an integer of at least `minimum`."""
    if not is_integer(value, minimum):
        raise ValueError(f'{name}: must be an integer of at least {minimum}, got {value!r}')


def check_seed(name: str, value: object) -> None:
    """Raises a ValueError that begins with the option's name unless its value is a seed for torch."""
    if not is_integer(value, 0) or value > LARGEST_SEED:
        raise ValueError(f'{name}: must be an integer from 0 to {LARGEST_SEED}, got {value!r}')


def check_positive(name: str, value: object, unit: str = '') -> None:
    """Raises a ValueError that begins with the option's name unless its value is a positive, finite number."""
    if not is_number(value) or value <= 0:
        raise ValueError(f'{name}: must be a positive number{unit and f" of {unit}"}, got {value!r}')


def check_number(name: str, value: object, minimum: float, maximum: float) -> None:
    """Raises a ValueError that begins with the option's name unless its value is a number in [minimum, maximum]."""
    if not is_number(value) or not minimum <= value <= maximum:
        raise ValueError(f'{name}: must be a number from {minimum:g} to {maximum:g}, got {value!r}')


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises a ValueError that begins with the option's name unless its value is one of the choices.

    Booleans are never a choice, although Python counts True as equal to 1.
    """
    choices = tuple(choices)
    if value not in choices or isinstance(value, bool):
        raise ValueError(f'{name}: must be one of {", ".join(map(str, choices))}, got {value!r}')
