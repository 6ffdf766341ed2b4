"""`run.json`: what produced an experiment, kept up to date while it trains.

The file holds one JSON object:

    name           of the run
    versions       of Python and the packages that compute
    git            commit of the current directory and whether files differ from it; null outside a repository
    options        the options of the run, with its changes on the command line
    seed           manual_seed, also if it was drawn
    processes      number of processes
    sessions       the run from each start to its stop: start and end (UTC), first and last iteration, seconds, and how
                   it ended (running, finished, stopped by SIGTERM, failed: ...)
    skipped_steps  steps in which a loss or the gradient was not finite: iteration, terms, files; the first 1000
    best           best metrics by dataset and metric: value and iteration
"""

import json
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy._version import __version__

RUN_FILE = 'run.json'
_PACKAGES = ('basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python')
_MOST_SKIPPED = 1000  # steps that are listed


class RunRecord:
    """The content of `run.json`; does nothing in processes other than rank 0.

    Args:
        folder: Folder of the experiment.
        opt: Options of the run.
        options: The part of them that is recorded.
        first: First iteration of this session.
        resumed: Whether an earlier session is continued, whose record then is too.
    """

    def __init__(
        self, folder: str | Path, opt: Mapping[str, Any], options: Mapping[str, Any], first: int, resumed: bool
    ) -> None:
        self._path, self._writes, self._started = Path(folder, RUN_FILE), opt['rank'] == 0, time.monotonic()
        before = self._read() if resumed and self._writes else {}
        self.session = {'start': _now(), 'end': None, 'first': first, 'last': None, 'seconds': 0.0, 'ended': 'running'}
        self.content = {
            'name': opt['name'],
            'versions': _versions(),
            'git': _git_state(),
            'options': options,
            'seed': opt['manual_seed'],
            'processes': opt['world_size'],
            'sessions': [*before.get('sessions', []), self.session],
            # a run that was killed repeats the steps after its last checkpoint
            'skipped_steps': [each for each in before.get('skipped_steps', []) if each['iteration'] < first],
            'best': before.get('best', {}),
        }

    def skipped(self, iteration: int, terms: list[str], files: list[str]) -> None:
        """Notes a step that was skipped."""
        if len(self.content['skipped_steps']) < _MOST_SKIPPED:
            self.content['skipped_steps'].append({'iteration': iteration, 'terms': terms, 'files': files})

    def write(self, iteration: int, best: Mapping[str, Any], ended: str = 'running') -> None:
        """Writes the file.

        Args:
            iteration: Number of the last step.
            best: BasicSR's record of the best metrics.
            ended: How the session ended.

        Raises:
            OSError: If it cannot be written.
        """
        if not self._writes:
            return
        self.session.update(end=_now(), last=iteration, seconds=round(time.monotonic() - self._started, 1), ended=ended)
        self.content['best'] = {
            dataset: {
                metric: {'value': one['val'], 'iteration': one['iter']}
                for metric, one in metrics.items()
                if one['iter'] >= 0
            }
            for dataset, metrics in best.items()
        }
        atomic_write_text(self._path, json.dumps(self.content, indent=1, default=str) + '\n')

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._path.read_text(encoding='utf-8'))
        except (OSError, ValueError):  # none, of an older version; or damaged, which must not stop the training
            return {}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _versions() -> dict[str, str]:
    found = {'python': platform.python_version(), 'basicsr-entropy': __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # e.g. opencv-python-headless in place of opencv-python
            continue
    return found


def _git_state() -> dict[str, Any] | None:
    try:
        commit, status = (
            subprocess.run(['git', *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (['rev-parse', 'HEAD'], ['status', '--porcelain', '--untracked-files=no'])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {'commit': commit, 'changed': bool(status)}
