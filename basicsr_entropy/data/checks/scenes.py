"""Whether two images show one scene: by structure, which outlasts another exposure, and how far one is moved.

Everything works on the logarithm of luma, where a gain is a constant and a gamma a factor; derivatives and normalised
correlation then see neither.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

THUMBNAIL = 128  # pixels to a side of what is kept of an image
# Measured on 165 LOL v1 truths and versions of them under gains of 0.3 to 2, gammas of 0.75 to 1.35, noise of 0.03 and
# moves of up to 8 of 600 pixels: versions correlate by 0.86 or more, the likest other arrangement of the same objects
# by 0.82, other scenes by less than 0.5.
SAME_SCENE = 0.85
SIMILAR_SCENE = 0.7
RELATED_RESPONSE = 0.1  # LOL v1: the images of a pair 0.31 and more, those of two pairs 0.08 and less
_CANDIDATE = 0.4  # of the coarse signatures; versions as above have 0.8 and more
_NEIGHBOURS = 8  # candidates an image at most
_SIGNATURE = 16
_LEVEL = 0.02  # keeps the noise of black out of the logarithm
_SATURATED = 0.97
_BLOCK = 1024  # rows of one matrix product
_WINDOW = 1024  # pixels to a side of what a shift is measured on
_LEAST_SIDE = 16  # pixels; smaller images are not followed
_SHARP_RESPONSE = 0.3  # below it noise may move the peak of a window by a pixel


def thumbnail(luma: np.ndarray) -> np.ndarray:
    """What is kept of an image: uint8 (128, 128) of luma (H, W), float, range [0, 1]."""
    small = cv2.resize(luma, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.round(small * 255).clip(0, 255).astype(np.uint8)


def _signature(thumb: np.ndarray) -> np.ndarray:
    """Derivatives of a coarse log-luma, of unit length."""
    small = cv2.resize(thumb.astype(np.float32) / 255, (_SIGNATURE, _SIGNATURE), interpolation=cv2.INTER_AREA)
    log = np.log(small + _LEVEL)
    values = np.concatenate([cv2.Sobel(log, cv2.CV_32F, 1, 0).ravel(), cv2.Sobel(log, cv2.CV_32F, 0, 1).ravel()])
    values -= values.mean()
    return values / max(np.linalg.norm(values), 1e-6)


def similar_pairs(
    thumbs: Sequence[np.ndarray], groups: Sequence[int], least: float = SIMILAR_SCENE
) -> Iterator[tuple[int, int, float]]:
    """Images of different groups that are alike in structure.

    Coarse signatures are compared each with each by matrix products, and the likest few of an image by `similarity`.

    Args:
        thumbs: Of N images, from `thumbnail`.
        groups: Number of each image's group.
        least: Smallest similarity.

    Yields:
        (i, j, similarity) with i < j.
    """
    if not thumbs:
        return
    signatures, groups = np.stack([_signature(thumb) for thumb in thumbs]), np.asarray(groups)
    seen = set()
    for start in range(0, len(signatures), _BLOCK):
        scores = signatures[start : start + _BLOCK] @ signatures.T
        scores[groups[start : start + _BLOCK, None] == groups] = -1
        count = min(_NEIGHBOURS, len(signatures))
        for row, likest in enumerate(np.argpartition(scores, -count, axis=1)[:, -count:], start):
            for other in map(int, likest):
                pair = min(row, other), max(row, other)
                if scores[row - start, other] < _CANDIDATE or pair in seen:
                    continue
                seen.add(pair)
                score = similarity(thumbs[pair[0]], thumbs[pair[1]])
                if score >= least:
                    yield *pair, score


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the local structure of two thumbnails, after the best move, where neither is saturated; -1..1."""
    a, b = (cv2.GaussianBlur(thumb.astype(np.float32) / 255, (0, 0), 1) for thumb in (a, b))
    fine = [_without_shading(np.log(image + _LEVEL)) for image in (a, b)]
    window = cv2.createHanningWindow((THUMBNAIL, THUMBNAIL), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(*fine, window)
    margin = THUMBNAIL // 16
    if max(abs(dx), abs(dy)) < margin:
        matrix = np.float32([[1, 0, dx], [0, 1, dy]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        b, fine[1] = (cv2.warpAffine(image, matrix, image.shape, flags=flags) for image in (b, fine[1]))
    seen = (a < _SATURATED) & (b < _SATURATED)
    seen[:margin] = seen[-margin:] = seen[:, :margin] = seen[:, -margin:] = False
    if seen.sum() < 0.1 * seen.size:
        return 0.0
    x, y = (image[seen] - image[seen].mean() for image in fine)
    return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-6))


def _without_shading(image: np.ndarray) -> np.ndarray:
    return image - cv2.GaussianBlur(image, (0, 0), THUMBNAIL / 16)


def shift(lq: np.ndarray, gt: np.ndarray) -> tuple[float, float, float]:
    """How far the second image is moved against the first.

    Phase correlation of the gradients of log-luma. Large images are compared as a whole at a lower resolution, and then
    in their middle at full resolution.

    Args:
        lq: Luma (H, W), float32, range [0, 1].
        gt: The same of the same size.

    Returns:
        dx and dy in pixels, and how sharp the peak is, 0 to 1: below `RELATED_RESPONSE` the images have nothing in
        common that could be followed.
    """
    height, width = lq.shape
    if min(height, width) < _LEAST_SIDE:
        return 0.0, 0.0, 0.0
    factor = max(height, width) / _WINDOW
    if factor <= 1:
        return _phase_shift(lq, gt)
    size = round(width / factor), round(height / factor)
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (lq, gt)]
    dx, dy, response = _phase_shift(*small)
    dx, dy = dx * width / size[0], dy * height / size[1]
    left, top = round(dx), round(dy)
    window = min(_WINDOW, width - 2 * abs(left), height - 2 * abs(top))
    if response >= RELATED_RESPONSE and window >= _WINDOW // 4:
        y, x = (height - window) // 2, (width - window) // 2
        fine = _phase_shift(
            lq[y : y + window, x : x + window], gt[y + top : y + top + window, x + left : x + left + window]
        )
        if fine[2] >= _SHARP_RESPONSE:
            return left + fine[0], top + fine[1], fine[2]
    # a middle without texture tells nothing, and the whole less than half of its own pixel
    return (dx, dy, response) if max(abs(dx), abs(dy)) > factor / 2 else (0.0, 0.0, response)


def _phase_shift(lq: np.ndarray, gt: np.ndarray) -> tuple[float, float, float]:
    edges = []
    for image in (lq, gt):
        log = np.log(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 1) + 0.01)
        edges.append(cv2.magnitude(cv2.Sobel(log, cv2.CV_32F, 1, 0), cv2.Sobel(log, cv2.CV_32F, 0, 1)))
    (dx, dy), response = cv2.phaseCorrelate(*edges, cv2.createHanningWindow(lq.shape[::-1], cv2.CV_32F))
    return dx, dy, response
