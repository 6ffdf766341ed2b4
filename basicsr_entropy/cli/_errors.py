"""Printing errors and warnings: one line on the terminal, in terms of the command's flags."""

import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from basicsr_entropy._errors import message_of


def print_error(error: Exception, flags: Mapping[str, str]) -> None:
    """Prints an error as one line on standard error, and its traceback to the log file of a run that has one.

    Args:
        error: The error.
        flags: The command's flags by field name; see `in_flags`.
    """
    line = in_flags(_one_line(error), flags)
    record = logging.LogRecord(
        'basicsr', logging.ERROR, __file__, 0, line, None, (type(error), error, error.__traceback__)
    )
    handlers = logging.getLogger('basicsr').handlers
    logs = [each for each in handlers if isinstance(each, logging.FileHandler) and _writes(each, record)]
    where = f'traceback in {logs[0].baseFilename}' if logs else 'run with --traceback for details'
    print(f'basicsr-entropy: error: {line} ({where})', file=sys.stderr)


def _writes(handler: logging.FileHandler, record: logging.LogRecord) -> bool:
    """Writes a record to a log file, and tells whether that could be done; the disk may be full."""
    failed: list[logging.LogRecord] = []
    handler.handleError = failed.append  # type: ignore[method-assign, assignment]
    handler.handle(record)
    return not failed


@contextmanager
def warnings_in_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """Context in which warnings of the library are printed as one line on standard error, in terms of the flags."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning):
            print(f'basicsr-entropy: warning: {in_flags(str(message), flags)}', file=sys.stderr)
        else:
            original(message, category, *place, **more)

    with warnings.catch_warnings():
        original, warnings.showwarning = warnings.showwarning, show
        yield


def _one_line(error: Exception) -> str:
    message = message_of(error)
    lines = [line for line in message.splitlines() if line.strip()] or [type(error).__name__]
    # a worker of a data loader wraps its error in a traceback whose last line is the message
    line = lines[-1].partition(': ')[2] if 'Original Traceback' in message else lines[0]
    return (
        line if isinstance(error, (KeyError, ValueError, OSError, ImportError)) else f'{type(error).__name__}: {line}'
    )


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """Replaces the field names in an error message of the library with the flags of a command.

    The library names a field in two forms. At the beginning of a message, `crop_size: ...` and `crop_size must ...`
    become `--crop-size: ...` and `--crop-size must ...`. Anywhere in it, Python's keyword form is replaced: `step=4`
    becomes `--step 4`; `skip_bad=True` and `options=...`, an unspecified value, become the flag alone.

    Args:
        message: One line.
        flags: Flags by field name, e.g. {'crop_size': '--crop-size', 'out': '-o'}.
    """
    if not flags:
        return message
    fields = '|'.join(map(re.escape, flags))
    message = re.sub(rf'^({fields})(?=: | must )', lambda found: flags[found[1]], message)
    # the lookbehind keeps file paths such as /data/step=4/a.png as they are
    keyword = rf'(?<![\w./-])({fields})=(True\b|\.\.\.)?'
    return re.sub(keyword, lambda found: flags[found[1]] + ('' if found[2] else ' '), message)
