"""Detects near-duplicates by their structure, independent of exposure, and measures the shift between two images.

Images are compared by the logarithm of luma, in which a gain is an additive constant and a gamma a factor. Derivatives
cancel the former and normalized correlation the latter.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

THUMBNAIL = 128  # side length of a thumbnail in pixels
# Measured on 165 ground truths of LOL v1 and versions of them with gains of 0.3 to 2, gammas of 0.75 to 1.35, noise of
# standard deviation 0.03 and shifts of up to 8 of 600 pixels: versions have a similarity of 0.86 or more, the most
# similar different arrangement of the same objects 0.82, other scenes less than 0.5.
SAME_SCENE = 0.85
SIMILAR_SCENE = 0.7
RELATED_RESPONSE = 0.1  # on LOL v1: 0.31 or more for the images of a pair, 0.08 or less for those of two pairs
_CANDIDATE = 0.4  # minimum correlation of two coarse signatures; versions as above have 0.8 or more
_NEIGHBORS = 8  # maximum number of candidates per image
_SIGNATURE = 16  # side length of a coarse signature in pixels
_LEVEL = 0.02  # added to luma, so that the logarithm does not amplify the noise of black
_SATURATED = 0.97
_BLOCK = 1024  # rows of one matrix product
_WINDOW = 1024  # side length in pixels of the window on which a shift is measured
_DIGITS = 4  # of results; further ones depend on the number of threads
_MIN_SIDE = 16  # pixels; no shift is measured on smaller images
_REFINEMENT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)  # most iterations, least gain
_SHARP_RESPONSE = 0.3  # below it, noise may displace the peak by a pixel


def thumbnail(luma: np.ndarray) -> np.ndarray:
    """Thumbnail of an image: uint8 (128, 128).

    Args:
        luma: Luma (H, W), float, range [0, 1].
    """
    small = cv2.resize(luma, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.round(small * 255).clip(0, 255).astype(np.uint8)


def _signature(thumbnail: np.ndarray) -> np.ndarray:
    """Coarse derivatives of log-luma as a vector of unit length."""
    small = cv2.resize(thumbnail.astype(np.float32) / 255, (_SIGNATURE, _SIGNATURE), interpolation=cv2.INTER_AREA)
    log = np.log(small + _LEVEL)
    values = np.concatenate([cv2.Sobel(log, cv2.CV_32F, 1, 0).ravel(), cv2.Sobel(log, cv2.CV_32F, 0, 1).ravel()])
    values -= values.mean()
    return values / max(np.linalg.norm(values), 1e-6)


def similar_pairs(
    thumbnails: Sequence[np.ndarray], groups: Sequence[int], threshold: float = SIMILAR_SCENE
) -> Iterator[tuple[int, int, float]]:
    """Finds images of different groups with similar structure.

    Coarse signatures of all images are compared by matrix products, and the best candidates of each image by
    `similarity`.

    Args:
        thumbnails: Thumbnails of N images, from `thumbnail`.
        groups: Group of each image.
        threshold: Minimum similarity.

    Yields:
        (i, j, similarity) with i < j.
    """
    if not thumbnails:
        return
    signatures, labels = np.stack([_signature(each) for each in thumbnails]), np.asarray(groups)
    seen = set()
    for start in range(0, len(signatures), _BLOCK):
        scores = signatures[start : start + _BLOCK] @ signatures.T
        scores[labels[start : start + _BLOCK, None] == labels] = -1
        count = min(_NEIGHBORS, len(signatures))
        for row, candidates in enumerate(np.argpartition(scores, -count, axis=1)[:, -count:], start):
            for other in map(int, candidates):
                pair = min(row, other), max(row, other)
                if scores[row - start, other] < _CANDIDATE or pair in seen:
                    continue
                seen.add(pair)
                score = similarity(thumbnails[pair[0]], thumbnails[pair[1]])
                if score >= threshold:
                    yield *pair, score


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two thumbnails, -1 to 1.

    This is the correlation of their high-pass filtered log-luma after alignment, where neither is saturated.

    Args:
        a, b: Thumbnails from `thumbnail`.
    """
    a, b = (cv2.GaussianBlur(each.astype(np.float32) / 255, (0, 0), 1) for each in (a, b))
    fine = [_without_shading(np.log(image + _LEVEL)) for image in (a, b)]
    window = cv2.createHanningWindow((THUMBNAIL, THUMBNAIL), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(fine[0], fine[1], window)
    margin = THUMBNAIL // 16
    if max(abs(dx), abs(dy)) < margin:
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        b, fine[1] = (cv2.warpAffine(image, matrix, image.shape, flags=flags) for image in (b, fine[1]))
    seen = (a < _SATURATED) & (b < _SATURATED)
    seen[:margin] = seen[-margin:] = seen[:, :margin] = seen[:, -margin:] = False
    if seen.sum() < 0.1 * seen.size:
        return 0.0
    x, y = (image[seen] - image[seen].mean() for image in fine)
    return round(float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-6)), _DIGITS)


