"""The sections of an option file that `IRSDEModel` reads beside BasicSR's."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt, Le
from pydantic import model_validator
from typing_extensions import Self

from basicsr_entropy.config import (
    OptionFile,
    PositiveInteger,
    Section,
    Seed,
    Train,
    Val,
    construct,
    section_of,
)
from basicsr_entropy.config.section import LARGEST_WEIGHT
from basicsr_entropy.diffusion import Condition, MeanRevertingSDE, Sampler
from basicsr_entropy.diffusion.tiling import Tiling
from basicsr_entropy.models.execution import Execution
from basicsr_entropy.models.networks import check_conditional_network, size_multiple

TilingOptions = section_of(Tiling)
ExecutionOptions = section_of(Execution)


class ProcessOptions(section_of(MeanRevertingSDE)):  # type: ignore[misc]
    """The process, and the condition that it starts from."""

    condition: section_of(Condition) = section_of(Condition)()  # type: ignore[valid-type]
    """What the process starts from and the network is given: the low-light image, or a brighter version of it."""


class SamplerOptions(section_of(Sampler)):  # type: ignore[misc]
    """Sampling of the restored image."""

    seed: Seed = 0
    """Seed of the noise, the same for each image, so that results depend neither on their order nor on the devices."""
    progress: bool = False
    """Show a progress bar over the steps."""

    def sampler(self) -> Sampler:
        """The sampler that the options describe."""
        return Sampler(**{name: getattr(self, name) for name in section_of(Sampler).model_fields})


class LossKeys(Section):
    """Keys of a loss that the model reads."""

    compare: Literal['state', 'x0', 'noise'] = 'state'
    """What the loss compares. `state`: the Euler reverse step with the optimal reverse state; `x0`: the clean images;
    `noise`: the noise."""


class IRSDETrain(Train):
    """Training. Every `<name>_opt` is a registered loss, logged as `l_<name>`."""

    grad_clip_norm: Annotated[float, Gt(0), Le(LARGEST_WEIGHT)] | None = None
    """Largest norm of the gradient over all parameters; no clipping by default."""
    accumulate: PositiveInteger = 1
    """Batches per iteration whose gradients are averaged: a batch this many times as large, in the memory of one, for
    losses with `reduction: mean`."""
    ema_warmup: bool = False
    """Let the decay of the EMA grow with the iterations n, as min(`ema_decay`, (1 + n) / (10 + n))."""


class IRSDEVal(Val):
    """Validation during training, and tests."""

    sampler: SamplerOptions = SamplerOptions()
    """Sampler of the reverse process, its number of steps and its seed."""
    tile: TilingOptions | None = None  # type: ignore[valid-type]
    """Tiles, for images larger than a tile; by default every image is sampled whole."""
    self_ensemble: bool = False
    """Test-time augmentation (x8): average the predictions of eight flipped and rotated views, at eight times the
    cost."""


class IRSDEOptions(OptionFile, ExecutionOptions):  # type: ignore[misc, valid-type]
    """An option file of `IRSDEModel`."""

    sde: ProcessOptions = ProcessOptions()
    """The mean-reverting diffusion process."""
    train: IRSDETrain | None = None
    """Losses, optimizer and schedule; required for training."""
    val: IRSDEVal | None = None
    """Sampling and metrics in validation and tests; required for tests."""

    LOSS_KEYS: ClassVar[type[Section]] = LossKeys

    @classmethod
    def allows(cls, section: str, key: str) -> bool:
        return section == 'train' and key.endswith('_opt')

    @property
    def training(self) -> IRSDETrain:
        """Options of the training.

        Raises:
            KeyError: If there are none.
        """
        if self.train is None:
            raise KeyError('train: missing; training needs this section')
        return self.train

    @property
    def sampler_options(self) -> SamplerOptions:
        """The section val.sampler, or its defaults."""
        return SamplerOptions() if self.val is None else self.val.sampler

    def process_and_condition(self) -> tuple[MeanRevertingSDE, Condition]:
        """A new process, and how a low-light image becomes its condition."""
        return process_and_condition(self.sde.model_dump())

    def tiling(self) -> Tiling | None:
        """Tiles of large images; None for none."""
        tile = None if self.val is None else self.val.tile
        return None if tile is None else construct(Tiling, tile.model_dump(), 'val.tile')

    def execution(self) -> Execution:
        """How the network is evaluated."""
        return Execution(self.amp, self.channels_last, self.compile)

    @model_validator(mode='after')
    def _values_fit(self) -> Self:
        with suppress(KeyError):  # an unknown type is reported where networks are looked up
            check_conditional_network(self.network_g, 'network_g')
        for phase, dataset in self.datasets.items():
            for key in ('mean', 'std'):
                if isinstance(dataset, Mapping) and dataset.get(key) is not None:
                    raise ValueError(f'datasets.{phase}.{key}: remove it; IRSDEModel takes images in [0, 1]')
        (process, _), tiling = self.process_and_condition(), self.tiling()
        if tiling is not None:
            try:
                tiling.check_multiple(size_multiple(self.network_g))
            except ValueError as error:
                raise ValueError(f'val.tile.{error}') from error
        try:
            self.sampler_options.sampler().timesteps(process)
        except ValueError as error:
            raise ValueError(f'val.sampler.{error}') from error
        return self


def sampler_of(options: Mapping[str, Any]) -> Sampler:
    """What the section `sampler` of a model file describes; null stands for a default.

    Raises:
        KeyError: If an option is unknown.
        ValueError: If a value has the wrong type or is out of range.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return construct(Sampler, given, 'sampler', type=given.get('type', Sampler().type))


def process_and_condition(sde: Mapping[str, Any]) -> tuple[MeanRevertingSDE, Condition]:
    """What the section `sde` of an option file or a model file describes.

    Raises:
        KeyError: If an option is unknown.
        ValueError: If a value has the wrong type or is out of range.
    """
    process = {key: value for key, value in sde.items() if key != 'condition'}
    return construct(MeanRevertingSDE, process, 'sde'), construct(Condition, sde.get('condition'), 'sde.condition')
