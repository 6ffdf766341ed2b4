"""Writes the two stores of a split so that they are there whole or not at all, and can be gone on with when killed."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb

from basicsr_entropy.data.lmdb.journal import Journal, describe
from basicsr_entropy.data.lmdb.reader import MANIFEST, META_INFO, open_environment, read_manifest, store_path
from basicsr_entropy.data.lmdb.recipe import EncodedPair, Value
from basicsr_entropy.data.sets.pairing import ROLES

PLAN = 'plan.json'
_FIRST_MAP_SIZE = 2**26
_BATCH_BYTES = 2**26  # pairs are written when so much has gathered,
_BATCH_SECONDS = 5.0  # or after so long: what a kill costs at most


class SplitWriter:
    """Writes the stores of a split; a context manager.

    Everything is written in the folder `OUT/<split>.partial`: the two stores, and a journal with a line for each pair
    that is in both. When all is done the stores get meta_info.txt and manifest.json and are renamed, the normal-light
    one first: readers look for the other. The folder is locked while a run is at work on it. Left by an error, the
    context keeps it if anything is in the journal, for the next run to go on with.

    Args:
        out: Folder for the stores; made if need be.
        plan: What is written from what; goes into the manifests. A dict with split and options, and what else must be
            the same when a run is gone on with.
        resume: Go on with what a killed run left.

    Attributes:
        complete: Whether the stores are there; with `resume`, they may be from the start.
        done: Pairs in the journal: by key, the stamps of the files, which are empty for a skipped pair.

    Raises:
        FileExistsError: If a store is in the way, or without `resume` what a killed run left.
        BlockingIOError: If another run is at work on the split.
        ValueError: If what is to be gone on with is of another plan, or damaged.
    """

    def __init__(self, out: str | Path, plan: Mapping[str, Any], resume: bool = False) -> None:
        self.plan, self.done, self.complete = dict(plan), {}, False
        self.stores = {role: store_path(out, plan['split'], role) for role in ROLES}
        self.staging = self.stores['lq'].with_name(f'{plan["split"]}.partial')
        self._staged = {role: self.staging / f'{role}.lmdb' for role in ROLES}
        self._lock_file = None
        self._environments: dict[str, lmdb.Environment] = {}
        self._pending: list[EncodedPair] = []
        self._pending_bytes, self._last_flush = 0, time.monotonic()
        there = [store for store in self.stores.values() if store.exists()]
        if self.staging.exists():
            self._lock()
            if not resume:
                raise FileExistsError(
                    f'{self.staging} is what an unfinished run left; add resume=True to go on with it, or remove it'
                )
        elif there and not resume:
            raise FileExistsError(f'{there[0]} exists; remove it, or write somewhere else')
        if there:
            self._take_finished()
        else:
            self._begin()

    def _lock(self) -> None:
        """Claims the folder; the system frees it when the process ends, however it ends, and forks do not share it."""
        path = self.staging / 'lock'
        self._lock_file = open(path, 'w')  # noqa: SIM115  (held open; closing it frees the lock)
        try:
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._lock_file.fileno()), os.stat(path)):
                return
        except (BlockingIOError, PermissionError, FileNotFoundError):
            pass
        raise BlockingIOError(f'{self.staging}: another run is at work on it; wait for it, or write somewhere else')

    def _take_finished(self) -> None:
        """Stores that are there, and the rest of those that a run was killed renaming, if they are of this plan."""
        for role, store in self.stores.items():
            finished = store if store.exists() else self._staged[role]
            manifest = read_manifest(finished)
            if not manifest or (store.exists() and self._staged[role].exists()):
                there = next(store for store in self.stores.values() if store.exists())
                raise FileExistsError(f'{there} exists, and is not of a run to go on with; remove it')
            self._check_plan(manifest, finished)
        self._rename()

    def _begin(self) -> None:
        fresh = not self.staging.exists()
        if fresh:
            self.staging.mkdir(parents=True)  # fails where another run was quicker; what it made is not ours to remove
            self._lock()
        plan = self.staging / PLAN
        try:
            if plan.is_file():
                self._check_plan(json.loads(plan.read_text(encoding='utf-8')), self.staging)
            else:
                _write_whole(plan, json.dumps(self.plan, indent=1))
            self._journal = Journal(self.staging / 'journal.jsonl')
        except OSError:
            if fresh:
                shutil.rmtree(self.staging, ignore_errors=True)
            raise
        self.done = {entry['key']: entry['stamps'] for entry in self._journal}

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
        """Whether an error now leaves something to go on with."""
        return not self.complete and bool(self._journal)

    def __enter__(self) -> 'SplitWriter':
        return self

    def open(self) -> None:
        """Opens the stores to put into; this process must not fork afterwards.

        Raises:
            ValueError: If what a killed run left is damaged.
        """
        images = {image['key'] for entry in self._journal for image in entry.get('images', ())}
        for role, path in self._staged.items():
            self._environments[role] = open_environment(path, map_size=_FIRST_MAP_SIZE)
            with self._environments[role].begin(write=True) as transaction:
                for key in list(transaction.cursor().iternext(values=False)):
                    if key.decode() not in images:  # its pair did not reach the journal
                        transaction.delete(key)
                if transaction.stat()['entries'] != len(images):
                    raise ValueError(f'{path} lacks images that {self._journal.path} lists; remove {self.staging}')

    def put(self, encoded: EncodedPair) -> None:
        """Adds a pair, or notes that it was skipped; it is on disk some pairs later.

        Raises:
            OSError: If it cannot be written.
        """
        self._pending.append(encoded)
        self._pending_bytes += sum(len(value.content) for values in encoded.values.values() for value in values)
        if self._pending_bytes >= _BATCH_BYTES or time.monotonic() - self._last_flush >= _BATCH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        """Values first, then the journal: what it lists is in the stores."""
        for role, environment in self._environments.items():
            values = [value for encoded in self._pending for value in encoded.values.get(role, ())]
            try:
                _put_all(environment, values)
            except lmdb.Error as error:
                free = shutil.disk_usage(self.staging).free / 1e6  # LMDB tells of a full disk as of any other failure
                raise OSError(
                    f'{self._staged[role]} cannot be written: {error}; {free:,.1f} MB are free there'
                ) from error
        self._journal.add(self._pending)
        self._pending, self._pending_bytes, self._last_flush = [], 0, time.monotonic()

    def finish(self) -> None:
        """Gives the stores their names.

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
            _write_whole(path / META_INFO, meta_info)
            _write_whole(path / MANIFEST, json.dumps({**self.plan, 'role': role, **counts}, indent=1))
            (path / 'lock.mdb').unlink(missing_ok=True)
        self._rename()

    def _rename(self) -> None:
        for role in reversed(ROLES):
            if self._staged[role].exists():
                os.rename(self._staged[role], self.stores[role])
        if self.staging.exists():
            shutil.rmtree(self.staging)
        self.complete = True

    def _close(self) -> None:
        while self._environments:
            self._environments.popitem()[1].close()

    def __exit__(self, kind, error, trace) -> None:
        self._close()
        if not self.complete and not self.kept:
            shutil.rmtree(self.staging)
        if self._lock_file is not None:
            self._lock_file.close()


def _put_all(environment: lmdb.Environment, values: list[Value]) -> None:
    """One transaction; the map grows when it is full."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for value in values:
                    transaction.put(value.key.encode(), value.content)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()['map_size'])


def _write_whole(path: Path, text: str) -> None:
    beside = path.with_name(f'{path.name}.partial')
    with open(beside, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