def _without_shading(image: np.ndarray) -> np.ndarray:
    return image - cv2.GaussianBlur(image, (0, 0), THUMBNAIL / 16)


def shift(lq: np.ndarray, gt: np.ndarray) -> tuple[float, float, float]:
    """Displacement of the second image w.r.t. the first, from the gradients of log-luma.

    Phase correlation finds it, and the maximum of the enhanced correlation coefficient (Evangelidis and Psarakis, PAMI
    2008) refines it: on pairs of LOL v1, the median error for an additional shift falls from 0.1 to 0.02 pixels. Large
    images are first compared as a whole at a lower resolution, and then at full resolution in their center.

    Args:
        lq, gt: Luma (H, W) of two images of the same size, float32, range [0, 1].

    Returns:
        dx and dy in pixels, and the response, 0 to 1, which tells how distinct the peak is: below `RELATED_RESPONSE`
        the images have no structure in common, and the displacement means nothing.
    """
    height, width = lq.shape
    if min(height, width) < _MIN_SIDE:
        return 0.0, 0.0, 0.0
    factor = max(height, width) / _WINDOW
    if factor <= 1:
        return _phase_shift(lq, gt)
    size = round(width / factor), round(height / factor)
    if min(size) < _MIN_SIDE:
        return 0.0, 0.0, 0.0
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
    # the center has too little texture; the reduced images resolve no shift below half of their pixel
    return (dx, dy, response) if max(abs(dx), abs(dy)) > factor / 2 else (0.0, 0.0, response)


def _phase_shift(lq: np.ndarray, gt: np.ndarray) -> tuple[float, float, float]:
    edges = []
    for image in (lq, gt):
        log = np.log(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 1) + 0.01)
        edges.append(cv2.magnitude(cv2.Sobel(log, cv2.CV_32F, 1, 0), cv2.Sobel(log, cv2.CV_32F, 0, 1)))
    (dx, dy), response = cv2.phaseCorrelate(edges[0], edges[1], cv2.createHanningWindow(lq.shape[::-1], cv2.CV_32F))
    dx, dy, response = round(dx, _DIGITS), round(dy, _DIGITS), round(response, _DIGITS)
    if response < RELATED_RESPONSE:
        return dx, dy, response
    start = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    try:
        _, matrix = cv2.findTransformECC(edges[0], edges[1], start, cv2.MOTION_TRANSLATION, _REFINEMENT, None, 5)
    except cv2.error:  # it does not converge
        return dx, dy, response
    refined = round(float(matrix[0, 2]), 2), round(float(matrix[1, 2]), 2)
    # a maximum further away is another one
    return (*refined, response) if np.hypot(refined[0] - dx, refined[1] - dy) < 1 else (dx, dy, response)
