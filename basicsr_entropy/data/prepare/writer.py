"""Writes the two databases of a split atomically; a run that was killed can be resumed."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import lmdb

from basicsr_entropy._files import atomic_write_text, replace_durably
from basicsr_entropy.data.lmdb import MANIFEST, META_INFO, lmdb_path, open_environment, read_manifest
from basicsr_entropy.data.prepare.encoding import EncodedPair, Value
from basicsr_entropy.data.prepare.journal import Journal, describe
from basicsr_entropy.data.sets.pairing import ROLES

PLAN = 'plan.json'
_FIRST_MAP_SIZE = 2**26
# pending pairs are written when they reach this size or this age, whichever comes first; a kill loses no more
_BATCH_BYTES = 2**26
_BATCH_SECONDS = 5.0


class LmdbSplitWriter:
    """Writes the lq and the gt database of a split; a context manager.

    Everything is written to the folder `OUT/<split>.partial`: the two databases, and a journal with one line per pair
    that is in both. `finish` adds meta_info.txt and manifest.json to the databases and renames them, the gt database
    first: readers look for the lq database. The folder is locked while a run works on it. When the context is left
    with an error, the folder is kept if any pair is in the databases, so that the next run can resume.

    Args:
        out: Folder for the databases; created if missing.
        plan: Description of the source and the options, with at least the keys split and options. It is stored in the
            manifests, and a run can only be resumed with an equal plan.
        resume: Resume an unfinished run.

    Attributes:
        databases: Final paths of the databases by role, 'lq' and 'gt'.
        staging: The folder `OUT/<split>.partial`.
        complete: Whether the databases are finished; with `resume` they may be so from the start.
        done: Pairs that were in the databases at the start: the files' stamps by key.

    Raises:
        FileExistsError: If a database exists already, or, without `resume`, the folder of an unfinished run.
        BlockingIOError: If another run is working on the split.
        ValueError: If the unfinished run had another plan, or its files are damaged.
    """

    def __init__(self, out: str | Path, plan: Mapping[str, Any], resume: bool = False) -> None:
        self.plan, self.complete = dict(plan), False
        self.done: dict[str, list[list[int]]] = {}
        self._holds_images = False
        self.databases = {role: lmdb_path(out, plan['split'], role) for role in ROLES}
        self.staging = self.databases['lq'].with_name(f'{plan["split"]}.partial')
        self._staged = {role: self.staging / f'{role}.lmdb' for role in ROLES}
        self._lock_file: TextIO | None = None
        self._environments: dict[str, lmdb.Environment] = {}
        self._pending: list[EncodedPair] = []
        self._pending_bytes, self._last_flush = 0, time.monotonic()
        existing = [path for path in self.databases.values() if path.exists()]
        if self.staging.exists():
            self._lock()
            if not resume:
                raise FileExistsError(
                    f'{self.staging} holds finished pairs of an interrupted run; rerun with resume=True to continue, '
                    'or remove it'
                )
        elif existing and not resume:
            raise FileExistsError(f'{existing[0]} exists; remove it, or choose another folder')
        if existing:
            self._take_finished()
        else:
            self._begin()

    def _lock(self) -> None:
        """Locks the folder. The lock ends with this process, however it ends, and forked processes do not hold it."""
        path = self.staging / 'lock'
        self._lock_file = open(path, 'w')  # noqa: SIM115  (held open; closing it frees the lock)
        try:
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._lock_file.fileno()), os.stat(path)):
                return
        except (BlockingIOError, PermissionError, FileNotFoundError):
            pass
        raise BlockingIOError(f'{self.staging}: another run is writing there; wait for it, or choose another folder')

    def _take_finished(self) -> None:
        """Accepts databases of the same plan as finished, and renames the one that a killed run had not renamed yet."""
        for role, path in self.databases.items():
            finished = path if path.exists() else self._staged[role]
            manifest = read_manifest(finished)
            if not manifest or (path.exists() and self._staged[role].exists()):
                existing = next(path for path in self.databases.values() if path.exists())
                raise FileExistsError(f'{existing} exists, and no unfinished run belongs to it; remove it')
            self._check_plan(manifest, finished)
        self._rename()

    def _begin(self) -> None:
        fresh = not self.staging.exists()
        if fresh:
            self.staging.mkdir(parents=True)  # fails before the `try` below if another run has just created it
            self._lock()
        plan = self.staging / PLAN
        try:
            if plan.is_file():
                self._check_plan(json.loads(plan.read_text(encoding='utf-8')), self.staging)
            else:
                atomic_write_text(plan, json.dumps(self.plan, indent=1))
            self._journal = Journal(self.staging / 'journal.jsonl')
            self._journal.forget_skipped()  # they may be whole by now
        except OSError:
            if fresh:
                shutil.rmtree(self.staging, ignore_errors=True)
            raise
        self.done = {entry['key']: entry['stamps'] for entry in self._journal}
        self._holds_images = bool(self.done)

    def _check_plan(self, begun: Mapping[str, Any], where: Path) -> None:
        for name, mine in self.plan['options'].items():
            if begun['options'].get(name) != mine:
                theirs = begun['options'].get(name)
                raise ValueError(f'resume: {where} was begun with {name}={theirs}, not {mine}; use the same')
        for key, mine in self.plan.items():
            if begun.get(key) != mine:
                what = {'names': 'other image files'}.get(key, f'{key} {begun.get(key)}, not {mine}')
                raise ValueError(f'resume: {where} was begun with {what}; remove it to begin anew')

    @property
    def kept(self) -> bool:
        """Whether an error now would leave a run that can be resumed; skipped pairs are not worth one."""
        return not self.complete and self._holds_images

    def __enter__(self) -> 'LmdbSplitWriter':
        return self

    def open(self) -> None:
        """Opens the databases for writing; the process must not fork afterwards.

        Raises:
            ValueError: If files of the unfinished run are damaged.
        """
        images = {image['key'] for entry in self._journal for image in entry.get('images', ())}
        for role, path in self._staged.items():
            self._environments[role] = open_environment(path, map_size=_FIRST_MAP_SIZE)
            with self._environments[role].begin(write=True) as transaction:
                for key in list(transaction.cursor().iternext(values=False)):
                    if key.decode() not in images:  # written, but not in the journal yet
                        transaction.delete(key)
                if transaction.stat()['entries'] != len(images):
                    raise ValueError(f'{path} lacks images that {self._journal.path} lists; remove {self.staging}')

    def put(self, encoded: EncodedPair) -> None:
        """Adds a pair, or records that it was skipped. It is buffered, and on disk at the latest after `finish`.

        Raises:
            OSError: If it cannot be written.
        """
        self._pending.append(encoded)
        self._pending_bytes += sum(len(value.content) for values in encoded.values.values() for value in values)
        if self._pending_bytes >= _BATCH_BYTES or time.monotonic() - self._last_flush >= _BATCH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        """Writes the pending pairs: first the values, then the journal, so that all pairs it lists are stored."""
        for role, environment in self._environments.items():
            values = [value for encoded in self._pending for value in encoded.values.get(role, ())]
            try:
                _put_all(environment, values)
            except lmdb.Error as error:
                free = shutil.disk_usage(self.staging).free / 1e6  # LMDB's error does not say that the disk is full
                raise OSError(
                    f'{self._staged[role]} cannot be written: {error}; {free:,.1f} MB are free there'
                ) from error
        self._journal.add(self._pending)
        self._holds_images |= any(each.error is None for each in self._pending)
        self._pending, self._pending_bytes, self._last_flush = [], 0, time.monotonic()

    def finish(self) -> None:
        """Completes the databases and renames them to their final paths.

        Raises:
            OSError: If they cannot be written.
            ValueError: If every pair was skipped.
        """
        self._flush()
        self._close()
        for role, path in self._staged.items():
            meta_info, counts = describe(self._journal, role)
            if not meta_info:
                raise ValueError(f"split '{self.plan['split']}': every pair was skipped, none is left")
            for leftover in path.iterdir():  # LMDB's lock file, and temporary files of a killed run
                if leftover.name != 'data.mdb':
                    leftover.unlink()
            atomic_write_text(path / META_INFO, meta_info)
            atomic_write_text(path / MANIFEST, json.dumps({**self.plan, 'role': role, **counts}, indent=1))
        self._rename()

    def _rename(self) -> None:
        for role in reversed(ROLES):
            if self._staged[role].exists():
                replace_durably(self._staged[role], self.databases[role])
        if self.staging.exists():
            shutil.rmtree(self.staging)
        self.complete = True

    def _close(self) -> None:
        while self._environments:
            self._environments.popitem()[1].close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if not self.complete and not self.kept:
            shutil.rmtree(self.staging)
        if self._lock_file is not None:
            self._lock_file.close()


def _put_all(environment: lmdb.Environment, values: list[Value]) -> None:
    """Puts the values in one transaction, and enlarges the memory map until they fit."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for value in values:
                    transaction.put(value.key.encode(), value.content)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()['map_size'])
