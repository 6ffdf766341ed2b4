"""Signals that ask a training run to stop: it saves its state at the end of the current step."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# SIGTERM by clusters, some of which announce it by SIGUSR1; SIGINT by Ctrl+C; SIGHUP by a closed terminal
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
ECHO = 5.0  # seconds in which a launcher may forward the signal that the terminal has sent already


class StopRequested(BaseException):
    """Leaves what changes nothing that is saved, a start or a validation, when a signal asks to stop."""


class StopSignals:
    """Context in which the signals of `STOPPING` are noted; a second Ctrl+C ends the process at once.

    Only in the main thread, where Python handles signals; elsewhere it notes none. Signals that the process was started
    to ignore stay ignored, such as SIGHUP under `nohup`, and SIGINT in a background job of a script.

    Args:
        launched: Whether a launcher started this process, which then forwards signals.

    Attributes:
        received: The first signal, or None.
    """

    def __init__(self, launched: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._launched, self._since, self._interruptible = launched, 0.0, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'StopSignals':
        if threading.current_thread() is threading.main_thread():
            heard = [each for each in STOPPING if signal.getsignal(each) != signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._note) for each in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Context that a signal leaves at once, by `StopRequested`.

        Python swallows exceptions in finalizers; then `received` tells of the signal.
        """
        self._interruptible = True
        try:
            if self.received is not None:
                raise StopRequested
            yield
        finally:
            self._interruptible = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = signal.Signals(number), now
            if self._interruptible:
                raise StopRequested
            _print(f'{self.received.name}: saving the state after this step')
        elif number == signal.SIGINT and not (self._launched and now - self._since < ECHO):
            _print('SIGINT again: ends at once, without saving')
            os._exit(exit_code(signal.SIGINT))


def exit_code(number: int) -> int:
    """Exit code of a process that a signal ended, as shells tell it: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + number


def end_within(seconds: float, code: int) -> None:
    """Ends this process after some seconds, unless it has ended by then."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()


def _print(message: str) -> None:
    # not through Python's buffers, which the interrupted code may be using; the terminal may be gone
    with suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f'basicsr-entropy: {message}\n'.encode())
