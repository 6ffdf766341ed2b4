"""Separable Gaussian blur of image batches, in torch alone."""

import math
from functools import lru_cache
from typing import Literal

import torch

Padding = Literal['replicate', 'reflect']

TRUNCATION = 3  # standard deviations on either side, beyond which the kernel is cut off


def blurred(image: torch.Tensor, sigma: float, padding: Padding, kernel_size: int | None = None) -> torch.Tensor:
    """Gaussian blur of images.

    As products with band matrices, which for crops are many times as fast as convolutions on a CPU.

    Args:
        image: Shape (N, C, H, W).
        sigma: Standard deviation in pixels, positive.
        padding: How images continue beyond their borders: `replicate` repeats the pixels at the border, `reflect`
            mirrors the image at their centers, as often as needed.
        kernel_size: Odd side length of the kernel in pixels. 2 ceil(3 sigma) + 1 by default.

    Returns:
        Shape and type of image.
    """
    if kernel_size is None:
        kernel_size = 2 * math.ceil(TRUNCATION * sigma) + 1
    # tracing goes through a cache, and would copy the matrix from the CPU in every call; the matrix of a FakeTensor or
    # another subclass may be of no use to later calls
    cached = type(image) in (torch.Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling()
    matrix = _cached_filter_matrix if cached else _filter_matrix
    rows, columns = (matrix(size, sigma, kernel_size, padding, image.device, image.dtype) for size in image.shape[-2:])
    return rows @ image @ columns.mT


def _filter_matrix(
    size: int, sigma: float, kernel_size: int, padding: Padding, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Matrix (size, size) that filters a column of pixels."""
    offset = torch.arange(kernel_size, device=device) - kernel_size // 2
    kernel = torch.exp(-0.5 * (offset.to(torch.promote_types(dtype, torch.float32)) / sigma) ** 2)
    position = torch.arange(size, device=device)[:, None] + offset
    if padding == 'replicate':
        source = position.clamp(0, size - 1)
    else:
        source = position.abs() % max(2 * (size - 1), 1)
        source = torch.minimum(source, 2 * (size - 1) - source)
    matrix = kernel.new_zeros(size, size).scatter_add_(1, source, (kernel / kernel.sum()).expand(size, -1))
    return matrix.to(dtype)


@lru_cache(maxsize=16)  # a training asks for the same matrix in every step
@torch.inference_mode(False)  # one that is built in inference mode could not be used in training
def _cached_filter_matrix(
    size: int, sigma: float, kernel_size: int, padding: Padding, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    # on the CPU, where the sums do not depend on the order of threads
    return _filter_matrix(size, sigma, kernel_size, padding, torch.device('cpu'), torch.float64).to(device, dtype)
