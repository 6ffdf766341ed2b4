"""The outcome of a validation or test, image by image."""

from typing import NamedTuple


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
