"""The values of a step that are logged: each loss, and the terms of a `MixedLoss`."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from basicsr.models.base_model import BaseModel
from torch import nn

from basicsr_entropy.losses.mixed_loss import MixedLoss


def with_mixed_terms(model: BaseModel, losses: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """The losses of a step, each `MixedLoss` among them followed by its terms.

    The sum is found among the values by its memory, because models name it differently: `l_pix` in SRModel, `l_g_pix`
    in SRGANModel. A term goes under the sum's name followed by its own: `l_pix_L1Loss`.

    Args:
        model: The model, among whose modules the losses are.
        losses: Value of each loss by its name.
    """
    modules = [each for each in vars(model).values() if isinstance(each, nn.Module)]
    mixed = [one for each in modules for one in (each, *each.children()) if isinstance(one, MixedLoss)]
    logged: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, value in losses.items():
        logged[name] = value
        for loss in mixed:
            if loss.total is not None and value.is_set_to(loss.total):
                logged.update({f'{name}_{term}': part for term, part in loss.terms.items()})
    return logged
