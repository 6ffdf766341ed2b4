"""`basicsr-entropy report`: compares the outputs of a test run with the ground truth."""

import argparse
from pathlib import Path

from basicsr_entropy.cli._arguments import OPTION_FILE_FLAGS, add_option_file, check_picture_format, example

FLAGS = {**OPTION_FILE_FLAGS, 'model': '--model'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the option file of the test run and the picture to write."""
    parser.description = (
        'Print the metrics that `basicsr-entropy test` wrote to results/NAME/metrics.json beside those of the inputs,\n'
        'and write a picture of inputs, outputs and ground truth side by side.'
    )
    parser.epilog = example('basicsr-entropy report -opt options/test/LOLv1/irsde_small.yml')
    add_option_file(parser, 'option file of the test, or of the training whose validation set was tested')
    parser.add_argument('--picture', metavar='FILE', help='file of the picture (default: results/NAME/comparison.png)')
    parser.add_argument(
        '--model',
        metavar='MODEL',
        help='another model, to be shown beside the output: night_small, or a file that `export` wrote',
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table and writes the picture."""
    from basicsr_entropy._files import check_file_writable
    from basicsr_entropy.config.folders import output_folder
    from basicsr_entropy.config.parse import read_options
    from basicsr_entropy.inference.enhancer import Enhancer
    from basicsr_entropy.inference.images import of_bgr
    from basicsr_entropy.training.report import compare_results, print_table, write_picture

    # unusable paths are reported before the images are measured
    if args.picture:
        check_picture_format(args.picture)
        check_file_writable(args.picture, '--picture')
    options = read_options(args.opt, (), is_train=False)
    others = {Path(args.model).stem: of_bgr(Enhancer.from_pretrained(args.model))} if args.model else {}
    compared = compare_results(options, others)
    picture = args.picture or output_folder(options, is_train=False) / 'comparison.png'
    print_table(compared, options['name'])
    write_picture(compared, picture)
    print(f'picture: {picture}')
    return 0
