"""Metrics for BasicSR's metric registry."""

import basicsr  # noqa: F401  (first: its import registers the classes below)

from basicsr_entropy.metrics.gt_mean_metric import calculate_psnr_gt_mean, calculate_ssim_gt_mean, scale_to_gt_mean
from basicsr_entropy.metrics.lpips_metric import calculate_lpips

__all__ = ['calculate_lpips', 'calculate_psnr_gt_mean', 'calculate_ssim_gt_mean', 'scale_to_gt_mean']
