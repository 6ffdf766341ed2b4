"""x8 test-time augmentation (geometric self-ensemble) of a network's predictions."""

from functools import partial

import torch

from basicsr_entropy.diffusion.samplers import Network, StepAware, network_at_step


class SelfEnsemble:
    """A network whose predictions are averaged over eight flipped and rotated views of the image; step-aware.

    Timofte et al., *Seven Ways to Improve Example-Based Single Image Super Resolution*, CVPR 2016. Predictions are
    averaged within each sampling step: averaging the final samples would blur their noise.

    Args:
        network: The network to evaluate on each view; may be step-aware itself.
    """

    def __init__(self, network: Network | StepAware) -> None:
        self.network = network

    def at_step(self, index: int, total: int) -> Network:
        """The network for step `index` of `total`."""
        return partial(_mean_over_views, network_at_step(self.network, index, total))


def _mean_over_views(network: Network, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(x_t)
    for turns in range(4):
        for flipped in (False, True):
            prediction = network(_view(x_t, turns, flipped), _view(mu, turns, flipped), t)
            total += _view_undone(prediction, turns, flipped)
    return total / 8


def _view(image: torch.Tensor, turns: int, flipped: bool) -> torch.Tensor:
    rotated = torch.rot90(image, turns, (-2, -1))
    return rotated.flip(-1) if flipped else rotated


def _view_undone(image: torch.Tensor, turns: int, flipped: bool) -> torch.Tensor:
    return torch.rot90(image.flip(-1) if flipped else image, -turns, (-2, -1))
