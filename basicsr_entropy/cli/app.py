"""`basicsr-entropy app`: enhances photographs on a web page."""

import argparse
from pathlib import Path

from basicsr_entropy.cli._arguments import (
    CONTROLS_FLAGS,
    ENHANCER_FLAGS,
    add_controls,
    add_enhancer,
    build_controls,
    build_enhancer,
    example,
)
from basicsr_entropy.cli._memory import keep_freed_memory

FLAGS = {**ENHANCER_FLAGS, **CONTROLS_FLAGS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the enhancer, the initial controls and the address of the page."""
    parser.description = 'Serve a web page that enhances photographs on this machine, until Ctrl+C.'
    parser.epilog = example('basicsr-entropy app --browser')
    add_controls(parser)
    add_enhancer(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 accepts connections from other machines (default: %(default)s)',
    )
    parser.add_argument(
        '--port', type=int, metavar='N', help='port to listen on (default: the first free one from 7860)'
    )
    parser.add_argument('--browser', action='store_true', help='open the page in the browser')


def run(args: argparse.Namespace) -> int:
    """Serves the page until it is interrupted."""
    keep_freed_memory(in_threads=True)  # the page enhances in a thread
    from basicsr_entropy.inference.page import build_app, serve

    controls = build_controls(args)
    app = build_app(build_enhancer(args), Path(args.model).stem, controls)
    print(f'app: {serve(app, args.host, args.port, args.browser)} (Ctrl+C stops it)', flush=True)
    app.block_thread()
    return 0
