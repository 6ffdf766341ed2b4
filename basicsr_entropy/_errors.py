"""Wording of error messages. Depends on the standard library only."""

import difflib
from collections.abc import Iterable


def message_of(error: Exception) -> str:
    """The message of an error; str() of a KeyError would give it in quotes."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class if it has no message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def suggestion(name: object, known: Iterable[object]) -> str:
    """'; did you mean X?' for the nearest known name, or '; known: ...'."""
    names = sorted(set(map(str, known)))
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f'; known: {", ".join(names)}'
