"""The processes of a distributed run: they stop after the same step, and none outlives another that failed."""

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch.distributed

POLL = 0.5  # seconds between two looks at the other processes
PATIENCE = 3.0  # seconds that a process gets to end by itself


def gathered(value: Any) -> list[Any]:
    """A value of every process, by rank. Called by all of them."""
    if not _is_distributed():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def from_first(value: Any) -> Any:
    """The value of rank 0. Called by all processes."""
    if not _is_distributed():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class Peers:
    """Context of a run in which a thread watches the launcher and the other processes.

    If one of them ends or fails, an operation on all processes would wait for it, in the worst case for ever. Then the
    thread gives this process `PATIENCE` seconds to end by itself, prints why, and ends it. In a run of one process the
    context does nothing.

    Attributes:
        cause: Why this process has to end, once that is known.
    """

    def __init__(self) -> None:
        self.cause: str | None = None
        self._stop_after: int | None = None
        self._store: Any = None
        if _is_distributed():
            store = torch.distributed.distributed_c10d._get_default_store()
            self._store = torch.distributed.distributed_c10d.PrefixStore('basicsr_entropy', store)
            self._rank, self._world = torch.distributed.get_rank(), torch.distributed.get_world_size()
            self._launcher, self._left = os.getppid(), threading.Event()

    def __enter__(self) -> 'Peers':
        if self._store is not None:
            self._store.set(f'process/{self._rank}', f'{socket.gethostname()} {os.getpid()}')
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._store is None:
            return
        try:
            if kind is None or issubclass(kind, SystemExit):
                self._leave(error.code if isinstance(error, SystemExit) else None)
            else:
                self._explain(error)
        finally:
            # a thread that comes back from the store while the interpreter shuts down would abort the process
            self._watcher.join(PATIENCE)

    def agree_to_stop(self, wanted: bool, iteration: int) -> bool:
        """Whether to stop after this step; the same answer in all processes.

        A process that wants to stop announces it at the end of a step, for the step after. The others cannot finish
        that step without it, so they know by then.

        Args:
            wanted: Whether this process wants to stop.
            iteration: The step that it has just finished.
        """
        if self._store is None:
            return wanted
        if self._stop_after is None:
            if wanted:
                self._store.compare_set('stop', '', str(iteration + 1))
            if self._store.check(['stop']):
                self._stop_after = int(self._store.get('stop'))
        return self._stop_after is not None and iteration >= self._stop_after

    def _leave(self, code: Any) -> None:
        """Announces that this process ends as it should; rank 0, which may hold the store, ends last.

        Args:
            code: Its exit code if it was stopped. Rank 0, which has saved the state by then, stops the others, since
                they may be waiting for it in a validation or at the start; but not longer than they get.
        """
        self._store.set(f'left/{self._rank}', '')
        if self._rank == 0:
            until = math.inf
            if code is not None:
                self._store.set('stopped', str(code))
                until = time.monotonic() + PATIENCE + 4 * POLL
            while not self._all_left() and time.monotonic() < until:
                time.sleep(POLL / 5)
        self._left.set()

    def _all_left(self) -> bool:
        return all(self._store.check([f'left/{rank}']) for rank in range(self._world))

    def _explain(self, error: BaseException | None) -> None:
        """Tells the other processes of an error here, unless it follows from one of theirs, which is then raised."""
        if threading.current_thread() is threading.main_thread():
            # the launcher's, which it sends once another process has ended, would come before the reason is told
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        patience = time.monotonic() + 3 * POLL
        # a lost connection is noticed before its reason; on a busy machine the thread may look too late
        while isinstance(error, RuntimeError) and self.cause is None and time.monotonic() < patience:
            with contextlib.suppress(Exception):  # of various kinds, when the store does not answer
                self.cause = self._find_cause({})
            time.sleep(POLL / 5)
        self._left.set()
        if self.cause is not None:
            raise ConnectionError(f'rank {self._rank} ends: {self.cause}') from error
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        with contextlib.suppress(RuntimeError):  # the store may have gone first
            self._store.compare_set('failed', '', f'rank {self._rank} failed: {lines[-1]}')

    def _watch(self) -> None:
        processes: dict[int, int] = {}
        while not self._left.wait(POLL):
            try:
                if self._rank != 0 and self._store.check(['stopped']):
                    self._end_with_first()
                    return
                cause = self._find_cause(processes)
            except Exception:  # of various kinds, when the store does not answer
                time.sleep(POLL / 5)  # its connection closes before the launcher that held it has ended
                cause = self._end_of_launcher() or 'the launcher, or the process that holds the store, has ended'
            if cause is None:
                continue
            self.cause = cause = self.cause or cause
            if not self._left.wait(PATIENCE):
                print(f'basicsr-entropy: error: rank {self._rank} ends: {cause}', file=sys.stderr, flush=True)
                os._exit(1)

    def _end_with_first(self) -> None:
        """Ends this process once rank 0 has stopped, with its exit code."""
        code = int(self._store.get('stopped'))
        if not self._left.wait(PATIENCE):
            self._store.set(f'left/{self._rank}', '')
            os._exit(code)

    def _end_of_launcher(self) -> str | None:
        return None if os.getppid() == self._launcher else f'its launcher (process {self._launcher}) has ended'

    def _find_cause(self, processes: dict[int, int]) -> str | None:
        """Why this process cannot go on, if there is a reason; `processes` collects the others on this host."""
        if cause := self._end_of_launcher():
            return cause
        if self._store.check(['failed']):
            return self._store.get('failed').decode()
        for rank in range(self._world):
            if rank == self._rank or self._store.check([f'left/{rank}']):
                continue
            if rank not in processes and self._store.check([f'process/{rank}']):
                host, number = self._store.get(f'process/{rank}').decode().rsplit(' ', 1)
                processes[rank] = int(number) if host == socket.gethostname() else 0
            if processes.get(rank) and not _runs(processes[rank]) and not self._store.check([f'left/{rank}']):
                return f'rank {rank} (process {processes[rank]}) was killed'
        return None


def _runs(number: int) -> bool:
    """Whether a process of this host runs; one that waits for its parent's attention does not."""
    try:
        return Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[0] not in ('Z', 'X')
    except FileNotFoundError:
        return False
