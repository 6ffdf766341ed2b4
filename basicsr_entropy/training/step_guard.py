"""Training steps whose losses or gradients are not finite: they move nothing, and too many in a row end the run."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import nn

from basicsr_entropy.models.irsde_model import GRADIENT


class StepGuard:
    """Tells of each step what was not finite in it.

    `IRSDEModel` looks itself. In other models the optimizers are made to look at the gradient before they step; if it
    is not finite, neither they nor the EMA weights move.

    Args:
        model: The model; its optimizers and its `model_ema` are wrapped.
    """

    def __init__(self, model: BaseModel) -> None:
        self.model, self._skipped = model, False
        if hasattr(model, 'not_finite'):
            return
        for optimizer in model.optimizers:
            optimizer.step = self._only_finite(optimizer)
        model.model_ema = self._unless_skipped(model.model_ema)

    def step(self, iteration: int) -> list[str]:
        """Takes a training step of the model.

        Returns:
            Names of the losses that were not finite, and `GRADIENT`; none if the weights have moved.
        """
        self._skipped = False
        self.model.optimize_parameters(iteration)
        if hasattr(self.model, 'not_finite'):
            return self.model.not_finite
        if not self._skipped:
            return []
        losses = [name for name, value in self.model.log_dict.items() if not math.isfinite(value)]
        return [*losses, GRADIENT]

    def _only_finite(self, optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
        step = optimizer.step

        @functools.wraps(step)  # keeps the mark by which a schedule recognizes a step that it counts
        def step_if_finite(*args: Any, **kwargs: Any) -> Any:
            parameters = [each for group in optimizer.param_groups for each in group['params']]
            gradients = [each.grad for each in parameters if each.grad is not None]
            if math.isfinite(nn.utils.get_total_norm(gradients)):
                return step(*args, **kwargs)
            self._skipped = True
            return None

        return step_if_finite

    def _unless_skipped(self, update: Callable[..., None]) -> Callable[..., None]:
        def update_unless_skipped(*args: Any, **kwargs: Any) -> None:
            if not self._skipped:
                update(*args, **kwargs)

        return update_unless_skipped
