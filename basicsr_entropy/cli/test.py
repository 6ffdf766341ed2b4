"""`basicsr-entropy test`: runs BasicSR's test pipeline."""

import argparse

from basicsr_entropy.cli._arguments import PIPELINE_FLAGS, example
from basicsr_entropy.cli._memory import keep_freed_memory

FLAGS = PIPELINE_FLAGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of BasicSR's test.py."""
    parser.description = (
        "Test a model from a BasicSR option file. The arguments are those of BasicSR's test.py.\n"
        'Images and logs are written to results/NAME in the current directory.'
    )
    parser.epilog = example('basicsr-entropy test -opt options/test/LOLv1/irsde_small.yml')
    from basicsr_entropy.config.parse import add_arguments as add_run_arguments

    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline."""
    keep_freed_memory()
    from basicsr_entropy.training import pipeline

    pipeline.run(args, is_train=False)
    return 0
