"""Learning-rate schedules beyond BasicSR's."""

from collections.abc import Sequence
from itertools import accumulate

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, get_position_from_periods
from torch.optim import Optimizer


class CosineAnnealingRestartCyclicLR(CosineAnnealingRestartLR):
    """Cosine annealing with restarts whose cycles end at learning rates of their own (MIRNet-v2, Retinexformer).

    https://github.com/caiyuanhao1998/Retinexformer/blob/master/basicsr/models/lr_scheduler.py

    Args:
        optimizer: The optimizer.
        periods: Steps of each cycle.
        restart_weights: Factor of the initial learning rate in each cycle.
        eta_mins: Learning rate at the end of each cycle.
        last_epoch: Steps already taken; -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_mins: Sequence[float] = (0,),
        last_epoch: int = -1,
    ) -> None:
        for name, values in (('restart_weights', restart_weights), ('eta_mins', eta_mins)):
            if len(values) != len(periods):
                raise ValueError(f'{name}: must be {len(periods)} numbers, one per entry of periods, got {values}')
        self.eta_mins, self.ends = list(eta_mins), list(accumulate(periods))
        super().__init__(optimizer, periods, restart_weights, last_epoch=last_epoch)

    def get_lr(self) -> list[float]:
        self.eta_min = self.eta_mins[get_position_from_periods(self.last_epoch, self.ends)]
        return super().get_lr()


LR_SCHEDULES = {'CosineAnnealingRestartCyclicLR': CosineAnnealingRestartCyclicLR}
