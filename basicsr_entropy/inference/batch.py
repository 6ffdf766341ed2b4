"""Enhancement of many files: output paths, comparison images and filmstrips, and errors of single files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from basicsr_entropy._errors import first_line
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import Photograph, find_photographs, read_photograph, write_photograph

FRAMES = 8  # states in a filmstrip
FRAME_HEIGHT = 256  # pixels


class Job(NamedTuple):
    """A photograph and the files to write for it; None for those that were not requested."""

    source: Path
    output: Path
    compare: Path | None
    filmstrip: Path | None


def enhance_files(
    enhancer: Enhancer,
    inputs: Sequence[str],
    out: str | Path,
    compare: bool = False,
    filmstrip: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Enhances photographs. A file that fails is reported on standard error, and the others are still enhanced.

    All output paths are checked before the first photograph is enhanced.

    Args:
        enhancer: The model.
        inputs: Files, folders and glob patterns; see `find_photographs`.
        out: Folder for the results, which keep their file names and their subfolders below an input folder.
        compare: Also write NAME_compare: input and output side by side.
        filmstrip: Also write NAME_filmstrip.png: states of the reverse process from noise to image.
        overwrite: Replace existing results. The photographs themselves are never replaced.

    Returns:
        One error message per file that failed; empty if all succeeded.

    Raises:
        FileNotFoundError: If an input matches no photograph.
        FileExistsError: If a result exists, or would replace a photograph.
        ValueError: If two photographs would have the same result path.
    """
    jobs = plan(inputs, Path(out), compare, filmstrip, overwrite)
    errors = []
    for job in tqdm(jobs, desc='Enhance', unit='image'):
        try:
            _enhance_file(enhancer, job)
        except Exception as error:  # any error of one file leaves the others to be enhanced
            line = first_line(error)
            errors.append(line if str(job.source) in line else f'{job.source}: {line}')
            tqdm.write(f'basicsr-entropy: error: {errors[-1]}', file=sys.stderr)
    return errors


def plan(inputs: Sequence[str], out: Path, compare: bool, filmstrip: bool, overwrite: bool) -> list[Job]:
    """Plans every file to write; arguments and errors as in `enhance_files`."""
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}  # photographs by the files to write for them
    found = find_photographs(inputs)
    sources = {source.resolve() for source, _ in found}
    for source, name in found:
        output = out.expanduser() / name
        beside = (
            output.with_name(f'{output.stem}_compare{output.suffix}'),
            output.with_name(f'{output.stem}_filmstrip.png'),
        )
        job = Job(source, output, beside[0] if compare else None, beside[1] if filmstrip else None)
        for path in filter(None, job[1:]):
            if path in taken:
                raise ValueError(
                    f'{taken[path]} and {source} would both become {path}; enhance them into different folders'
                )
            if path.resolve() in sources:
                raise FileExistsError(f'out: {path} is one of the photographs; write to another folder')
            if path.exists() and not overwrite:
                raise FileExistsError(f'out: {path} exists; give another folder, or overwrite=True')
            taken[path] = source
        jobs.append(job)
    return jobs


def _enhance_file(enhancer: Enhancer, job: Job) -> None:
    photograph = read_photograph(job.source)
    frames = _Frames(enhancer.steps)
    enhanced = enhancer(photograph.pixels, callback=frames if job.filmstrip else None, progress=True)
    write_photograph(job.output, photograph._replace(pixels=enhanced))
    if job.compare:
        pair = np.hstack([photograph.pixels, enhanced])
        write_photograph(job.compare, photograph._replace(pixels=pair, orientation=1, exif=None))
    if job.filmstrip:
        write_photograph(job.filmstrip, Photograph(frames.strip(), 'PNG', icc=photograph.icc))


class _Frames:
    """Callback of `sample` that collects the frames of a filmstrip: small copies of some states, and the result."""

    def __init__(self, steps: int) -> None:
        self.last = steps - 1
        self.wanted = set(np.linspace(0, steps, FRAMES).round().astype(int).tolist())
        self.frames: list[torch.Tensor] = []

    def __call__(self, index: int, t: float, x_t: torch.Tensor, x0: torch.Tensor) -> None:
        if index in self.wanted:
            self._keep(x_t)
        if index == self.last:  # the last step ends at the predicted x_0
            self._keep(x0)

    def _keep(self, image: torch.Tensor) -> None:
        width = max(1, round(image.shape[-1] * FRAME_HEIGHT / image.shape[-2]))
        small = F.interpolate(image, size=(FRAME_HEIGHT, width), mode='bilinear', antialias=True)
        self.frames.append(small[0].clamp(0, 1).cpu())

    def strip(self) -> np.ndarray:
        """The frames side by side: uint8 RGB, shape (H, W, 3)."""
        return (torch.cat(self.frames, dim=2) * 255).round().byte().permute(1, 2, 0).numpy()
