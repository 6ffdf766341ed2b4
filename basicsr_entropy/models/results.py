"""The outcome of a validation or test, image by image."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

MOST_FOLDERS = 16


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
    paths = [str(each['lq_path'] if isinstance(each, dict) else getattr(each, 'lq', each)) for each in listed]
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[Path(path).stem].append(path)
    found: dict[str, str] = {}
    for name, same in by_name.items():
        folders = {path: Path(path).parent.parts for path in same}
        depth = 0  # folders that tell the images from each other
        while (
            len({parts[max(0, len(parts) - depth) :] for parts in folders.values()}) < len(same)
            and depth < MOST_FOLDERS
        ):
            depth += 1
        if depth > 0:
            found |= {path: '_'.join([*parts[max(0, len(parts) - depth) :], name]) for path, parts in folders.items()}
    return found
