"""The outcome of a validation or test, image by image."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple


class ImageResult(NamedTuple):
    """One restored image.

    Attributes:
        name: File name of the low-quality image, without its suffix.
        output: File that the restored image was written to; None if it was not written.
        metrics: Value of each metric, by its name under val.metrics.
    """

    name: str
    output: str | None
    metrics: dict[str, float]


def distinct_names(dataset: Any) -> dict[str, str]:
    """File names for the outputs of images that have the same name in different folders, by their lq_path.

    Args:
        dataset: A dataset that lists its images in `pairs` or `paths`, as those of this package and of BasicSR do.

    Returns:
        Names without suffix, such as `b_0001` for .../b/0001.png; none for images with a name of their own.
    """
    listed = getattr(dataset, 'pairs', None) or getattr(dataset, 'paths', None) or ()
    paths = {str(each['lq_path'] if isinstance(each, dict) else getattr(each, 'lq', each)) for each in listed}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in map(Path, paths):
        by_name[path.stem].append(path)
    found: dict[Path, str] = {}
    for name, same in by_name.items():
        most, depth = max(len(path.parts) for path in same), 0  # folders that tell the images from each other
        while len({_folders(path, depth) for path in same}) < len(same) and depth < most:
            depth += 1
        for path in same if len(same) > 1 else ():
            # in one folder, their formats do
            found[path] = '_'.join([*_folders(path, depth), name] if depth < most else [name, path.suffix.lstrip('.')])
    return {given: found[Path(given)] for given in paths if Path(given) in found}


def _folders(path: Path, depth: int) -> tuple[str, ...]:
    """The last folders of a path, without its root."""
    return tuple(part for part in path.parent.parts if part != path.anchor)[-depth:] if depth else ()
