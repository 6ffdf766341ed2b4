"""Kills training runs at random moments, resumes them, and compares every bit of what they end with.

    python scripts/torture_resume.py --kills 20 --workers 0 2 --processes 1 2

For each number of worker processes and of training processes, one run is left in peace. Then runs with the same options
are killed at random moments, in start-up, steps, checkpoints and validations, and resumed with `--auto_resume` until
they end. Whenever one ends, its weights, EMA weights, optimizer, random number generators, logged losses and metrics
are compared with those of the first. The images are parts of a photograph bundled with scikit-image.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import skimage.data
import torch
import yaml

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
import basicsr.train  # noqa: F401  (takes seconds, so it is imported before the fork)

from basicsr_entropy import cli

TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '-m', 'basicsr_entropy.train']
OPTIONS = """
name: run
model_type: IRSDEModel
num_gpu: 0
manual_seed: 3
sde: {timesteps: 10, prediction: residual}
datasets:
  train:
    name: photographs
    type: LowLightPairedDataset
    dataroot: data
    gt_sizes: [16, 24]
    iters: [20, 1000]
    use_hflip: true
    use_rot: true
    rescale: {prob: 0.3, scale: 1.5}
    exposure_jitter: [0.8, 1.2]
    mixup: {beta: 1.2, prob: 0.5}
    batch_size_per_gpu: 2
    num_worker_per_gpu: 0
    dataset_enlarge_ratio: 3
  val: {name: photographs, type: LowLightPairedDataset, dataroot: data, split: test}
network_g: {type: ConditionalNAFNet, width: 8, enc_blk_nums: [1], middle_blk_num: 1, dec_blk_nums: [1]}
path: {}
train:
  ema_decay: 0.9
  optim_g: {type: AdamW, lr: 0.001}
  scheduler: {type: CosineAnnealingRestartLR, periods: [100000], eta_min: 0.000001}
  total_iter: 60
  warmup_iter: 20
  grad_clip_norm: 1.0
  entropy_opt: {type: SpatialEntropyLoss, levels: 4, neighbor: random}
val:
  val_freq: 7
  save_img: false
  save_best: psnr
  sampler: {type: posterior, steps: 2, seed: 1}
  metrics: {psnr: {type: calculate_psnr, crop_border: 0}}
