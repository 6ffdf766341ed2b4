"""What amp, channels_last and compile are worth: a network's evaluation and training step, beside plain float32.

    python scripts/benchmark_speed.py -opt options/train/LOLv1/irsde_small.yml

Settings take turns, so that a busy machine slows all alike; the shortest times are compared.
"""

import argparse
import time

import torch

import basicsr_entropy  # noqa: F401  (makes basicsr importable, so it comes first)

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY

from basicsr_entropy.config import build, read_option_file
from basicsr_entropy.models.execution import Speed

SETTINGS = {
    'float32': Speed(),
    'amp: bf16': Speed('bf16'),
    'amp: fp16': Speed('fp16'),
    'channels_last': Speed(channels_last=True),
    'compile': Speed(compile=True),
    'compile, channels_last': Speed(channels_last=True, compile=True),
}


def evaluate(net, speed: Speed, side: int, device: str) -> None:
    """One evaluation of a square image."""
    image = torch.rand(1, 3, side, side, device=device)
    with torch.no_grad():
        speed.wrap(net.eval())(image, image, torch.ones(1, device=device))


def train(net, speed: Speed, side: int, device: str) -> None:
    """Forward and backward of a batch of four crops."""
    image = torch.rand(4, 3, side, side, device=device)
    speed.wrap(net.train())(image, image, torch.ones(1, device=device)).square().mean().backward()
    net.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-opt', required=True, help='option file with the network')
    parser.add_argument('--settings', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument('--sides', type=int, nargs=2, default=(256, 64), help='pixels of the image and of the crops')
    parser.add_argument('--repeats', type=int, default=7)
    options = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    nets = {}
    for name in options.settings:
        nets[name] = build(ARCH_REGISTRY, read_option_file(options.opt)['network_g'], 'network_g').to(device)
        SETTINGS[name].prepare(nets[name])
    print(f'torch {torch.__version__}, {device}, {torch.get_num_threads()} threads')
    for what, side in zip((evaluate, train), options.sides):
        times = {name: [] for name in nets}
        for _ in range(options.repeats + 1):  # the first one warms up, or compiles
            for name, net in nets.items():
                start = time.perf_counter()
                what(net, SETTINGS[name], side, device)
                if device == 'cuda':
                    torch.cuda.synchronize()
                times[name].append(time.perf_counter() - start)
        best = {name: min(each[1:]) for name, each in times.items()}
        for name, seconds in best.items():
            gain = best[options.settings[0]] / seconds
            print(f'{what.__name__} {side}: {name:24} {1e3 * seconds:8.1f} ms, {gain:.2f} times as fast', flush=True)


if __name__ == '__main__':
    main()
