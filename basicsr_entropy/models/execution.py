"""How a network is evaluated: half precision, channels-last memory layout, compilation."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from basicsr_entropy._checks import check_choice
from basicsr_entropy.diffusion.samplers import Network

Precision = Literal['bf16', 'fp16']

PRECISIONS: dict[Precision, torch.dtype] = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Execution:
    """How a network is evaluated. Its parameters keep their names, values and float32 type.

    Attributes:
        amp: Autocast to half precision in training and sampling: bf16 or fp16; float32 by default.
        channels_last: Channels-last memory layout of the network.
        compile: Compile the network with torch.compile; the first evaluations take minutes.

    Raises:
        ValueError: If amp is unknown.
    """

    amp: Precision | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.amp is not None:
            check_choice('amp', self.amp, PRECISIONS)

    def prepare(self, network: nn.Module) -> None:
        """Changes the network's memory layout and compiles it, both in place; its state dict keeps its keys."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's overloads
        if self.compile:
            network.compile()

    def wrap(self, network: Network) -> Network:
        """The network under autocast; predictions have the dtype of the state."""
        if self.amp is None:
            return network
        precision = PRECISIONS[self.amp]

        def cast(x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x_t.device.type, precision):
                prediction = network(x_t, mu, t)
            return prediction.to(x_t.dtype)

        return cast