logger: {print_freq: 1, save_checkpoint_freq: 5, keep_checkpoints: 3, use_tb_logger: false}
"""


def write_images(folder: Path) -> None:
    """Writes pairs in a layout of LOL v1: 5 to train on, 2 to validate on, of 48 x 40 pixels."""
    photograph = skimage.data.astronaut()
    for index in range(7):
        image = photograph[48 * index : 48 * index + 40, 200:248]
        for role, values in (('target', image), ('input', image // 8)):
            path = folder / ('Train' if index < 5 else 'Test') / role / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), values)


class Run:
    """A run in a process of its own, which goes on where it stopped.

    A single process is forked from this one, which has imported everything already; several are started by torchrun.

    Args:
        option_file: Its options.
        folder: Where its `experiments/` is.
        processes: Number of training processes.
    """

    def __init__(self, option_file: Path, folder: Path, processes: int = 1) -> None:
        self.output = tempfile.TemporaryFile('w+')  # noqa: SIM115
        words = ['-opt', str(option_file), '--auto_resume']
        self.process: Any
        if processes == 1:
            self.process = multiprocessing.get_context('fork').Process(target=self._train, args=(words, folder))
            self.process.start()
        else:
            launcher = [*TORCHRUN[:4], f'--nproc_per_node={processes}', *TORCHRUN[4:], *words, '--launcher', 'pytorch']
            self.process = subprocess.Popen(launcher, cwd=folder, stdout=self.output, stderr=self.output)
        self.pid = self.process.pid

    def _train(self, words: list[str], folder: Path) -> None:
        os.chdir(folder)
        for descriptor in (1, 2):
            os.dup2(self.output.fileno(), descriptor)
        sys.argv[1:] = words
        cli.main(['train'])

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if the run has not ended in time."""
        if isinstance(self.process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
            return self.process.poll()
        self.process.join(seconds)
        return self.process.exitcode

    def text(self) -> str:
        """What it has printed."""
        return os.pread(self.output.fileno(), 2**24, 0).decode(errors='replace')


def run(option_file: Path, folder: Path, processes: int = 1) -> None:
    """Runs to the end.

    Raises:
        RuntimeError: If it fails.
    """
    ended = Run(option_file, folder, processes)
    code = ended.wait(600)
    if code is None:
        os.kill(ended.pid, signal.SIGKILL)
        raise RuntimeError(f'did not end within 600 seconds:\n{ended.text()[-3000:]}')
    if code != 0:
        raise RuntimeError(f'exit code {code}:\n{ended.text()[-3000:]}')


def run_and_kill(
    option_file: Path, folder: Path, number: signal.Signals, delay: float, in_training: bool, processes: int = 1
) -> int | None:
    """Starts or resumes a run, and sends it a signal after some seconds.

    Args:
        option_file: Its options.
        folder: Where its `experiments/` is.
        number: The signal.
        delay: Seconds.
        in_training: Whether they count from the beginning of the training, or from the start of the process.
        processes: Number of training processes. Then their launcher gets the signal, or one of them SIGKILL.

    Returns:
        The exit code; None if the run ended before the signal.

    Raises:
        RuntimeError: If it failed by itself, or did not end within 60 seconds.
    """
    process = Run(option_file, folder, processes)
    while in_training and process.wait(0.01) is None and 'Start training' not in process.text():
        pass
    before = process.wait(delay)
    if before is None:
        os.kill(_victim(process.pid) if processes > 1 and number == signal.SIGKILL else process.pid, number)
    code = process.wait(60)
    if code is None:
        os.kill(process.pid, signal.SIGKILL)
        raise RuntimeError(f'did not end within 60 seconds of {number.name}:\n{process.text()[-3000:]}')
    if before == 0:
        return None
    # killed, stopped as asked, or already at its end; a launcher reports a failure
    if before is not None or code not in (-number, 128 + number, 0, *([1] if processes > 1 else [])):
        raise RuntimeError(f'exit code {code} after {number.name}:\n{process.text()[-3000:]}')
    return code


def _victim(launcher: int) -> int:
    """One of the processes that a launcher has started, or itself while there are none."""
    children = Path(f'/proc/{launcher}/task/{launcher}/children').read_text().split()
    return random.choice([int(each) for each in children] or [launcher])


def ending(folder: Path) -> dict[str, Any]:
    """What the run in a folder ended with: content of its last files, and every logged value by iteration."""
    root = folder / 'experiments/run'
    last = max((root / 'training_states').glob('*.state'), key=lambda path: int(path.stem))
    found: dict[str, Any] = {'state': torch.load(last, weights_only=True)}
    del found['state']['options']  # they name folders
    for name in ('latest', 'best', last.stem):
        found[name] = torch.load(root / f'models/net_g_{name}.pth', weights_only=True)
    logged: dict[str, str] = {}
    for log in sorted(root.glob('*.log'), key=lambda path: path.stat().st_mtime):
        text = log.read_text()
        for iteration, lr, losses in re.findall(r'iter: +([\d,]+), (lr:\S+)\] \[eta.*?\] (l_.*)', text):
            logged[f'iteration {iteration}'] = f'{lr} {losses}'
        for value, best in re.findall(r'# psnr: (\S+)\s+Best: (.*)', text):
            logged[f'best {best}'] = value
    return {**found, 'logged': logged}


def differences(first: Any, second: Any, path: str = '') -> Iterator[str]:
    """Paths at which two nested contents differ in any bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if first.dtype != second.dtype or not torch.equal(first, second):
            yield path
    elif isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted(first.keys() | second.keys(), key=str):
            if key in first and key in second:
                yield from differences(first[key], second[key], f'{path}/{key}')
            elif path != '/logged' or not str(key).startswith('best'):  # a killed run repeats validations
                yield f'{path}/{key} is in one alone'
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second)):
            yield from differences(*pair, f'{path}/{index}')
    elif type(first) is not type(second) or first != second:
        yield path


def torture(number: signal.Signals, workers: int, processes: int, kills: int, iterations: int, folder: Path) -> str:
    """Kills runs until there have been enough kills and the last run has ended.

    Returns:
        One line on what happened.

    Raises:
        RuntimeError: If a run ends with other bits than the reference.
    """
    options = yaml.safe_load(OPTIONS)
    options['datasets']['train'].update(
        dataroot=str(folder / 'data'), num_worker_per_gpu=workers, prefetch_mode='cpu' if workers else None
    )
    options['datasets']['val']['dataroot'] = str(folder / 'data')
    options['train']['total_iter'] = iterations
    case = folder / f'{number.name}_{workers}_{processes}'
    peace = folder / f'reference_{workers}_{processes}'
    for each in (case, peace):
        each.mkdir(exist_ok=True)
    option_file = case / 'run.yml'
    option_file.write_text(yaml.safe_dump(options))
    if not (peace / 'seconds').is_file():
        run(option_file, peace, processes)
        logs = next(peace.glob('experiments/run/*.log'))
        seconds = logs.stat().st_mtime - _start_of_training(logs)
        (peace / 'seconds').write_text(str(seconds))
    seconds, expected = float((peace / 'seconds').read_text()), ending(peace)

    done = compared = 0
    while done < kills:
        in_training = random.random() < 0.8
        delay = random.uniform(0, 3 * seconds / kills) if in_training else random.uniform(0, 5)
        if run_and_kill(option_file, case, number, delay, in_training, processes) is not None:
            done += 1
        if done < kills and not (case / 'experiments/run/models/net_g_latest.pth').exists():
            continue
        run(option_file, case, processes)
        found = list(differences(expected, ending(case)))
        if found:
            raise RuntimeError(f'{len(found)} differences after {done} kills, the first: {found[:5]}')
        compared += 1
        if done < kills:
            (case / 'experiments').rename(case / f'experiments_{compared}')
    return f'{number.name}, {workers} workers, {processes} processes: {done} kills, {compared} runs ended bit-equal'


def _start_of_training(log: Path) -> float:
    line = next(line for line in log.read_text().splitlines() if 'Start training' in line)
    return time.mktime(time.strptime(line[:19], '%Y-%m-%d %H:%M:%S')) + int(line[20:23]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20, help='kills for each case')
    parser.add_argument('--signals', nargs='+', default=['SIGKILL', 'SIGTERM', 'SIGINT'])
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2], help='data loading processes')
    parser.add_argument('--processes', type=int, nargs='+', default=[1], help='training processes (gloo)')
    parser.add_argument('--iterations', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would start its runs to ignore it
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / 'data')
        for processes in args.processes:
            for workers in args.workers:
                for each in args.signals:
                    number = signal.Signals[each]
                    print(torture(number, workers, processes, args.kills, args.iterations, folder), flush=True)


if __name__ == '__main__':
    main()
