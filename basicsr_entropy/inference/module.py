"""A model as one torch module from photograph to photograph, as other programs load and run models."""

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from typing_extensions import Self

from basicsr_entropy.config import build
from basicsr_entropy.diffusion.tiling import Tiling
from basicsr_entropy.inference.pretrained import Pretrained
from basicsr_entropy.models.networks import check_conditional_network, check_fits
from basicsr_entropy.models.options import process_and_condition, sampler_of
from basicsr_entropy.models.restore import restore
from basicsr_entropy.models.weights import load_weights


class EnhancementModule(nn.Module):
    """A network with its process and sampler, called with images alone.

    `Enhancer` has more options, and takes images of any kind.

    Args:
        network_g: Type and arguments of the network, as in an option file.
        sde: Arguments of `MeanRevertingSDE`, and `condition`, as in an option file.
        sampler: Type and arguments of the sampler, as in val.sampler.

    Raises:
        KeyError: If an option is unknown or missing.
        ValueError: If an option is out of its range, or the network is no conditional network.

    Example:
        >>> from basicsr_entropy.inference import read_pretrained
        >>> module = EnhancementModule.of(read_pretrained('night_small'))
        >>> module(torch.full((1, 3, 32, 40), 0.1)).shape
        torch.Size([1, 3, 32, 40])
    """

    def __init__(
        self,
        network_g: Mapping[str, Any],
        sde: Mapping[str, Any] | None = None,
        sampler: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_conditional_network(network_g, 'network_g')
        self._options = {'network_g': dict(network_g), 'sde': dict(sde or {}), 'sampler': dict(sampler or {})}
        self.net = build(ARCH_REGISTRY, network_g, 'network_g')
        self.sampler = sampler_of(self._options['sampler'])
        self.process, self.condition = process_and_condition(self._options['sde'])
        self.sampler.timesteps(self.process)  # raises an error for too many steps
        self.eval()

    @classmethod
    def of(cls, model: Pretrained) -> Self:
        """The module of a model, with its weights.

        Raises:
            ValueError: If the weights do not fit the network.
        """
        check_fits(model.network_g, model.weights, 'the file', 'model')
        module = cls(network_g=model.network_g, sde=model.sde, sampler=model.sampler)
        load_weights(module.net, model.weights, 'the file', option='model')
        return module

    def to_pretrained(self) -> Pretrained:
        """The model of this module: the inverse of `of`."""
        return Pretrained(self.net.state_dict(), **self._options)

    @torch.no_grad()
    def forward(self, image: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """Enhances images, large ones in tiles.

        Args:
            image: Shape (N, 3, H, W), range [0, 1], on the device of the module.
            seed: Seed of the noise.

        Returns:
            Images of the same shape, range [0, 1].
        """
        restored = restore(
            self.process,
            self.net,
            image,
            condition=self.condition,
            sampler=self.sampler,
            seed=seed,
            tiling=Tiling(),
        )
        return restored.clamp(0, 1)
