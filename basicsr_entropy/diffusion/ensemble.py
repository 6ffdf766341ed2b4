"""Self-ensemble: the mean of what a network predicts for the eight turned and mirrored views of an image."""

import torch

from basicsr_entropy.diffusion.samplers import Network


def self_ensembled(network: Network) -> Network:
    """A network that averages the given one over eight views (Timofte et al., *Seven Ways*, CVPR 2016).

    The mean is taken of predictions, inside every sampling step: means of whole samples would blur their noise.
    """

    def averaged(x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x_t)
        for turns in range(4):
            for mirrored in (False, True):
                total += _restore(network(_view(x_t, turns, mirrored), _view(mu, turns, mirrored), t), turns, mirrored)
        return total / 8

    return averaged


def _view(image: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    turned = torch.rot90(image, turns, (-2, -1))
    return turned.flip(-1) if mirrored else turned


def _restore(image: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    return torch.rot90(image.flip(-1) if mirrored else image, -turns, (-2, -1))
