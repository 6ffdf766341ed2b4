"""Local spatial divergence on the CPU: C code compiled for this machine, float32, multithreaded.

`local_divergence.c` is compiled by the system's C compiler ($CC, or cc, gcc or clang) when a divergence is first used
with a number of levels and a set of windows, and cached in $XDG_CACHE_HOME/basicsr_entropy (~/.cache by default).

It is fast because only the bins within reach of a window's pixels are visited, value and gradient are computed in one
pass, and all partial sums stay in the L1 cache.

Truncation error. A kernel has less than t = `TRUNCATED_MASS` = 1.5e-5 of its mass beyond its reach r (`Kernel.reach`
bandwidths, both sides). Bins within r of the window's values in both dimensions are visited, so the mass P_c of a
density outside the visited bins is below 2 t. With a total mass of at most 1 and e = 1e-10, a window's divergence D
changes as follows:

* relative, cross (bins within r of the target's values are visited): |dD| <= P_c max |log((p + e)/(q + e))| over the
  other bins, at most 2 t log(1/e) = 7e-4 for distant predictions. If no value in the window differs from the target's
  by more than d levels, the ratio is at most e^(2 d/h) and |dD| <= 2 t * 2 d/h.
* hellinger (within r of either image's values): D^2 decreases by at most (P_c + Q_c)/2 <= 2 t, and by at most
  2 t (e^(d/h) - 1)^2 / 2 if the images are within d levels: near the target the error vanishes with D^2 itself.
* jensen_shannon (likewise): |dD| <= log(2) (P_c + Q_c)/2 <= 1.4 t.
* shannon: its terms weight the tail by its logarithm, so bins are visited within 1.3 r (for the logistic kernel a mass
  of 2e-7 lies outside): |dH| <= P_c log(1/e) <= 1e-5.

The gradient w.r.t. a value loses at most the same fraction of its terms, each below 1/h times a bin's mass. Measured on
photographs and noise, maps and gradients agree with the exact ones to 5e-5 of their norm.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import torch

from basicsr_entropy._files import atomic_write
from basicsr_entropy.entropy.backends.fused import Launch, Result
from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.kernels import KERNELS, reach_for

SOURCE = Path(__file__).with_name('local_divergence.c')
FLAGS = '-std=c11 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fPIC -shared -w'
COMPILATION_TIMEOUT = 300  # seconds
TASKS_PER_THREAD = 4  # bands of rows per thread, for an even load
MIN_ROWS, MAX_ROWS = 16, 128  # rows of a band

_log = logging.getLogger(__name__)


class _Problem(ctypes.Structure):
    """Mirrors `struct problem` of local_divergence.c."""

    _fields_ = [
        *[(name, ctypes.c_int32) for name in ('height', 'width', 'kernel', 'unit_mass')],
        ('reach', ctypes.c_float),
        *[
            (name, ctypes.c_void_p)
            for name in (
                *('bandwidth', 'scale'),
                *('pred_value', 'pred_neighbor', 'target_value', 'target_neighbor', 'upstream', 'map'),
            )
        ],
    ]


def load(options: DensityOptions, divergence: str) -> Launch | None:
    """The computation for these options, compiled if it is not cached; None, with one warning, if that fails."""
    library = _library(divergence, options.level_count, options.radii)
    return None if library is None else functools.partial(_launch, library)


def _launch(
    library: ctypes.CDLL,
    images: Sequence[torch.Tensor],
    bandwidth: torch.Tensor,
    options: DensityOptions,
    divergence: str,
    upstream: torch.Tensor | None,
) -> Result:
    planes, height, width = images[0].shape
    radius, scale = options.radii[-1], options.scale(bandwidth)
    gradients = None if upstream is None else torch.zeros(2, planes, height, width)
    result = torch.empty(planes, height, width)
    problem = _Problem(
        height,
        width,
        list(KERNELS).index(options.kernel),
        options.unit_mass,
        reach_for(divergence, options.kernel),
        *[None if each is None else each.data_ptr() for each in (bandwidth, scale, *images, upstream, result)],
    )
    threads = torch.get_num_threads()
    rows = -(-planes * height // (TASKS_PER_THREAD * threads))
    # at most two bands contribute to the gradient of a row, so that the order of the additions does not matter
    rows = max(min(rows, MAX_ROWS), MIN_ROWS, 2 * radius)
    adding = Lock()

    def run(plane: int, first: int) -> None:
        last = min(first + rows, height)
        # gradients of the band's rows, and of `radius` rows above and below
        band = None if gradients is None else torch.zeros(2, last - first + 2 * radius, width)
        pointers = (None, None) if band is None else [ctypes.c_void_p(each.data_ptr()) for each in band]
        if library.local_divergence(ctypes.byref(problem), plane, first, last, *pointers):
            raise MemoryError('out of memory in the entropy loss')
        if band is not None and gradients is not None:
            start, stop = max(first - radius, 0), min(last + radius, height)
            with adding:
                gradients[:, plane, start:stop] += band[:, start - first + radius : stop - first + radius]

    tasks = [(plane, first) for plane in range(planes) for first in range(0, height, rows)]
    # ctypes releases the interpreter lock. Threads live for one call only, so that a fork never sees them.
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(run, *zip(*tasks)):
            pass
    return Result(result, *(gradients if gradients is not None else (None, None)))


@functools.cache
def _library(divergence: str, levels: int, radii: tuple[int, ...]) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(_compile(divergence, levels, radii)))
    except (OSError, subprocess.SubprocessError) as error:
        _warn_once(str(error))
        return None


@functools.cache
def _warn_once(reason: str) -> None:
    _log.warning(
        'The entropy loss uses the eager backend, tens of times slower than the compiled one: %s. The compiled backend '
        'needs a C compiler (gcc, clang, or that in $CC) and a writable folder ($XDG_CACHE_HOME, ~/.cache by default).',
        reason,
    )


def _compile(divergence: str, levels: int, radii: tuple[int, ...]) -> Path:
    """Path of the shared library for these options, compiled if it is not cached.

    Raises:
        OSError: If there is no compiler, it reports an error, or the cache folder is not writable.
        subprocess.SubprocessError: If the compiler cannot be run or exceeds the timeout.
    """
    macros = {'DIVERGENCE': divergence, 'LEVELS': levels, 'RADII': ','.join(map(str, radii)), 'RADIUS': radii[-1]}
    command = [*_compiler(), *FLAGS.split(), *(f'-D{name}={value}' for name, value in macros.items())]
    machine = (platform.machine(), _processor())
    name = hashlib.sha256(repr((SOURCE.read_bytes(), command, machine)).encode()).hexdigest()[:20]
    library = _cache_folder() / f'local_divergence-{name}.so'
    if not library.is_file():
        with atomic_write(library) as temporary:  # another process may do the same at once: its library is equal
            run = subprocess.run(
                [*command, str(SOURCE), '-o', str(temporary), '-lm'],
                capture_output=True,
                text=True,
                timeout=COMPILATION_TIMEOUT,
            )
            if run.returncode:
                first_line = (run.stderr.strip() or f'exit code {run.returncode}').splitlines()[0]
                raise OSError(f"'{command[0]}' cannot compile {SOURCE.name}: {first_line}")
    return library


def _compiler() -> list[str]:
    names = [os.environ['CC']] if os.environ.get('CC') else ['cc', 'gcc', 'clang']
    for name in names:
        words = shlex.split(name)
        if shutil.which(words[0]):
            return [*words, '-march=native' if platform.machine() in ('x86_64', 'AMD64') else '-mcpu=native']
    raise OSError(f'there is no C compiler ({", ".join(names)})')


def _processor() -> str:
    """Instruction set of the CPU, part of the cache key: a home folder may be shared by different machines."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(('flags', 'Features'))), '')


def _cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'basicsr_entropy'
