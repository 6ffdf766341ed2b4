"""`basicsr-entropy` with further losses of detail in BasicSR's registry, rivals of the entropy loss in experiments.

    python scripts/rival_losses.py train -opt options.yml

MS-SSIM and GMSD are those of piq (Apache-2.0), the focal frequency loss (Jiang et al., ICCV 2021) is its authors'
package (MIT); both come with the extra `bench`. The Laplacian pyramid, the bounded distance of detail and the sliced
Wasserstein distance of patches are short enough to stand here. Two variants of `IRSDEModel` weight the entropy loss by
the timestep.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import basicsr_entropy  # noqa: F401  (makes basicsr importable)

# isort: split
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY

# isort: split
import piq  # imports torchvision, which works in CPU builds of torch only after basicsr
from focal_frequency_loss import FocalFrequencyLoss as AuthorsFocalFrequencyLoss

from basicsr_entropy._blur import blurred
from basicsr_entropy.cli import main
from basicsr_entropy.losses import HighPassLoss
from basicsr_entropy.models import IRSDEModel

MS_SSIM_SCALES = (0.0448, 0.2856, 0.3001)  # Wang et al., 2003: the finest three of five, which fit 64-pixel crops


class Rival(nn.Module):
    """A distance of two batches of images (N, C, H, W) with values in [0, 1], times its weight."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.loss_weight * self.distance(pred, target)

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@LOSS_REGISTRY.register()
class MSSSIMLoss(Rival):
    """1 - MS-SSIM of three scales."""

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        scales = pred.new_tensor(MS_SSIM_SCALES)
        similarity = piq.multi_scale_ssim(pred.clamp(0, 1), target, scale_weights=scales / scales.sum())
        return 1 - similarity


@LOSS_REGISTRY.register()
class GMSDLoss(Rival):
    """Gradient magnitude similarity deviation (Xue et al., 2014)."""

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return piq.gmsd(pred.clamp(0, 1), target)


@LOSS_REGISTRY.register()
class FocalFrequencyLoss(Rival):
    """Squared distance of spectra, weighted by itself."""

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return AuthorsFocalFrequencyLoss()(pred, target)


@LOSS_REGISTRY.register()
class LaplacianPyramidLoss(Rival):
    """L1 of the band-pass levels of a Laplacian pyramid, each level weighted by the side of its pixels (Bojanowski et
    al., 2018); without the low-pass rest, which is brightness."""

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        difference = pred - target
        total = difference.new_zeros(())
        for level in range(3):
            low = blurred(difference, 1.0, 'reflect')
            total = total + 2**level * (difference - low).abs().mean()
            difference = low[..., ::2, ::2]
        return total


@LOSS_REGISTRY.register()
class BoundedHighPassLoss(HighPassLoss):
    """Hellinger distance of two normal densities at the two values of a pixel's detail, which is bounded.

    With the deviation of the Gaussian kernel at 16 levels, this is what is left of the aligned entropy loss without
    windows and neighbors: a robust loss of single pixels.
    """

    DEVIATION = 0.5 / 15

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight, norm='l2')

    def distance(self, difference: torch.Tensor) -> torch.Tensor:
        squared = -torch.expm1(-super().distance(difference) / (8 * self.DEVIATION**2))
        return (squared + 1e-8).sqrt()  # the root has a gradient at zero


@LOSS_REGISTRY.register()
class SlicedWassersteinLoss(Rival):
    """Sliced Wasserstein distance between the 5x5 patches of the detail of two images, over three scales.

    The patches of an image are a set: their places do not count. Each scale draws 32 directions per step, scaled so
    that a projection has the spread of a pixel.
    """

    SIDE, DIRECTIONS, SCALES = 5, 32, 3

    def distance(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        images = [image - blurred(image, 4.0, 'reflect') for image in (pred, target)]
        total = pred.new_zeros(())
        for _ in range(self.SCALES):
            kernels = torch.randn(self.DIRECTIONS, pred.shape[1], self.SIDE, self.SIDE, device=pred.device)
            kernels = kernels / kernels.flatten(1).norm(dim=1)[:, None, None, None]
            first, second = (F.conv2d(image, kernels).flatten(2).sort(dim=2).values for image in images)
            total = total + (first - second).abs().mean()
            images = [F.avg_pool2d(image, 2) for image in images]
        return total / self.SCALES


class EntropyByTimestep(IRSDEModel):
    """`IRSDEModel` whose loss `entropy_opt`, on x0, has a weight of its own for each image, of mean 1."""

    WEIGHTED = 'weighted x0'

    def weight(self, time: torch.Tensor) -> torch.Tensor:
        """Weights at the times t/T, in (0, 1]."""
        raise NotImplementedError

    def _build_losses(self, train_opt: Mapping[str, Any]) -> None:
        super()._build_losses(train_opt)
        self.compared['entropy'] = self.WEIGHTED

    def _compared_pairs(self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, *rest: torch.Tensor) -> dict:
        pairs = super()._compared_pairs(x0, mu, t, *rest)
        pred, target = pairs['x0']
        weight = self.weight(t / self.process.timesteps)[:, None, None, None]
        pairs[self.WEIGHTED] = torch.lerp(pred.detach(), pred, weight), target  # the weight is that of the gradient
        return pairs


@MODEL_REGISTRY.register()
class EntropyEarlyModel(EntropyByTimestep):
    """Weights the entropy loss by t: it counts most in the noisy states, with which sampling begins."""

    def weight(self, time: torch.Tensor) -> torch.Tensor:
        return 2 * time


@MODEL_REGISTRY.register()
class EntropyLateModel(EntropyByTimestep):
    """Weights the entropy loss by T - t: it counts most in the last states of sampling."""

    def weight(self, time: torch.Tensor) -> torch.Tensor:
        return 2 - 2 * time


if __name__ == '__main__':
    main()
