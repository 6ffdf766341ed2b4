"""Registers, spills and instructions of the Triton kernel of the entropy loss, compiled without a GPU.

    python scripts/count_triton.py --capability 90

The kernel is compiled for an NVIDIA GPU of the given compute capability and assembled by Triton's own ptxas. A program
is one warp, and computes one pixel; `loop` counts the instructions for one block of bins, `mma` and `mufu` those of
them for matrix products and for roots, exponentials and reciprocals; parts of a loop that ptxas moves out of it, as it
does without the gradient, are missed. The number of blocks depends on the images; it is counted on photographs bundled
with scikit-image.
"""

import argparse
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ['TRITON_INTERPRET'] = '0'  # read when triton is imported, which torch may do

import torch
import triton
from rich.console import Console
from rich.table import Table
from torch.nn.functional import max_pool2d
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from basicsr_entropy.entropy.backends import triton_kernel
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.kernels import reach_for
from basicsr_entropy.entropy.neighbors import neighbor_values, neighbor_weights

TOOLS = Path(triton.__file__).parent / 'backends/nvidia/bin'
SETTINGS = {
    'published': Settings('hellinger', 'logistic', 32, [0, 1, 2], unit_mass=False),  # irsde_published.yml
    'small': Settings('hellinger', 'gaussian', 16, [0, 1, 2], unit_mass=True),  # irsde_small.yml
}


@dataclass(frozen=True)
class Counts:
    registers: int  # per thread
    spilled: int  # bytes per thread, stores and loads
    shared: int  # bytes per program
    total: int  # instructions
    loop: int  # instructions of the loop over blocks; 0 if it was unrolled
    loop_local: int  # those that access spilled registers
    mma: int
    mufu: int


def count(settings: Settings, gradient: bool, capability: int) -> Counts:
    """Compiles the kernel, e.g. for compute capability 90, and counts."""
    kernel = triton_kernel._local_divergence
    constants = triton_kernel.constants(settings, 'tf32x3')
    warps = constants.pop('num_warps')
    if not gradient:
        constants.update(dict.fromkeys(('upstream', 'grad_value', 'grad_neighbor')))
    types = {'height': 'i32', 'width': 'i32', 'reach': 'fp32', **dict.fromkeys(constants, 'constexpr')}
    signature = {name: types.get(name, '*fp32') for name in kernel.arg_names}
    aligned = {(i,): [['tt.divisibility', 16]] for i, each in enumerate(signature.values()) if each == '*fp32'}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32), options={'num_warps': warps})
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, 'kernel.ptx'), Path(folder, 'kernel.cubin')
        ptx.write_text(compiled.asm['ptx'])
        architecture = f'sm_{capability}{"a" if capability >= 90 else ""}'
        report = _output('ptxas', '-v', '--gpu-name', architecture, ptx, '-o', cubin)
        lines = _output('nvdisasm', '-c', cubin).splitlines()
    names = [_instruction(line) for line in lines]
    loop = _loop(lines, names)
    body = [name for name in names[loop] if name] or [name for name in names if name]
    return Counts(
        registers=int(re.search(r'Used (\d+) registers', report)[1]),
        spilled=sum(map(int, re.findall(r'(\d+) bytes spill', report))),
        shared=compiled.metadata.shared,
        total=sum(map(bool, names)),
        loop=sum(map(bool, names[loop])),
        loop_local=sum(name in ('LDL', 'STL') for name in names[loop]),
        mma=body.count('HMMA'),
        mufu=body.count('MUFU'),
    )


def _output(tool: str, *arguments: str | Path) -> str:
    result = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True)
    return result.stdout + result.stderr


def _instruction(line: str) -> str:
    """Name of the instruction in a line of nvdisasm, without its modifiers; empty if there is none."""
    match = re.search(r'/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)', line)
    return match[1] if match and match[1] != 'NOP' else ''


def _loop(lines: list[str], names: list[str]) -> slice:
    """Lines of the shortest loop that has all matrix products."""
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r'(\.L_x_\d+):', line))}
    branches = {i: match[1] for i, line in enumerate(lines) if (match := re.search(r'BRA.*`\((\.L_x_\d+)\)', line))}
    loops = [slice(labels[label], i + 1) for i, label in branches.items() if labels.get(label, i) < i]
    loops = [loop for loop in loops if names[loop].count('HMMA') == names.count('HMMA')]
    return min(loops, key=lambda loop: loop.stop - loop.start, default=slice(0))


def blocks(settings: Settings, content: str) -> float:
    """Mean number of blocks of bins per pixel of the benchmark's images: photograph | dark | noise."""
    from benchmark_entropy import Case, images

    top, far = settings.levels - 1, DensityOptions().bandwidth * reach_for(settings.divergence, settings.kernel)
    pair = [image.clamp(0, 1) * top for image in images(Case(batch=8, content=content), 'cpu')]
    weights = neighbor_weights('gaussian')
    result = 1
    for values in (pair, [neighbor_values(image, weights) for image in pair]):
        side = 2 * settings.radii[-1] + 1
        low = -max_pool2d(-torch.minimum(*values), side, 1, side // 2)
        high = max_pool2d(torch.maximum(*values), side, 1, side // 2)
        first, last = (low - far).ceil().clamp(min=0), (high + far).floor().clamp(max=top)
        result = result * ((last - first + 1) / triton_kernel.BLOCK).ceil()
    return float(result.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--capability', type=int, default=90, help='compute capability times ten, such as 80 or 90')
    args = parser.parse_args()
    fields = list(Counts.__dataclass_fields__)
    table = Table('setting', 'gradient', *fields, title=f'Triton kernel, compute capability {args.capability / 10}')
    for name, settings in SETTINGS.items():
        for gradient in (True, False):
            counts = count(settings, gradient, args.capability)
            table.add_row(name, 'yes' if gradient else 'no', *(str(getattr(counts, field)) for field in fields))
    console = Console(width=120)
    console.print(table)
    table = Table('setting', 'photograph', 'dark', 'noise', title='Blocks of bins per pixel')
    for name, settings in SETTINGS.items():
        table.add_row(name, *(f'{blocks(settings, each):.2f}' for each in ('photograph', 'dark', 'noise')))
    console.print(table)


if __name__ == '__main__':
    main()
