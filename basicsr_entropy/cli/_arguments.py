"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from basicsr_entropy.cli._errors import warnings_in_flags

if TYPE_CHECKING:
    from basicsr_entropy.inference.controls import Controls
    from basicsr_entropy.inference.enhancer import Enhancer


def example(*lines: str) -> str:
    """The epilog of a command's help: a command line to copy, which may continue over several lines."""
    return 'example:\n' + '\n'.join(f'  {line}' for line in lines)


def count(text: str) -> int:
    """Argument type: an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'must be an integer of at least 0, got {text!r}')
    return int(text)


def add_option_file(parser: argparse.ArgumentParser, help: str, required: bool = True) -> None:
    """-opt FILE, which the library's messages call `options`."""
    parser.add_argument('-opt', metavar='FILE', required=required, help=help)


OPTION_FILE_FLAGS = {'options': '-opt'}


def check_json_report(path: str | None) -> None:
    """Raises an error if --json names no file that a report may be written to; `-` is standard output."""
    from basicsr_entropy._files import check_report_writable
    from basicsr_entropy._images import PHOTOGRAPH_SUFFIXES, UNSUPPORTED_SUFFIXES

    if path and path != '-':
        check_report_writable(path, '--json', (*PHOTOGRAPH_SUFFIXES, *UNSUPPORTED_SUFFIXES))


def check_picture_format(path: str) -> None:
    """Raises an error if OpenCV does not know the suffix of --picture."""
    import cv2

    if not cv2.haveImageWriter(path):
        raise ValueError(f'--picture: unknown image format: {path}; use the suffix .jpg or .png')


def add_layout(parser: argparse.ArgumentParser, splits: str) -> None:
    """--layout and --split; `splits` tells what is done with the splits."""
    from basicsr_entropy.data.sets.layouts import LAYOUT_CHOICES, SPLITS

    parser.add_argument(
        '--layout',
        default='auto',
        choices=LAYOUT_CHOICES,
        help='folder layout of the dataset (default: recognize it by its folder names)',
    )
    parser.add_argument('--split', nargs='+', choices=SPLITS, help=f'splits to {splits} (default: all that exist)')


LAYOUT_FLAGS = {'dataroot': '--root', 'layout': '--layout', 'split': '--split'}


def add_workers(parser: argparse.ArgumentParser) -> None:
    """--workers N."""
    parser.add_argument(
        '--workers',
        type=count,
        metavar='N',
        default=len(os.sched_getaffinity(0)),
        help='number of worker processes; 0 does all work in the main process (default: one per CPU core)',
    )


WORKERS_FLAGS = {'workers': '--workers'}


PIPELINE_FLAGS = {**OPTION_FILE_FLAGS, 'launcher': '--launcher', 'force_yml': '--force_yml'}


def add_enhancer(parser: argparse.ArgumentParser) -> None:
    """The arguments of an `Enhancer`."""
    from basicsr_entropy.diffusion import SAMPLERS
    from basicsr_entropy.diffusion.tiling import MODES, Tiling
    from basicsr_entropy.inference.enhancer import DTYPES

    parser.add_argument(
        '--model',
        default='night_small',
        metavar='NAME|FILE',
        help='bundled model, or model file written by `basicsr-entropy export` (default: night_small)',
    )
    add_option_file(parser, 'option file of the model, for weights stored without their options', required=False)
    parser.add_argument('--sampler', choices=sorted(SAMPLERS), help="sampler (default: the model's own)")
    parser.add_argument(
        '--steps', type=int, metavar='N', help="network function evaluations per image (default: the model's own)"
    )
    parser.add_argument(
        '--tile',
        type=int,
        metavar='N',
        default=Tiling.size,
        help='tile size in pixels; 0 disables tiling (default: %(default)s)',
    )
    parser.add_argument(
        '--tile-overlap',
        type=int,
        metavar='N',
        default=Tiling.overlap,
        help='overlap of neighboring tiles in pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--tile-mode', choices=MODES, default=Tiling.mode, help='how tiles are combined (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, metavar='N', default=0, help='random seed (default: 0)')
    parser.add_argument('--device', help='torch device: cpu, cuda, cuda:1 ... (default: cuda if available)')
    parser.add_argument(
        '--self-ensemble', action='store_true', help='test-time augmentation (x8): 8 times as many evaluations'
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='precision of the network; bf16 and fp16 use autocast and suit GPUs (default: %(default)s)',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the network: the first evaluation takes minutes, later ones are faster',
    )


# the fields of a `Tiling` go by the flags that set them
ENHANCER_FLAGS = {
    **OPTION_FILE_FLAGS,
    'model': '--model',
    'sampler': '--sampler',
    'steps': '--steps',
    'size': '--tile',
    'overlap': '--tile-overlap',
    'mode': '--tile-mode',
    'seed': '--seed',
    'device': '--device',
    'self_ensemble': '--self-ensemble',
    'dtype': '--dtype',
    'compile': '--compile',
}


def build_enhancer(args: argparse.Namespace) -> Enhancer:
    """The enhancer that the arguments of `add_enhancer` describe; its warnings are printed in terms of the flags."""
    from basicsr_entropy.diffusion.tiling import Tiling
    from basicsr_entropy.inference.enhancer import Enhancer

    with warnings_in_flags(ENHANCER_FLAGS):
        return Enhancer.from_pretrained(
            args.model,
            options=args.opt,
            sampler=args.sampler,
            steps=args.steps,
            tile=Tiling(args.tile, args.tile_overlap, args.tile_mode) if args.tile else None,
            seed=args.seed,
            device=args.device,
            self_ensemble=args.self_ensemble,
            dtype=args.dtype,
            compile=args.compile,
        )


def add_controls(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Controls`."""
    controls = parser.add_argument_group('controls', 'applied after the model, without further evaluations')
    controls.add_argument(
        '--strength', type=float, metavar='S', default=1.0, help='0 is the input, 1 the result (default: 1)'
    )
    controls.add_argument(
        '--exposure', type=float, metavar='STOPS', default=0.0, help='stops to add to the result, -5 to 5 (default: 0)'
    )
    controls.add_argument(
        '--brightness',
        type=float,
        metavar='MEAN',
        help='bring each result to this mean, 0 to 1; --exposure counts from there (default: as the model made it)',
    )
    controls.add_argument(
        '--protect-highlights',
        type=float,
        metavar='P',
        default=0.5,
        help='keep what is bright in the input from being clipped; 0 is off, 1 the most (default: 0.5)',
    )


CONTROLS_FLAGS = {
    'strength': '--strength',
    'exposure': '--exposure',
    'brightness': '--brightness',
    'protect_highlights': '--protect-highlights',
}


def build_controls(args: argparse.Namespace) -> Controls:
    """The controls that the arguments of `add_controls` describe."""
    from basicsr_entropy.inference.controls import Controls

    return Controls(args.strength, args.exposure, args.protect_highlights, args.brightness)
