"""Faster evaluations of a network: half precision, channels-last memory, compilation."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from basicsr_entropy._checks import check_choice
from basicsr_entropy.diffusion.samplers import Network

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Speed:
    """How a network is evaluated. Its parameters keep their names, float32 and their values.

    Attributes:
        amp: 'bf16' or 'fp16' for autocast; None for float32.
        channels_last: Keep channels next to each other in memory.
        compile: Compile with torch; the first evaluations take minutes.

    Raises:
        ValueError: If amp is unknown.
    """

    amp: str | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.amp is not None:
            check_choice('amp:', self.amp, PRECISIONS)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> 'Speed':
        """As an option file's own keys say."""
        return cls(**{each.name: options[each.name] for each in fields(cls) if each.name in options})

    def prepare(self, network: nn.Module) -> None:
        """Changes the network's memory layout and compiles it, both in place: its state dict keeps its keys."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()

    def wrap(self, network: Network) -> Network:
        """The network under autocast, with predictions in the type of the state."""
        if self.amp is None:
            return network

        def cast(x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x_t.device.type, PRECISIONS[self.amp]):
                prediction = network(x_t, mu, t)
            return prediction.to(x_t.dtype)

        return cast
