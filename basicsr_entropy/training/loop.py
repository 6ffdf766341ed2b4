"""The training loop: that of BasicSR, with its option files, outputs and log lines, for runs that are interrupted.

A run that is stopped or killed any number of times and resumed ends, on the CPU bit for bit, as the uninterrupted run
does. The state of a checkpoint is that after its step and before its validation, so that a resumed run begins with this
validation.
"""

import contextlib
import copy
import datetime
import json
import logging
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import path as osp
from pathlib import Path
from typing import Any, NoReturn

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.train import init_tb_loggers
from basicsr.utils import (
    AvgTimer,
    MessageLogger,
    get_env_info,
    get_root_logger,
    get_time_str,
    make_exp_dirs,
    mkdir_and_rename,
    set_random_seed,
)
from basicsr.utils.options import copy_opt_file, dict2str
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from basicsr_entropy._errors import first_line
from basicsr_entropy.config.parse import Options
from basicsr_entropy.config.sections import RUNTIME_KEYS
from basicsr_entropy.training import random_state
from basicsr_entropy.training.changes import Change, option_changes
from basicsr_entropy.training.checkpoints import Checkpoints, load_state, resumable_state
from basicsr_entropy.training.distributed import Peers, from_first, gathered
from basicsr_entropy.training.loader import Batch, training_batches
from basicsr_entropy.training.run_lock import RunLock
from basicsr_entropy.training.run_record import RunRecord
from basicsr_entropy.training.sampler import BatchSampler, SampleOrder, generators_kept, seed_generators
from basicsr_entropy.training.signals import STOPPING, StopRequested, StopSignals, exit_code
from basicsr_entropy.training.step_guard import StepGuard

_FILES_SHOWN = 8  # of a batch, in a message


def train(opt: Options, option_file: str, peers: Peers, seed_drawn: bool = False, allow_changes: bool = False) -> None:
    """Trains a model.

    Args:
        opt: Options as `config.parse_options` gives them; BasicSR's models change them.
        option_file: The option file, which is copied to the experiment.
        peers: The other processes of the run.
        seed_drawn: Whether manual_seed was drawn because the option file has none; a resumed run keeps its seed.
        allow_changes: Whether a resumed run may go on with other options.

    Raises:
        ValueError: If options differ from those of the resumed run, or too many steps in a row were not finite.
        BlockingIOError: If another process trains in the folder of the run.
        SystemExit: If a signal stopped the run. Its state has been saved, unless it had not begun to train.
    """
    with StopSignals(launched=opt['dist']) as signals, RunLock() as lock:
        try:
            with signals.interruptible():
                training = _set_up(opt, option_file, peers, signals, lock, seed_drawn, allow_changes)
        except StopRequested:
            received = signals.received or STOPPING[0]
            print(f'{received.name}: stopped before the training began', file=sys.stderr, flush=True)
            raise SystemExit(exit_code(received)) from None
        training.run()


def _set_up(
    opt: Options,
    option_file: str,
    peers: Peers,
    signals: StopSignals,
    lock: RunLock,
    seed_drawn: bool,
    allow_changes: bool,
) -> '_Training':
    """Finds out where the run stands, makes its folders, and builds data and model."""
    if opt['rank'] == 0:
        lock.take(opt['path']['experiments_root'])
    options = json.loads(json.dumps({key: opt[key] for key in opt if key not in RUNTIME_KEYS['']}, default=str))
    path = from_first(resumable_state(opt) if opt['rank'] == 0 else None)
    state = None if path is None else load_state(opt, path)
    changes: list[Change] = []
    if state is not None:
        if seed_drawn and 'options' in state:
            opt['manual_seed'] = options['manual_seed'] = json.loads(state['options'])['manual_seed']
            set_random_seed(opt['manual_seed'] + opt['rank'])  # what the model draws before its state is restored
        changes = _changes(opt, options, state)
        if changes and not allow_changes:
            _refuse(changes, path, opt['rank'])

    if opt['rank'] == 0:
        _make_folders(opt, option_file, lock, resumes=state is not None)
    log_file = new_log_file(opt['path']['log'], f'train_{opt["name"]}_{get_time_str()}')
    logger = get_root_logger(logger_name='basicsr', log_level=logging.INFO, log_file=log_file)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            _report_once(handler)
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    for change in changes:
        logger.warning(f'Changed option {change}')
    return _Training(opt, options, state, changes, peers, signals, logger)


