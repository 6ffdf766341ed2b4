"""The histogram of an image's levels, and the gamma curve that gives the image a mean."""

import torch

LEVELS = 256
BISECTIONS = 30


def level_histogram(images: torch.Tensor) -> torch.Tensor:
    """The share of each 8-bit level in an image, over its pixels and channels.

    Args:
        images: Images (N, C, H, W), range [0, 1]; values outside count as the nearest level.

    Returns:
        Shares (N, 256), float32, each row sums to 1.
    """
    levels = images.detach().clamp(0, 1).mul(LEVELS - 1).round().long().flatten(1)
    counts = torch.stack([torch.bincount(each, minlength=LEVELS) for each in levels])
    return counts.float() / levels.shape[1]


def exponents_for_mean(histograms: torch.Tensor, mean: float, lowest: float, highest: float) -> torch.Tensor:
    """The exponents g for which images ** g have a mean.

    Args:
        histograms: `level_histogram` of the images, (N, 256).
        mean: Mean over pixels and channels, in (0, 1).
        lowest, highest: Range of the exponents; its ends stand for all beyond them.

    Returns:
        Exponents (N,), float64.
    """
    shares = histograms.double()
    levels = torch.linspace(0, 1, LEVELS, dtype=torch.float64, device=shares.device)
    low = torch.full((len(shares),), lowest, dtype=torch.float64, device=shares.device)
    high = torch.full_like(low, highest)
    for _ in range(BISECTIONS):  # the mean falls with the exponent
        middle = (low + high) / 2
        bright = (shares * levels ** middle[:, None]).sum(1) > mean
        low, high = torch.where(bright, middle, low), torch.where(bright, high, middle)
    return (low + high) / 2
