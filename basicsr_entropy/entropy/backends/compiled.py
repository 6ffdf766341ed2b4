"""Local spatial divergence on the CPU: C code compiled for this machine, float32, multithreaded.

`local_divergence.c` is compiled by the system's C compiler ($CC, or cc, gcc or clang) when a divergence is first used
with a number of levels and a set of windows, and cached in $XDG_CACHE_HOME/basicsr_entropy (~/.cache by default).

It is fast because only the bins within reach of a window's pixels are visited, value and gradient are computed in one
pass, and all partial sums stay in the L1 cache. Hellinger's distance of windows of one pixel is computed from sums over
levels, without joint bins.

Truncation error. A kernel has less than t = `TRUNCATED_MASS` = 1.5e-5 of its mass beyond its reach r (`Kernel.reach`
bandwidths, both sides). Bins within r of one of the window's pixels in both dimensions are visited, so the mass P_c of
a density outside the visited bins is below 2 t. With a total mass of at most 1 and e = 1e-10, a window's divergence D
changes as follows:

* relative, cross (bins within r of the target's pixels are visited): |dD| <= P_c max |log((p + e)/(q + e))| over the
  other bins, at most 2 t log(1/e) = 7e-4 for distant predictions. If no value in the window differs from the target's
  by more than d levels, the ratio is at most e^(2 d/h) and |dD| <= 2 t * 2 d/h.
* hellinger (within r of either image's pixels): D^2 decreases by at most (P_c + Q_c)/2 <= 2 t, and by at most
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
from tempfile import TemporaryDirectory
from threading import Lock

import torch

from basicsr_entropy._files import atomic_write
from basicsr_entropy.entropy.backends.fused import Result, define_operators
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.entropy.kernels import KERNELS, reach_for

SOURCE = Path(__file__).with_name('local_divergence.c')
FLAGS = '-std=c11 -O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffp-contract=fast -fPIC -shared -w'
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


def is_available(divergence: str, levels: int, radii: tuple[int, ...]) -> bool:
    """Whether there is a library for these options, which is compiled if it is not cached; warns once if that fails."""
    return _library(divergence, levels, radii) is not None


def launch(
    images: Sequence[torch.Tensor],
    bandwidth: torch.Tensor,
    scale: torch.Tensor,
    settings: Settings,
    upstream: torch.Tensor | None,
) -> Result:
    """Runs the kernel; a `fused.Launch`.

    Raises:
        RuntimeError: If there is no library for the settings.
    """
    library = _library(settings.divergence, settings.levels, tuple(settings.radii))
    if library is None:
        raise RuntimeError('the compiled backend is not available here; a warning says why')
    planes, height, width = images[0].shape
    radius = settings.radii[-1]
    # allocated like the images, whatever torch's default type and device are
    result = torch.empty_like(images[0])
    gradients = [] if upstream is None else [torch.zeros_like(result) for _ in range(2)]
    problem = _Problem(
        height,
        width,
        list(KERNELS).index(settings.kernel),
        settings.unit_mass,
        reach_for(settings.divergence, settings.kernel),
        *[None if each is None else each.data_ptr() for each in (bandwidth, scale, *images, upstream, result)],
    )
    threads = torch.get_num_threads()
    rows = -(-planes * height // (TASKS_PER_THREAD * threads))
    # at most two bands contribute to the gradient of a row, so that the order of the additions does not matter
    rows = max(min(rows, MAX_ROWS), MIN_ROWS, 2 * radius)
    rows += rows % 2  # the kernel computes pairs of rows
    adding = Lock()

    def run(plane: int, first: int) -> None:
        last = min(first + rows, height)
        # gradients of the band's rows, and of `radius` rows above and below
        bands = [result.new_zeros(last - first + 2 * radius, width) for _ in gradients]
        pointers = [ctypes.c_void_p(band.data_ptr()) for band in bands] or (None, None)
        if library.local_divergence(ctypes.byref(problem), plane, first, last, *pointers):
            raise MemoryError('out of memory in the entropy loss')
        start, stop = max(first - radius, 0), min(last + radius, height)
        with adding:
            for gradient, band in zip(gradients, bands):
                gradient[plane, start:stop] += band[start - first + radius : stop - first + radius]

    tasks = [(plane, first) for plane in range(planes) for first in range(0, height, rows)]
    # ctypes releases the interpreter lock. Threads live for one call only, so that a fork never sees them.
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(run, *zip(*tasks)):
            pass
    return Result(result, gradients)


define_operators('compiled', launch)


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

    Its name ends with a checksum of its content, so that a damaged one is compiled again: loading it could crash.

    Raises:
        OSError: If there is no compiler, it reports an error, or there is no writable cache folder.
        subprocess.SubprocessError: If the compiler exceeds the timeout.
    """
    macros = {'DIVERGENCE': divergence, 'LEVELS': levels, 'RADII': ','.join(map(str, radii)), 'RADIUS': radii[-1]}
    command = [*_compiler(), *FLAGS.split(), *(f'-D{name}={value}' for name, value in macros.items())]
    machine = (platform.machine(), _processor())
    folder, key = _cache_folder(), _digest(repr((SOURCE.read_bytes(), command, machine)).encode())
    for cached in folder.glob(f'local_divergence-{key}-*.so'):
        if cached.stem.endswith(f'-{_digest(cached.read_bytes())}'):
            return cached
        cached.unlink(missing_ok=True)
    with TemporaryDirectory() as temporary:
        output = Path(temporary) / 'library.so'
        run = subprocess.run(
            [*command, str(SOURCE), '-o', str(output), '-lm'],
            capture_output=True,
            text=True,
            errors='replace',
            timeout=COMPILATION_TIMEOUT,
        )
        if run.returncode:
            first_line = (run.stderr.strip() or f'exit code {run.returncode}').splitlines()[0]
            raise OSError(f"'{command[0]}' cannot compile {SOURCE.name}: {first_line}")
        content = output.read_bytes()
    library = folder / f'local_divergence-{key}-{_digest(content)}.so'
    with atomic_write(library) as written:  # another process may do the same at once: its library is equal
        written.write_bytes(content)
    return library


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _compiler() -> list[str]:
    chosen = os.environ.get('CC', '')
    try:
        candidates = [shlex.split(chosen)] if chosen.strip() else [['cc'], ['gcc'], ['clang']]
    except ValueError as error:
        raise OSError(f'$CC is not a command ({error}): {chosen}') from error
    for words in candidates:
        if words and shutil.which(words[0]):
            return [*words, '-march=native' if platform.machine() in ('x86_64', 'AMD64') else '-mcpu=native']
    raise OSError(f'there is no C compiler ({", ".join(" ".join(words) for words in candidates)})')


def _processor() -> str:
    """Instruction set of the CPU, part of the cache key: a home folder may be shared by different machines."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(('flags', 'Features'))), '')


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'basicsr_entropy'
    except RuntimeError as error:  # neither $HOME nor an entry in the user database
        raise OSError('there is no home folder for the cache') from error
