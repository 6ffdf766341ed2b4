"""Any loss, less sensitive to a global error of brightness."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from basicsr_entropy._checks import check_positive
from basicsr_entropy._color import LUMA
from basicsr_entropy.losses.calling import build_loss, call_loss
from basicsr_entropy.losses.inputs import at_least_float32, check_same_shape

MIN_MEAN = 1e-3  # the gain of a prediction that is black stays finite


class GTMeanLoss(nn.Module):
    """A registered loss, and the same loss after scaling each prediction to the mean of its target.

    Liao, Hao, Hong and Wang, *GT-Mean Loss: A Simple Yet Effective Solution for Brightness Mismatch in Low-Light Image
    Enhancement*, ICCV 2025. With the mean lumas m of a prediction and n of its target,

        W loss(pred, target) + (1 - W) loss(clip(pred n / m), target)

    where W, from 0 to 1, is the Bhattacharyya distance between normal distributions with means m and n and standard
    deviations `sigma` m and `sigma` n, clipped and not differentiated: the further the brightness is off, the more
    the plain loss counts, which corrects it. W is computed for each image, and the wrapped loss called once per image.

    Args:
        loss: Options of the wrapped loss: its `type`, a name in BasicSR's loss registry, and its arguments.
        loss_weight: Weight of the loss, by which its value is multiplied.
        sigma: Assumed standard deviation of an image's mean brightness, relative to that mean; positive.

    Raises:
        KeyError: If the type or an option of the wrapped loss is unknown.
        ValueError: If an argument is out of range, or the wrapped loss does not compare two images.

    Example:
        >>> loss = GTMeanLoss({'type': 'L1Loss'})
        >>> target = torch.full((1, 3, 8, 8), 0.4)
        >>> off = [loss(gain * target, target).item() for gain in (1.0, 0.98, 0.6)]
        >>> off[0] == 0 and off[1] < 0.1 * 0.02 * 0.4 and round(off[2], 4) == 0.16
        True
    """

    def __init__(self, loss: Mapping[str, Any], loss_weight: float = 1.0, sigma: float = 0.1) -> None:
        super().__init__()
        if not isinstance(loss, Mapping):
            raise ValueError(f'loss: must be the options of a loss, e.g. {{type: L1Loss}}, got {loss!r}')
        check_positive('sigma', sigma)
        self.loss_weight, self.sigma = loss_weight, sigma
        self.loss = build_loss(loss, 'loss')

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **kwargs: object
    ) -> torch.Tensor:
        """Computes the loss of two batches of images.

        Args:
            pred: Shape (N, C, H, W), values in [0, 1].
            target: Same shape.
            weight: Must be None, because not every loss supports element-wise weights.
            **kwargs: Ignored; BasicSR passes further arguments to some losses.

        Returns:
            Scalar, the mean over the images of the batch.

        Raises:
            ValueError: If there is a weight, or the shapes differ.
        """
        if weight is not None:
            raise ValueError('weight: GTMeanLoss has no element-wise weight')
        check_same_shape(pred, target)
        values = []
        for one, its_target in zip(pred.split(1), target.split(1)):
            means = [_mean_luma(image).clamp_min(MIN_MEAN) for image in (one, its_target)]
            scaled = (one * (means[1] / means[0]).to(one.dtype)).clamp(0, 1)
            share = self._bhattacharyya(*means).clamp(0, 1).detach()
            values.append(share * self._value(one, its_target) + (1 - share) * self._value(scaled, its_target))
        return self.loss_weight * torch.stack(values).mean()

    def _value(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.stack([each.mean() for each in call_loss(self.loss, pred, target).values()]).sum()

    def _bhattacharyya(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        variances = (self.sigma * first) ** 2, (self.sigma * second) ** 2
        mean_variance = (variances[0] + variances[1]) / 2
        spread = (mean_variance.log() - (variances[0].log() + variances[1].log()) / 2) / 2
        return (first - second) ** 2 / (8 * mean_variance) + spread


def _mean_luma(image: torch.Tensor) -> torch.Tensor:
    image = at_least_float32(image)  # powers of a mean underflow in half precision
    if image.shape[1] != 3:
        return image.mean()
    return (image.mean(dim=(0, 2, 3)) * image.new_tensor(LUMA)).sum()
