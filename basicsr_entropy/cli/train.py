"""`basicsr-entropy train`: trains a model."""

import argparse

from basicsr_entropy.cli._arguments import PIPELINE_FLAGS, example
from basicsr_entropy.cli._memory import keep_freed_memory

FLAGS = {**PIPELINE_FLAGS, 'allow_changes': '--allow_changes', 'auto_resume': '--auto_resume'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of BasicSR's train.py."""
    parser.description = (
        "Train a model from a BasicSR option file. The arguments are those of BasicSR's train.py.\n"
        'Checkpoints and logs are written to experiments/NAME in the current directory.'
    )
    parser.epilog = example('basicsr-entropy train -opt options/train/LOLv1/irsde_small.yml')
    from basicsr_entropy.config.parse import add_arguments as add_run_arguments

    add_run_arguments(parser)
    parser.add_argument(
        '--allow_changes',
        action='store_true',
        help='resume with options that differ from those the run was started with; each difference is listed',
    )


def run(args: argparse.Namespace) -> int:
    """Trains."""
    keep_freed_memory()
    from basicsr_entropy.training import pipeline

    pipeline.run(args, is_train=True)
    return 0
