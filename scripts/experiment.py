"""Trains variants of one model with several seeds, and measures every model on the same test pairs.

    python scripts/experiment.py scripts/experiments/losses.yml --dataroot datasets/LOLv1 --out results/losses --jobs 2

The experiment file names a training and a test option file, and the arms: the losses of each, its iterations, its other
changes of the options (`force_yml`, as on the command line), and the arm whose weights it starts from. An arm with
`weights` stands for one arm per weight of the loss `vary`. A model with `steps`, a list, is measured once with each of
these numbers of sampling steps, in place of the one of the test option file. Every training and every test is a run of
`basicsr-entropy` on an option file, which is kept in OUT/options. Models that are trained and measured are kept,
unfinished trainings are resumed, so the command can be repeated after an interruption, or after arms have been added.
Runs on a CPU share its cores: --jobs trainings at a time.

OUT/results.json holds the metrics of every image, by arm and seed. `scripts/report_experiment.py` makes tables and
figures of it.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import yaml

import basicsr_entropy  # noqa: F401  (makes basicsr importable)
from basicsr_entropy.config import read_option_file
from basicsr_entropy.config.folders import latest_weights
from basicsr_entropy.config.parse import force

SCRIPTS = Path(__file__).parent


def read_experiment(path: str) -> dict:
    """The experiment file, with every arm complete, and an arm of its own for each of its weights."""
    experiment = yaml.safe_load(Path(path).read_text())
    arms = {}
    for name, arm in experiment['arms'].items():
        arm = {**experiment['defaults'], **arm}
        for weight in arm.get('weights', ()):
            varied = {**arm['losses'][arm['vary']], 'loss_weight': weight}
            arms[f'{name}_{weight:g}'] = {**arm, 'losses': {**arm['losses'], arm['vary']: varied}}
        if 'weights' not in arm:
            arms[name] = arm
    return {**experiment, 'arms': arms}


def model_name(arm: str, seed: int) -> str:
    return f'{arm}_seed{seed}'


def measured_arms(experiment: dict, arm: str) -> dict[str, int | None]:
    """Names under which the models of an arm are measured, and the numbers of sampling steps."""
    steps = experiment['arms'][arm].get('steps', [None])
    names = [arm] if len(steps) == 1 else [f'{arm}_steps{each}' for each in steps]
    return dict(zip(names, steps))


def weights_of(name: str) -> Path:
    """Weights of a trained model, below the folder of the experiment."""
    return latest_weights({'name': name})


def set_folders(options: dict, dataroot: str) -> None:
    """Makes the folders of the datasets absolute; pairs lie below `dataroot`."""
    for dataset in options['datasets'].values():
        if 'dataroot' in dataset:
            dataset['dataroot'] = dataroot
        for key in ('dataroot_gt', 'dataroot_lq'):
            if key in dataset:
                dataset[key] = str(Path(dataset[key]).resolve())


def train_options(experiment: dict, arm: str, seed: int, dataroot: str) -> dict:
    """The training option file of one arm and seed."""
    settings = experiment['arms'][arm]
    options = dict(read_option_file(experiment['train']))
    train, path = options['train'], options['path']
    if losses := settings.get('losses'):
        train = {key: value for key, value in train.items() if not key.endswith('_opt')}
        train |= {f'{name}_opt': {'compare': 'x0', **loss} for name, loss in losses.items()}
    train['total_iter'] = settings['iterations']
    train['optim_g']['lr'] = settings['lr']
    train['scheduler']['periods'] = [settings['iterations']]
    if start := settings.get('from'):
        path['pretrain_network_g'] = str(weights_of(model_name(start, seed)))
    options |= {'name': model_name(arm, seed), 'manual_seed': seed, 'train': train, 'val': None}
    options['logger']['use_tb_logger'] = False
    for change in settings.get('force_yml', ()):
        force(options, change)
    set_folders(options, dataroot)
    return options


def test_options(experiment: dict, arm: str, seed: int, dataroot: str) -> dict[str, dict]:
    """The test option files of one arm and seed, by name; they save images, which are measured later."""
    options = dict(read_option_file(experiment['test']))
    trained = train_options(experiment, arm, seed, dataroot)
    set_folders(options, dataroot)
    options |= {section: trained[section] for section in ('network_g', 'sde') if section in trained}
    options['path'] = {**options['path'], 'pretrain_network_g': str(weights_of(trained['name']))}
    options['val'] |= {'save_img': True, 'pbar': False, 'suffix': 'out', 'metrics': None}
    found = {}
    for label, steps in measured_arms(experiment, arm).items():
        name, sampler = model_name(label, seed), options['val']['sampler']
        val = {**options['val'], 'sampler': {**sampler, 'steps': steps} if steps else sampler}
        found[name] = {**options, 'name': name, 'val': val}
    return found


class Experiment:
    """Runs the models of an experiment file below the folder `out`."""

    def __init__(self, experiment: dict, args: argparse.Namespace, out: Path, threads: int) -> None:
        self.experiment, self.dataroot, self.out = experiment, str(Path(args.dataroot).resolve()), out
        self.trunk, self.niqe = args.lpips_trunk, args.niqe
        self.environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        (out / 'options').mkdir(parents=True, exist_ok=True)
        (out / 'logs').mkdir(exist_ok=True)

    def command(self, name: str, *arguments: str) -> None:
        """Runs a Python command in the folder `out`; its output goes to OUT/logs."""
        with (self.out / 'logs' / f'{name}.log').open('w') as log:
            command = [sys.executable, *arguments]
            if subprocess.run(command, cwd=self.out, env=self.environment, stdout=log, stderr=log).returncode:
                raise RuntimeError(f'{" ".join(command)} failed; see {log.name}')

    def option_file(self, options: dict, command: str) -> str:
        path = self.out / 'options' / f'{command}_{options["name"]}.yml'
        path.write_text(yaml.safe_dump(options, sort_keys=False))
        return str(path.resolve())

    def run(self, arm: str, seed: int, start: Future | None, trained: Future, measured: bool) -> None:
        """Trains one model, once `start` is trained, and measures it."""
        try:
            if start is not None:
                start.result()
            self.train(arm, seed)
            trained.set_result(None)
        except Exception as error:
            trained.set_exception(error)
            raise
        if measured:
            self.measure(arm, seed)
        print(f'{arm}, seed {seed}: done', flush=True)

    def train(self, arm: str, seed: int) -> None:
        """Trains one model unless that is done."""
        name = model_name(arm, seed)
        if not (self.out / weights_of(name)).is_file():
            file = self.option_file(train_options(self.experiment, arm, seed, self.dataroot), 'train')
            self.command(f'train_{name}', str(SCRIPTS / 'rival_losses.py'), 'train', '-opt', file, '--auto_resume')

    def measure(self, arm: str, seed: int) -> None:
        """Enhances the test images unless that is done, and measures those that are not measured yet."""
        truths = Path(self.dataroot) / 'eval15' / 'high'
        for name, options in test_options(self.experiment, arm, seed, self.dataroot).items():
            images = self.out / 'results' / name / 'visualization'
            if len(list(images.rglob('*_out.png'))) < len(list(truths.glob('*.png'))):
                self.command(f'test_{name}', '-m', 'basicsr_entropy', 'test', '-opt', self.option_file(options, 'test'))
            arguments = ['--images', str(images), '--truths', str(truths), '--out', f'metrics/{name}.json']
            arguments += ['--lpips-trunk', str(Path(self.trunk).resolve())] if self.trunk else []
            arguments += ['--niqe'] if self.niqe else []
            self.command(f'measure_{name}', str(SCRIPTS / 'measure_images.py'), *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('experiment', help='experiment file')
    parser.add_argument('--dataroot', required=True, help='root folder of the dataset, in the layout of LOL v1')
    parser.add_argument('--out', default='results/losses', help='folder for all runs and for results.json')
    parser.add_argument('--arms', nargs='+', help='arms to run, and those that they start from; all by default')
    parser.add_argument('--seeds', nargs='+', type=int, help='seeds of these arms; those of the file by default')
    parser.add_argument('--jobs', type=int, default=1, help='models at a time, which share the cores (1)')
    parser.add_argument('--lpips-trunk', metavar='FILE', help="weights of torchvision's AlexNet; adds LPIPS")
    parser.add_argument('--niqe', action='store_true', help='add NIQE')
    args = parser.parse_args()

    experiment = read_experiment(args.experiment)
    out, arms = Path(args.out).resolve(), experiment['arms']
    for arm in args.arms or ():
        if arm not in arms:
            parser.error(f'--arms: {args.experiment} has no arm {arm}')
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    runner = Experiment(experiment, args, out, threads)
    wanted = [(arm, seed) for arm in args.arms or arms for seed in args.seeds or arms[arm]['seeds']]
    trained: dict[tuple[str, int], Future] = {}
    jobs: list[Future] = []
    with ThreadPoolExecutor(args.jobs) as pool:

        def submit(arm: str, seed: int) -> Future:
            if (arm, seed) not in trained:  # an arm comes after the one that it starts from, so no job waits for ever
                start = arms[arm].get('from')
                before = submit(start, seed) if start else None
                done = trained[arm, seed] = Future()
                jobs.append(pool.submit(runner.run, arm, seed, before, done, (arm, seed) in wanted))
            return trained[arm, seed]

        for arm, seed in wanted:
            submit(arm, seed)
    for job in jobs:
        job.result()
    order = [label for arm in arms for label in measured_arms(experiment, arm)]
    measured = {tuple(path.stem.rsplit('_seed', 1)): path for path in (out / 'metrics').glob('*.json')}
    found = sorted((order.index(arm), int(seed), path) for (arm, seed), path in measured.items() if arm in order)
    results = {path.stem: json.loads(path.read_text()) for *_, path in found}
    (out / 'results.json').write_text(json.dumps(results, separators=(',', ':')))


if __name__ == '__main__':
    main()
