"""The sections of an option file that `IRSDEModel` reads beside BasicSR's."""

from typing import ClassVar, Literal

from pydantic import model_validator
from typing_extensions import Self

from basicsr_entropy.config import PositiveNumber, Run, Section, Seed, Train, Val, construct, section_of
from basicsr_entropy.diffusion import MeanRevertingSDE, Sampler, Tiling
from basicsr_entropy.models.execution import Execution

SDEOptions = section_of(MeanRevertingSDE)
TilingOptions = section_of(Tiling)


class SamplerOptions(section_of(Sampler)):  # type: ignore[misc]
    """Sampling from the diffusion model."""

    seed: Seed = 0
    """Seed of the noise; each image starts from the same seed, so results do not depend on order or devices."""
    progress: bool = False
    """Show a progress bar over the steps."""

    def sampler(self) -> Sampler:
        return Sampler(**{name: getattr(self, name) for name in section_of(Sampler).model_fields})


class LossKeys(Section):
    """Keys of a loss that the model reads."""

    compare: Literal['state', 'x0', 'noise'] = 'state'
    """What is compared: the Euler reverse step with the optimum reverse state (state), the clean image or the noise."""


class IRSDETrain(Train):
    grad_clip_norm: PositiveNumber | None = None
    """Largest norm of the gradient; no clipping by default."""


class IRSDEVal(Val):
    sampler: SamplerOptions = SamplerOptions()
    """Sampling from the diffusion model."""
    tile: TilingOptions | None = None  # type: ignore[valid-type]
    """Tiles for images larger than a tile; by default images are sampled whole."""
    self_ensemble: bool = False
    """Test-time augmentation: average predictions over eight flipped and rotated views, at eight times the cost."""


class IRSDEOptions(Run):
    sde: SDEOptions = SDEOptions()  # type: ignore[valid-type]
    """The mean-reverting process."""
    amp: Literal['bf16', 'fp16'] | None = Execution.amp  # type: ignore[assignment]
    """Autocast to half precision in training and sampling."""
    channels_last: bool = Execution.channels_last
    """Channels-last memory layout of the network."""
    compile: bool = Execution.compile
    """Compile the network with torch.compile; the first evaluations take minutes."""
    train: IRSDETrain | None = None
    val: IRSDEVal | None = None

    LOSS_KEYS: ClassVar[type[Section]] = LossKeys

    @classmethod
    def allows(cls, section: str, key: str) -> bool:
        return section == 'train' and key.endswith('_opt')

    def process(self) -> MeanRevertingSDE:
        return construct(MeanRevertingSDE, self.sde.model_dump(), 'sde')

    def tiling(self) -> Tiling | None:
        tile = None if self.val is None else self.val.tile
        return None if tile is None else construct(Tiling, tile.model_dump(), 'val.tile')

    @model_validator(mode='after')
    def _fits_together(self) -> Self:
        process = self.process()
        self.tiling()
        if self.val is not None:
            ...
        return self
