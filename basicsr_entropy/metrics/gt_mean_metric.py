"""PSNR and SSIM after the output's brightness has been set to the ground truth's.

Many low-light papers report these (first in KinD, Zhang et al., 2019). They forgive a wrong exposure, which is worth
4 to 5 dB, and are not comparable with plain PSNR and SSIM: hence names of their own.
"""

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.metric_util import reorder_image


def calculate_psnr_gt_mean(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    test_y_channel: bool = False,
    **kwargs,
) -> float:
    """PSNR in dB of the output scaled to the mean luma of the ground truth.

    Args:
        img: Output, range [0, 255]; BGR if it has three channels.
        img2: Ground truth of the same shape.
        crop_border: Pixels of each edge left out of the PSNR (not of the means).
        input_order: 'HWC' or 'CHW'.
        test_y_channel: Measure on the Y channel of YCbCr.
        kwargs: BasicSR hands metrics the options that are meant for their best value, such as `better`.
    """
    img, img2 = _with_mean_of_gt(img, img2, input_order)
    return calculate_psnr(img, img2, crop_border, 'HWC', test_y_channel)


def calculate_ssim_gt_mean(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    test_y_channel: bool = False,
    **kwargs,
) -> float:
    """SSIM of the output scaled to the mean luma of the ground truth; arguments of `calculate_psnr_gt_mean`."""
    img, img2 = _with_mean_of_gt(img, img2, input_order)
    return calculate_ssim(img, img2, crop_border, 'HWC', test_y_channel)


def scale_to_gt_mean(img: np.ndarray, img2: np.ndarray) -> np.ndarray:
    """img times the ratio of the two mean lumas, clipped to [0, 255]; both (H, W, C) BGR or gray. Float64."""
    mean = _mean_luma(img)
    ratio = _mean_luma(img2) / mean if mean > 0 else 1.0
    return np.clip(img.astype(np.float64) * ratio, 0, 255)


def _with_mean_of_gt(img: np.ndarray, img2: np.ndarray, input_order: str) -> tuple[np.ndarray, np.ndarray]:
    if img.shape != img2.shape:
        raise ValueError(f'the images must have one shape, got {img.shape} and {img2.shape}')
    img, img2 = reorder_image(img, input_order), reorder_image(img2, input_order)
    return scale_to_gt_mean(img, img2), img2


def _mean_luma(img: np.ndarray) -> float:
    if img.shape[2] == 3:
        img = cv2.cvtColor(img.astype(np.float32), cv2.COLOR_BGR2GRAY)
    return float(img.mean(dtype=np.float64))
