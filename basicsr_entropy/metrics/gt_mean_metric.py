"""PSNR and SSIM after scaling the output to the mean luma of the ground truth ("GT mean").

Many low-light papers report these (first in KinD, Zhang et al., 2019). They ignore a global exposure error, which adds
4 to 5 dB, and are not comparable with PSNR and SSIM without the scaling; hence separate names.
"""

from typing import get_args

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.metric_util import reorder_image

from basicsr_entropy._checks import check_choice
from basicsr_entropy.metrics.lpips_metric import InputOrder


def calculate_psnr_gt_mean(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: InputOrder = 'HWC',
    test_y_channel: bool = False,
    **kwargs: object,
) -> float:
    """PSNR in dB of the output scaled to the mean luma of the ground truth.

    Args:
        img: Output, shape (H, W, C), (C, H, W) or (H, W), range [0, 255]; BGR if it has three channels.
        img2: Ground truth of the same shape and range.
        crop_border: Number of pixels cropped from each border before the PSNR, not before the means.
        input_order: Order of the dimensions of three-dimensional images: `HWC` or `CHW`.
        test_y_channel: Measure on the Y channel of YCbCr.
        **kwargs: Ignored; BasicSR passes all options of a metric, such as `better`.

    Returns:
        PSNR in dB; infinite for identical images.

    Raises:
        ValueError: If the shapes differ or the order is unknown; the message begins with the name of the argument.

    Example:
        >>> gt = np.random.default_rng(0).integers(0, 200, (24, 24, 3))
        >>> float(calculate_psnr_gt_mean(0.5 * gt, gt)) > 100  # half as bright, otherwise identical
        True
    """
    img, img2 = _with_mean_of_gt(img, img2, input_order)
    return calculate_psnr(img, img2, crop_border, 'HWC', test_y_channel)


def calculate_ssim_gt_mean(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: InputOrder = 'HWC',
    test_y_channel: bool = False,
    **kwargs: object,
) -> float:
    """SSIM of the output scaled to the mean luma of the ground truth.

    Args:
        img: Output, shape (H, W, C), (C, H, W) or (H, W), range [0, 255]; BGR if it has three channels.
        img2: Ground truth of the same shape and range.
        crop_border: Number of pixels cropped from each border before the SSIM, not before the means.
        input_order: Order of the dimensions of three-dimensional images: `HWC` or `CHW`.
        test_y_channel: Measure on the Y channel of YCbCr.
        **kwargs: Ignored; BasicSR passes all options of a metric, such as `better`.

    Returns:
        SSIM, at most 1.

    Raises:
        ValueError: If the shapes differ or the order is unknown; the message begins with the name of the argument.

    Example:
        >>> gt = np.random.default_rng(0).integers(0, 200, (24, 24, 3))
        >>> round(float(calculate_ssim_gt_mean(0.5 * gt, gt)), 4)
        1.0
    """
    img, img2 = _with_mean_of_gt(img, img2, input_order)
    return calculate_ssim(img, img2, crop_border, 'HWC', test_y_channel)


def scale_to_gt_mean(img: np.ndarray, img2: np.ndarray) -> np.ndarray:
    """Scales an image to the mean luma of another.

    Args:
        img: Image to scale, shape (H, W, C), BGR or gray, range [0, 255].
        img2: Image whose mean luma is matched, same shape and range.

    Returns:
        img times the ratio of the mean lumas, clipped to [0, 255], float64; img itself if it is black.

    Example:
        >>> scale_to_gt_mean(np.full((2, 2, 1), 20), np.full((2, 2, 1), 50)).mean()
        np.float64(50.0)
    """
    mean = _mean_luma(img)
    ratio = _mean_luma(img2) / mean if mean > 0 else 1.0
    return np.clip(img.astype(np.float64) * ratio, 0, 255)


def _with_mean_of_gt(img: np.ndarray, img2: np.ndarray, input_order: InputOrder) -> tuple[np.ndarray, np.ndarray]:
    if img.shape != img2.shape:
        raise ValueError(f'img: must have the shape of img2, {img2.shape}, got {img.shape}')
    check_choice('input_order', input_order, get_args(InputOrder))
    if img.ndim == 2:
        input_order = 'HWC'  # reorder_image would transpose an image without channels to (W, 1, H)
    img, img2 = reorder_image(img, input_order), reorder_image(img2, input_order)
    return scale_to_gt_mean(img, img2), img2


def _mean_luma(img: np.ndarray) -> float:
    if img.shape[2] == 3:
        img = cv2.cvtColor(img.astype(np.float32), cv2.COLOR_BGR2GRAY)
    return float(img.mean(dtype=np.float64))
