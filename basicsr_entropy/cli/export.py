"""`basicsr-entropy export`: writes weights and their options to one model file."""

import argparse

from basicsr_entropy.cli._arguments import OPTION_FILE_FLAGS, add_option_file, example

FLAGS = {**OPTION_FILE_FLAGS, 'weights': '--weights', 'out': '-o'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the weights, their option file and the file to write."""
    parser.description = (
        'Write trained weights, together with the options that sampling needs, to one safetensors file, for\n'
        '`basicsr-entropy enhance --model FILE`. EMA weights are used if the checkpoint has them.'
    )
    parser.epilog = example(
        'basicsr-entropy export -opt options/train/LOLv1/irsde_small.yml -o model.safetensors \\',
        '    --weights experiments/irsde_small_LOLv1/models/net_g_latest.pth',
    )
    add_option_file(parser, 'option file that the weights were trained or tested with')
    parser.add_argument('--weights', metavar='FILE', required=True, help='checkpoint, such as net_g_latest.pth')
    parser.add_argument('-o', '--out', metavar='FILE', required=True, help='model file to write, *.safetensors')


def run(args: argparse.Namespace) -> int:
    """Writes the model file."""
    from basicsr_entropy.config import read_option_file
    from basicsr_entropy.inference.pretrained import write_pretrained

    write_pretrained(read_option_file(args.opt), args.weights, args.out)
    print(f'model: {args.out}')
    return 0