def new_log_file(folder: str, stem: str) -> str:
    """Path of a log file that does not exist; a run that resumes within the second would overwrite that of the last."""
    number, path = 1, osp.join(folder, f'{stem}.log')
    while osp.exists(path):
        number += 1
        path = osp.join(folder, f'{stem}_{number}.log')
    return path


def _report_once(handler: logging.FileHandler) -> None:
    """Has one line tell that a log file cannot be written, in place of a traceback for each line of the log."""

    def tell(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.FileHandler.handleError(handler, record)
        elif not told:
            told.append(error)
            what = f'cannot write to {handler.baseFilename}: {error.strerror or error}'
            print(f'basicsr-entropy: warning: {what}', file=sys.stderr, flush=True)

    told: list[OSError] = []
    handler.handleError = tell  # type: ignore[method-assign]


def _samples_per_iteration(opt: Mapping[str, Any]) -> int:
    """Samples that an iteration takes in one process."""
    gpus = 1 if opt['dist'] else max(1, opt['num_gpu'])
    return opt['datasets']['train']['batch_size_per_gpu'] * opt['train'].get('accumulate', 1) * gpus


def _changes(opt: Mapping[str, Any], options: Mapping[str, Any], state: Mapping[str, Any]) -> list[Change]:
    """Options that differ from those of the run that is resumed; none are known of a run of BasicSR's own loop."""
    if 'options' not in state:
        return []
    before = json.loads(state['options'])
    found = option_changes(before, options)
    if state['samples_per_iteration'] != _samples_per_iteration(opt) * opt['world_size']:
        for section, key in (('datasets.train', 'batch_size_per_gpu'), ('train', 'accumulate')):
            old, new = (_at(each, section).get(key, 1) for each in (before, options))
            if old != new:
                found.append(Change(f'{section}.{key}', str(old), str(new)))
    return found


def _at(options: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for key in path.split('.'):
        options = options[key]
    return options


def _refuse(changes: Sequence[Change], path: Any, rank: int) -> NoReturn:
    if rank == 0:
        for change in changes:
            print(f'Changed option {change}', file=sys.stderr, flush=True)
    names = ', '.join(each.path for each in changes)
    raise ValueError(
        f'{path} was written with other options: {names}; change them back, or go on with allow_changes=True'
    )


def _make_folders(opt: Options, option_file: str, lock: RunLock, resumes: bool) -> None:
    """As BasicSR does: a new run archives the folders of an old one of its name."""
    if not resumes:
        make_exp_dirs(opt)
        lock.take(opt['path']['experiments_root'])
        if opt['logger'].get('use_tb_logger') and 'debug' not in opt['name']:
            mkdir_and_rename(osp.join(opt['root_path'], 'tb_logger', opt['name']))
    Path(opt['path']['experiments_root']).mkdir(parents=True, exist_ok=True)  # missing if another run is resumed
    copy_opt_file(option_file, opt['path']['experiments_root'])


class _Training:
    """A run: `run` takes the steps, the other methods are what happens between them."""

    def __init__(
        self,
        opt: Options,
        options: Mapping[str, Any],
        state: dict[str, Any] | None,
        changes: Sequence[Change],
        peers: Peers,
        signals: StopSignals,
        logger: logging.Logger,
    ) -> None:
        torch.backends.cudnn.benchmark = True
        self.opt, self.options, self.logger = opt, options, logger
        self.peers, self.signals = peers, signals
        self.total = int(opt['train']['total_iter'])
        self.max_skipped = opt['train'].get('max_skipped', 10)
        self.start, first_sample = 0, 0
        self.per_process = _samples_per_iteration(opt)
        self.per_iteration = self.per_process * opt['world_size']
        if state is not None:
            self.start = state['iter']
            first_sample = state.get('samples', self.start * self.per_iteration)
        self.first_sample, self.skipped_in_a_row = first_sample, 0
        self.validated = self.saved = -1  # iterations of the last validation and the last checkpoint

        self.tb_logger = init_tb_loggers(opt)
        self._build_data()
        self.model = build_model(opt)
        if state is not None:
            _resume_model(self.model, state, changes)
            self.logger.info(f'Resuming training from epoch: {state["epoch"]}, iter: {self.start}.')
            self._restore(state)
        self.guard = StepGuard(self.model)
        self.checkpoints = Checkpoints(self.model, opt, opt['logger'].get('keep_checkpoints'))
        self.record = RunRecord(
            opt['path']['experiments_root'], opt, options, first=self.start + 1, resumed=state is not None
        )
        self._take_best_of_record()

    def _build_data(self) -> None:
        opt = self.opt
        self.val_loaders: list[DataLoader] = []
        for phase, keys in opt['datasets'].items():
            dataset = build_dataset(keys)
            if phase == 'train':
                self.dataset, self.ratio = dataset, keys.get('dataset_enlarge_ratio', 1)
            else:
                self.val_loaders.append(
                    build_dataloader(
                        dataset, keys, num_gpu=opt['num_gpu'], dist=opt['dist'], sampler=None, seed=opt['manual_seed']
                    )
                )
                self.logger.info(f'Number of val images/folders in {keys["name"]}: {len(dataset)}')
        self.order = SampleOrder(len(self.dataset), self.ratio, opt['manual_seed'])
        length = self.order.epoch_length
        self.logger.info(
            'Training statistics:'
            f'\n\tNumber of train images: {len(self.dataset)}'
            f'\n\tDataset enlarge ratio: {self.ratio}'
            f'\n\tBatch size per gpu: {opt["datasets"]["train"]["batch_size_per_gpu"]}'
            f'\n\tWorld size (gpu number): {opt["world_size"]}'
            f'\n\tRequire iter number per epoch: {math.ceil(length / self.per_iteration)}'
            f'\n\tTotal epochs: {math.ceil(self.total * self.per_iteration / length)}; iters: {self.total}.'
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        """What BasicSR's resume leaves out: best metrics and random numbers; see `_further_state`."""
        if 'random' not in state:
            self.logger.warning(
                "The state is of BasicSR's own loop: the order of the samples and the random numbers begin anew."
            )
            return
        for dataset, metrics in state['best'].items():
            if self.opt.get('val') is None or not self.opt['val'].get('metrics'):
                break
            self.model._initialize_best_metric_results(dataset)
            known = self.model.best_metric_results[dataset]
            known.update({name: dict(best) for name, best in metrics.items() if name in known})
        self.skipped_in_a_row = state['skipped_in_a_row']
        rank, before, now = self.opt['rank'], len(state['random']), self.opt['world_size']
        if rank < before:
            random_state.restore(state['random'][rank])
        else:
            seed_generators(self.opt['manual_seed'], self.start, rank)
            if torch.cuda.is_available():
                torch.cuda.manual_seed(int(torch.randint(2**62, ())))
        if before != now:
            self.logger.warning(
                f'Resuming a run of {before} processes with {now}: noise and timesteps are divided among them anew.'
            )
        if state['samples_per_iteration'] != self.per_iteration:
            self.logger.warning(
                f'An iteration now takes {self.per_iteration} samples and took {state["samples_per_iteration"]}; '
                f'their order goes on at sample {self.first_sample}.'
            )

    def _take_best_of_record(self) -> None:
        """The best metrics of the validation at the end of a finished run, which comes after its last state."""
        if self.opt.get('val') is None or not self.opt['val'].get('metrics'):
            return
        for dataset, metrics in self.record.content['best'].items():
            self.model._initialize_best_metric_results(dataset)
            known = self.model.best_metric_results[dataset]
            for name, one in metrics.items():
                if name in known and one['iteration'] <= self.start:
                    self.model._update_best_metric_result(dataset, name, one['value'], one['iteration'])

    def run(self) -> None:
        """Trains to the end, or until a signal or an error."""
        ended = 'finished'
        self.iteration = self.start
        try:
            with self._terminal() as self.bar:
                self._steps()
                self._finish()
        except SystemExit:
            ended = f'stopped by {(self.signals.received or STOPPING[0]).name}'
            raise
        except BaseException as error:
            ended = f'failed: {first_line(error) if isinstance(error, Exception) else type(error).__name__}'
            raise
        finally:
            with contextlib.suppress(OSError) if ended != 'finished' else contextlib.nullcontext():
                self._write_record(ended)
            if self.tb_logger:
                self.tb_logger.close()

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[tqdm]:
        """A progress bar, if rank 0 runs on a terminal; log lines are printed above it."""
        shown = self.opt['rank'] == 0 and sys.stderr.isatty()
        with (
            tqdm(
                total=self.total,
                initial=self.start,
                desc=self.opt['name'],
                unit='it',
                dynamic_ncols=True,
                disable=not shown,
            ) as bar,
            logging_redirect_tqdm([self.logger]) if shown else contextlib.nullcontext(),
        ):
            yield bar

    def _steps(self) -> None:
        opt, warmup = self.opt, self.opt['train'].get('warmup_iter', -1)
        messages = MessageLogger(opt, self.start, self.tb_logger)
        if opt.get('val') is not None and len(self.val_loaders) > 1:
            self.logger.warning('Multiple validation datasets are *only* supported by SRModel.')
        self._write_record('running')
        sampler = BatchSampler(
            self.order,
            self.per_process,
            self.first_sample,
            max(0, self.total - self.start),
            opt['rank'],
            opt['world_size'],
        )
        with training_batches(opt, self.dataset, sampler) as batches:
            self.logger.info(f'Start training from epoch: {self._epoch(self.start + 1)}, iter: {self.start}')
            if 0 < self.start < self.total and self._validates():
                self._validate()  # the state was saved before it
            data_timer, iter_timer = AvgTimer(), AvgTimer()
            self.began = time.time()
            while (batch := next(batches, None)) is not None:
                data_timer.record()
                self.iteration += 1
                self.model.update_learning_rate(self.iteration, warmup_iter=warmup)
                self._step(batch)
                iter_timer.record()
                if self.iteration == 1:
                    messages.reset_start_time()
                if self.iteration % opt['logger']['print_freq'] == 0:
                    messages(
                        {
                            'epoch': self._epoch(self.iteration),
                            'iter': self.iteration,
                            'lrs': self.model.get_current_learning_rate(),
                            'time': iter_timer.get_avg_time(),
                            'data_time': data_timer.get_avg_time(),
                            **self.model.get_current_log(),
                        }
                    )
                if self.peers.agree_to_stop(self.signals.received is not None, self.iteration):
                    self._stop(self._further_state())
                if self.iteration % opt['logger']['save_checkpoint_freq'] == 0:
                    self.logger.info('Saving models and training states.')
                    self._save(self._further_state())
                if self._validates():
                    self._validate()
                self.bar.update()
                data_timer.start()
                iter_timer.start()

    def _validates(self) -> bool:
        """Whether the last step is followed by a validation."""
        return self.opt.get('val') is not None and self.iteration % self.opt['val']['val_freq'] == 0

    def _step(self, batch: Batch) -> None:
        """One training step. If it is not finite it is skipped, and too many in a row stop the run."""
        try:
            self.model.feed_data(batch)
            terms = self.guard.step(self.iteration)
        except ValueError as error:
            raise ValueError(
                f'iteration {self.iteration}: {first_line(error)} (batch: {_listed(_files_of(batch))})'
            ) from error
        if not terms:
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        files = [file for each in gathered(_files_of(batch)) for file in each]
        what = f'iteration {self.iteration}: {" and ".join(terms)} not finite (batch: {_listed(files)})'
        self.logger.warning(f'Step skipped, {self.skipped_in_a_row} in a row: {what}')
        self.record.skipped(self.iteration, terms, files)
        if self.skipped_in_a_row >= self.max_skipped:
            count, self.skipped_in_a_row = self.skipped_in_a_row, 0
            path = self._save(self._further_state())
            raise ValueError(
                f'train.max_skipped: {count} steps in a row were skipped, the last in {what}; the weights before them '
                f'are saved in {path}'
            )

    def _epoch(self, iteration: int) -> int:
        """The epoch in which an iteration begins."""
        taken = self.first_sample + (iteration - 1 - self.start) * self.per_iteration
        return taken // self.order.epoch_length

    def _further_state(self) -> dict[str, Any]:
        """What a state holds beside BasicSR's content, for the last step. Called by all processes."""
        best = getattr(self.model, 'best_metric_results', {})
        return {
            'samples': self.first_sample + (self.iteration - self.start) * self.per_iteration,
            'samples_per_iteration': self.per_iteration,
            'random': gathered(random_state.captured()),
            'options': json.dumps(self.options),
            'best': {
                dataset: {name: {**one, 'val': float(one['val'])} for name, one in metrics.items()}
                for dataset, metrics in best.items()
            },
            'skipped_in_a_row': self.skipped_in_a_row,
            **(self.model.further_state() if hasattr(self.model, 'further_state') else {}),
        }

    def _save(self, further: Mapping[str, Any]) -> str:
        """Writes the checkpoint of the last step, once; returns the path of its state."""
        if self.saved != self.iteration:
            self.checkpoints.save(self._epoch(self.iteration), self.iteration, further)
            self.saved = self.iteration
            self._write_record('running')
        return osp.join(self.opt['path']['training_states'], f'{self.iteration}.state')

    def _validate(self) -> None:
        """Validates, and keeps the best weights. A signal ends it at once, with the state from before it."""
        further = self._further_state()
        if any(gathered(self.signals.received is not None)):
            self._stop(further)
        try:
            # metrics may draw random numbers, such as weights that they then replace
            with self.signals.interruptible(), generators_kept():
                for loader in self.val_loaders:
                    self.model.validation(loader, self.iteration, self.tb_logger, self.opt['val']['save_img'])
        except StopRequested:
            self._stop(further)
        self.validated = self.iteration
        self._keep_best()

    def _keep_best(self) -> None:
        metric = self.opt['val'].get('save_best')
        if metric is None or not self.val_loaders or self.opt['rank'] != 0:
            return
        dataset: Any = self.val_loaders[0].dataset
        best = self.model.best_metric_results[dataset.opt['name']][metric]
        if best['iter'] == self.iteration:
            self.checkpoints.save(self._epoch(self.iteration), 'best')

    def _stop(self, further: Mapping[str, Any]) -> NoReturn:
        """Saves the state and ends this process as the signal asks."""
        received = self.signals.received or STOPPING[0]  # another process may have received it
        path = self._save(further)
        if received == signal.SIGHUP:
            self.bar.disable = True  # its terminal is gone
        self.logger.info(
            f'{received.name}: stopped after iteration {self.iteration}; the state is saved in {path}, from where '
            f'auto_resume goes on.'
        )
        raise SystemExit(exit_code(received))

    def _finish(self) -> None:
        consumed = str(datetime.timedelta(seconds=int(time.time() - self.began)))
        self.logger.info(f'End of training. Time consumed: {consumed}')
        self.logger.info('Save the latest model.')
        self.checkpoints.save(-1, -1)  # -1 stands for the latest
        if self.opt.get('val') is not None and self.validated != self.iteration:
            self._validate()

    def _write_record(self, ended: str) -> None:
        self.record.write(self.iteration, getattr(self.model, 'best_metric_results', {}), ended)


def _resume_model(model: BaseModel, state: dict[str, Any], changes: Sequence[Change]) -> None:
    """Loads optimizers and schedules; where their options have changed, the new ones hold."""
    changed = [each.path for each in changes if each.path.startswith(('train.optim', 'train.scheduler'))]
    if not changed:
        model.resume_training(state)
        return
    groups = [copy.deepcopy(each.state_dict()['param_groups']) for each in model.optimizers]
    kept = {**state, 'schedulers': [each.state_dict() for each in model.schedulers]}
    if any(path.startswith('train.optim') and path.endswith('.type') for path in changed):
        kept['optimizers'] = [each.state_dict() for each in model.optimizers]
    model.resume_training(kept)
    for optimizer, fresh in zip(model.optimizers, groups):
        for group, values in zip(optimizer.param_groups, fresh):
            group.update({key: value for key, value in values.items() if key != 'params'})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch expects a step of the optimizer before each
        for scheduler in model.schedulers:
            for _ in range(state['iter'] - 1):
                scheduler.step()


def _files_of(batch: Batch) -> list[str]:
    """Files, or keys, of a batch's images."""
    lists = (value for key, value in batch.items() if key.endswith(('path', 'key')))
    return list(dict.fromkeys(str(file) for each in lists for file in ([each] if isinstance(each, str) else each)))


def _listed(files: Sequence[str]) -> str:
    more = f' and {len(files) - _FILES_SHOWN} more' if len(files) > _FILES_SHOWN else ''
    return ', '.join(files[:_FILES_SHOWN]) + more
