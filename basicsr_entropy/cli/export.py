"""`basicsr-entropy export`: writes a model to one file, for this package or other programs."""

import argparse

from basicsr_entropy.cli._arguments import OPTION_FILE_FLAGS, add_option_file, example

FLAGS = {**OPTION_FILE_FLAGS, 'weights': '--weights', 'model': '--model', 'out': '-o'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the weights, their option file and the file to write."""
    parser.description = (
        'Write trained weights, together with the options that sampling needs, to one file. The suffix chooses:\n'
        '  .safetensors  for `basicsr-entropy enhance --model FILE`, and programs that use spandrel\n'
        '  .onnx         one evaluation of the network, for programs without torch; see scripts/sample_onnx.py\n'
        'EMA weights are used if the checkpoint has them.'
    )
    parser.epilog = example(
        'basicsr-entropy export -opt options/train/LOLv1/irsde_small.yml -o model.safetensors \\',
        '    --weights experiments/irsde_small_LOLv1/models/net_g_latest.pth',
        'basicsr-entropy export --model night_small -o night_small.onnx',
    )
    add_option_file(parser, 'option file that the weights were trained or tested with', required=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--weights', metavar='FILE', help='checkpoint, such as net_g_latest.pth; needs -opt')
    source.add_argument('--model', metavar='NAME|FILE', help='bundled model, or model file to write in another format')
    parser.add_argument('-o', '--out', metavar='FILE', required=True, help='file to write; must not exist')


def run(args: argparse.Namespace) -> int:
    """Writes the model file."""
    from basicsr_entropy.config import read_option_file
    from basicsr_entropy.inference.pretrained import check_output, model_of, read_pretrained, write_model

    out = check_output(args.out, ('.safetensors', '.onnx'))
    options = read_option_file(args.opt) if args.opt else None
    if args.model:
        model = read_pretrained(args.model, options)
    elif options is None:
        raise ValueError('options: missing; give the option file that the weights were trained or tested with')
    else:
        model = model_of(options, args.weights)
    if out.suffix == '.onnx':
        from basicsr_entropy.inference.onnx import write_onnx

        write_onnx(model, out)
    else:
        write_model(model, out)
    print(f'model: {args.out}')
    return 0
