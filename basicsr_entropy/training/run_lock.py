"""The lock of a run's folder: one run at a time trains in it."""

import errno
import fcntl
import os
import socket
import warnings
from pathlib import Path
from types import TracebackType

from basicsr_entropy.config.folders import LOCK_FILE

_HELD = (errno.EACCES, errno.EAGAIN)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class RunLock:
    """Context at whose end the folder that `take` has locked is free again.

    The lock is a record lock (POSIX) on a file in the folder. The kernel drops it when the process ends, in whatever
    way, so a lock is never stale. Unlike that of `flock` it belongs to this process alone: the worker processes that it
    forks, which outlive it by seconds when it is killed, keep no resumed run out.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def __enter__(self) -> 'RunLock':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def take(self, folder: str | Path) -> None:
        """Locks a folder, and frees the one that was locked before; does nothing if there is no such folder.

        Args:
            folder: The folder.

        Raises:
            BlockingIOError: If another process has locked it; the message names both.
            OSError: If the file cannot be opened.
        """
        path = Path(folder, LOCK_FILE)
        if self._file is not None and _is_at(self._file, path):
            return  # to open and close the file once more would free it
        while True:
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                return
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(file, 200, 0).decode(errors='replace') or 'another process'
                os.close(file)
                if error.errno in _UNSUPPORTED:
                    warnings.warn(
                        f'{path}: cannot be locked ({error.strerror}); start no second run there', stacklevel=2
                    )
                    return
                if error.errno not in _HELD:
                    raise
                raise BlockingIOError(
                    f'{folder} is in use: {holder} trains there; wait for its end, stop it (SIGTERM saves its state), '
                    'or choose another name'
                ) from error
            if _is_at(file, path):  # and not in a folder that another run has archived meanwhile
                break
            os.close(file)
        self._release()
        self._file = file
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f'process {os.getpid()} on {socket.gethostname()}'.encode(), 0)
        except OSError as error:  # a full disk, which the error alone would not locate
            raise OSError(error.errno, error.strerror, str(path)) from error

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
