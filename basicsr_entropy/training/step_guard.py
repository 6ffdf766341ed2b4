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

    `IRSDEModel` looks itself. In other models the optimizers are made to look at the gradient, and at the outputs of
    the losses (by BasicSR's convention, the attributes `cri_*`), before they step; if one is not finite, neither they
    nor the EMA weights move.

    Args:
        model: The model; its optimizers and its `model_ema` are wrapped.
    """

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self._looked_at: list[torch.Tensor] = []  # outputs of losses since the last step of an optimizer
        self._not_finite: set[str] = set()
        if hasattr(model, 'not_finite'):
            return
        for name, module in vars(model).items():
            if name.startswith('cri_') and isinstance(module, nn.Module):
                module.register_forward_hook(self._note)
        for optimizer in model.optimizers:
            optimizer.step = self._only_finite(optimizer)
        model.model_ema = self._unless_skipped(model.model_ema)

    def step(self, iteration: int) -> list[str]:
        """Takes a training step of the model.

        Returns:
            Names of the losses that were not finite, and `GRADIENT`; none if the weights have moved.
        """
        self._not_finite.clear()
        self.model.optimize_parameters(iteration)
        if hasattr(self.model, 'not_finite'):
            return self.model.not_finite
        if not self._not_finite:
            return []
        # of a distributed run, rank 0 alone knows the values
        losses = [name for name, value in self.model.log_dict.items() if not math.isfinite(value)]
        return [*(losses or sorted(self._not_finite - {GRADIENT})), *(self._not_finite & {GRADIENT})]

    def _note(self, module: nn.Module, inputs: Any, output: Any) -> None:
        terms = output if isinstance(output, (list, tuple)) else (output,)
        self._looked_at += [term.detach().sum() for term in terms if isinstance(term, torch.Tensor)]

    def _only_finite(self, optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
        step = optimizer.step

        @functools.wraps(step)  # keeps the mark by which a schedule recognizes a step that it counts
        def step_if_finite(*args: Any, **kwargs: Any) -> Any:
            parameters = [each for group in optimizer.param_groups for each in group['params']]
            gradients = [each.grad for each in parameters if each.grad is not None]
            values = torch.stack([nn.utils.get_total_norm(gradients), *self._looked_at])
            self._looked_at.clear()
            if self.model.opt['dist']:  # each process has losses of its own, but all have to decide alike
                torch.distributed.all_reduce(values)
            gradient, *losses = map(math.isfinite, values.tolist())
            if gradient and all(losses):
                return step(*args, **kwargs)
            self._not_finite |= {*([] if gradient else [GRADIENT]), *([] if all(losses) else ['a loss'])}
            return None

        return step_if_finite

    def _unless_skipped(self, update: Callable[..., None]) -> Callable[..., None]:
        def update_unless_skipped(*args: Any, **kwargs: Any) -> None:
            if not self._not_finite:
                update(*args, **kwargs)

        return update_unless_skipped
