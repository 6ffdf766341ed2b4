"""Enhancement of many files: output paths, comparison images and filmstrips, errors of single files, and the report."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from basicsr_entropy._errors import first_line
from basicsr_entropy._files import check_folder_writable, check_not_empty
from basicsr_entropy._version import __version__
from basicsr_entropy.inference.controls import Controls
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import (
    LARGEST_SIDE,
    Photograph,
    find_photographs,
    find_unsupported,
    read_photograph,
    write_photograph,
)
from basicsr_entropy.inference.images import image_to_tensor

FRAMES = 8  # states in a filmstrip
FRAME_HEIGHT = 256  # pixels
NOT_DONE_FIELDS = ('source', 'status', 'reason')  # of an `Outcome`, in reports


class Job(NamedTuple):
    """A photograph and the files to write for it; None for those that were not requested."""

    source: Path
    output: Path
    compare: Path | None
    filmstrip: Path | None


class Outcome(NamedTuple):
    """What became of a file.

    Attributes:
        source: The file.
        status: `done`, `failed`, or `skipped` for an image in an input folder whose format cannot be read.
        output: The result; None unless done.
        reason: Why it failed or was skipped; empty if done.
        width: Of the upright photograph, in pixels; 0 unless done. Likewise for the following ones.
        height: Of the upright photograph.
        seconds: From reading to writing.
        clipped_before: Share of the photograph's color values at their maximum.
        clipped_after: Share of the result's.
    """

    source: Path
    status: Literal['done', 'failed', 'skipped']
    output: Path | None = None
    reason: str = ''
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    clipped_before: float = 0.0
    clipped_after: float = 0.0


def enhance_files(
    enhancer: Enhancer,
    inputs: Sequence[str],
    out: str | Path,
    compare: bool = False,
    filmstrip: bool = False,
    overwrite: bool = False,
    controls: Controls = Controls(),  # noqa: B008  (it is frozen)
) -> list[Outcome]:
    """Enhances photographs. A file that fails is reported on standard error, and the others are still enhanced.

    All output paths are checked, and the folder is tried, before the first photograph is enhanced.

    Args:
        enhancer: The model.
        inputs: Files, folders and glob patterns; see `find_photographs`.
        out: Folder for the results, which keep their file names and their subfolders below an input folder.
        compare: Also write NAME_compare: input and output side by side.
        filmstrip: Also write NAME_filmstrip.png: states of the reverse process from noise to image.
        overwrite: Replace existing results. The photographs themselves are never replaced.
        controls: How results are combined with their inputs.

    Returns:
        What became of each photograph, and after them the images in the input folders that were skipped.

    Raises:
        FileNotFoundError: If an input matches no photograph.
        FileExistsError: If a result exists, or would replace a photograph.
        OSError: If nothing can be written to `out`.
        ValueError: If two photographs would have the same result path, or if a path is empty.
    """
    check_not_empty(out, 'out')
    out = Path(out).expanduser()
    jobs = plan(inputs, out, compare, filmstrip, overwrite)
    check_folder_writable(out, 'out')
    outcomes = []
    for job in tqdm(jobs, desc='Enhance', unit='image'):
        try:
            outcome = _enhance_file(enhancer, job, controls, overwrite)
        except Exception as error:  # any error of one file leaves the others to be enhanced
            outcome = Outcome(job.source, 'failed', reason=first_line(error))
            _print(outcome)
        outcomes.append(outcome)
    for source, reason in find_unsupported(inputs):
        outcomes.append(Outcome(source, 'skipped', reason=reason))
        _print(outcomes[-1])
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line, such as '21 done, 2 failed: a.jpg, b.png, 1 skipped: c.gif'.

    Example:
        >>> summary([Outcome(Path('night/a.jpg'), 'done'), Outcome(Path('night/b.jpg'), 'failed')])
        '1 done, 1 failed: b.jpg'
    """
    parts = [f'{sum(each.status == "done" for each in outcomes)} done']
    for status in ('failed', 'skipped'):
        if names := [each.source.name for each in outcomes if each.status == status]:
            parts.append(f'{len(names)} {status}: {", ".join(names)}')
    return ', '.join(parts)


def as_json(outcomes: Sequence[Outcome], settings: Mapping[str, Any]) -> str:
    """A report as JSON: `settings` of the run, and under `files` the fields of each `Outcome` that apply."""
    files = []
    for each in outcomes:
        kept = [key for key in each._fields if (key != 'reason' if each.status == 'done' else key in NOT_DONE_FIELDS)]
        values = ((key, getattr(each, key)) for key in kept)
        files.append({key: str(value) if isinstance(value, Path) else value for key, value in values})
    return json.dumps({'version': __version__, 'settings': settings, 'files': files}, indent=2)


def plan(inputs: Sequence[str], out: Path, compare: bool, filmstrip: bool, overwrite: bool) -> list[Job]:
    """Plans every file to write; arguments and errors as in `enhance_files`."""
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}  # photographs by the files to write for them
    found = find_photographs(inputs)
    sources = {source.resolve() for source, _ in found}
    for source, name in found:
        output = out / name
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


def _print(outcome: Outcome) -> None:
    kind = 'error' if outcome.status == 'failed' else 'skipped'
    name = '' if str(outcome.source) in outcome.reason else f'{outcome.source}: '
    tqdm.write(f'basicsr-entropy: {kind}: {name}{outcome.reason}', file=sys.stderr)


def _enhance_file(enhancer: Enhancer, job: Job, controls: Controls, overwrite: bool) -> Outcome:
    start = time.perf_counter()
    photograph = read_photograph(job.source)
    frames = _Frames(enhancer.steps)
    rgb, convert_back = image_to_tensor(photograph.pixels)
    restored = enhancer(rgb, callback=frames if job.filmstrip else None, progress=True)
    enhanced = convert_back(controls(rgb, restored))
    write_photograph(job.output, photograph._replace(pixels=enhanced), overwrite)
    if job.compare:
        pair = _side_by_side(photograph.pixels, enhanced, LARGEST_SIDE.get(photograph.format))
        write_photograph(job.compare, photograph._replace(pixels=pair, orientation=1, exif=None), overwrite)
    if job.filmstrip:
        write_photograph(job.filmstrip, Photograph(frames.strip(), 'PNG', icc=photograph.icc), overwrite)
    height, width = enhanced.shape[:2]
    clipped = [_clipped(pixels) for pixels in (photograph.pixels, enhanced)]
    return Outcome(job.source, 'done', job.output, '', width, height, round(time.perf_counter() - start, 3), *clipped)


def _side_by_side(before: np.ndarray, after: np.ndarray, largest: int | None) -> np.ndarray:
    """Two images (H, W) or (H, W, C) beside each other; at half size where a file could not hold that width."""
    if largest is not None and 2 * before.shape[1] > largest:
        size = max(1, before.shape[1] // 2), max(1, before.shape[0] // 2)
        before, after = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (before, after))
    return np.hstack([before, after])


def _clipped(pixels: np.ndarray) -> float:
    """Share of the color values, without alpha, at their maximum."""
    colors = pixels if pixels.ndim == 2 else pixels[..., : 1 if pixels.shape[2] == 2 else 3]
    return round(float(np.mean(colors == np.iinfo(pixels.dtype).max)), 6)


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
