"""Speed-up by amp, channels_last and compile over plain float32, for evaluation and for a training step of a network.

    python scripts/benchmark_speed.py -opt options/train/LOLv1/irsde_small.yml

The settings alternate, so that other load on the machine affects all of them alike; the shortest times are compared.
"""

import argparse
import time

import torch

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY

from basicsr_entropy.config import build, read_option_file
from basicsr_entropy.models.execution import Execution

SETTINGS = {
    'float32': Execution(),
    'amp: bf16': Execution('bf16'),
    'amp: fp16': Execution('fp16'),
    'channels_last': Execution(channels_last=True),
    'compile': Execution(compile=True),
    'compile, channels_last': Execution(channels_last=True, compile=True),
}


def evaluate(net, execution: Execution, side: int, device: str) -> None:
    """Evaluates the network on a square image."""
    image = torch.rand(1, 3, side, side, device=device)
    with torch.no_grad():
        execution.wrap(net.eval())(image, image, torch.ones(1, device=device))


def train(net, execution: Execution, side: int, device: str) -> None:
    """Forward and backward pass on a batch of four crops."""
    image = torch.rand(4, 3, side, side, device=device)
    execution.wrap(net.train())(image, image, torch.ones(1, device=device)).square().mean().backward()
    net.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-opt', required=True, help='option file with the network')
    parser.add_argument(
        '--settings',
        nargs='+',
        choices=SETTINGS,
        default=list(SETTINGS),
        help='settings to measure; the first is the reference',
    )
    parser.add_argument(
        '--sides', type=int, nargs=2, default=(256, 64), help='side length in pixels of the image and of the crops'
    )
    parser.add_argument('--repeats', type=int, default=7, help='measurements of each setting')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    nets = {}
    for name in args.settings:
        nets[name] = build(ARCH_REGISTRY, read_option_file(args.opt)['network_g'], 'network_g').to(device)
        SETTINGS[name].prepare(nets[name])
    print(f'torch {torch.__version__}, {device}, {torch.get_num_threads()} threads')
    for function, side in zip((evaluate, train), args.sides):
        times = {name: [] for name in nets}
        for _ in range(args.repeats + 1):  # the first one warms up, or compiles
            for name, net in nets.items():
                start = time.perf_counter()
                function(net, SETTINGS[name], side, device)
                if device == 'cuda':
                    torch.cuda.synchronize()
                times[name].append(time.perf_counter() - start)
        best = {name: min(each[1:]) for name, each in times.items()}
        for name, seconds in best.items():
            gain = best[args.settings[0]] / seconds
            print(
                f'{function.__name__} {side}: {name:24} {1e3 * seconds:8.1f} ms, {gain:.2f} times the speed', flush=True
            )


if __name__ == '__main__':
    main()
