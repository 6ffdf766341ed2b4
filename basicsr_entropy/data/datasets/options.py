"""The sections of an option file that describe this package's datasets."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import model_validator
from typing_extensions import Self

from basicsr_entropy.config import (
    AnyDataset,
    ImageBackend,
    Name,
    PositiveInteger,
    PositiveNumber,
    Probability,
    Section,
    Seed,
    Text,
    section_of,
)
from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.sets.layouts import LAYOUT_CHOICES, SplitName


class Rescale(Section):
    """Random resizing of whole training images, before they are cropped; lq and gt alike."""

    prob: Probability = 0.2
    """Probability that a pair is resized."""
    scale: PositiveNumber
    """Factor of height and width, above or below 1."""


class Mixup(Section):
    """Random convex combinations of training pairs, lq and gt alike."""

    beta: PositiveNumber
    """The weight of the blend is drawn from Beta(beta, beta)."""
    prob: Probability = 0.5
    """Probability that a pair is blended with another one."""


class LowLightDataset(AnyDataset):
    """Keys that both datasets read."""

    name: Name = 'unnamed'
    """Name of the dataset in logs and output folders."""
    type: Text = ''
    """Registered dataset class."""
    phase: Literal['train', 'val', 'test'] = 'test'
    """Set from the key under `datasets`: `train`, `val` or `test`; need not be written."""
    scale: PositiveInteger = 1
    """Factor between the sizes of gt and lq; set from `scale` of the top level; need not be written."""
    rescale: Rescale | None = None
    """Training: resize whole images at random, lq and gt alike, before they are cropped."""
    mixup: Mixup | None = None
    """Training: blend a pair with a random other one, lq and gt alike."""

    @property
    def crop_size(self) -> int | None:
        """Side of the crops that the dataset makes, in pixels; None outside training, where images stay whole."""
        if self.phase != 'train':
            return None
        return self.gt_size if self.gt_sizes is None else max(self.gt_sizes)

    @model_validator(mode='after')
    def _crops(self) -> Self:
        if self.phase == 'train' and self.gt_size is None and self.gt_sizes is None:
            raise ValueError('gt_size: missing; it is the side of the training crops in pixels')
        if self.gt_size is not None and self.gt_sizes is not None and self.gt_size != max(self.gt_sizes):
            raise ValueError(f'gt_size: must be the largest of gt_sizes, {max(self.gt_sizes)}, got {self.gt_size}')
        return self

    @model_validator(mode='after')
    def _normalization(self) -> Self:
        channels = 1 if self.color == 'y' else 3
        for key in ('mean', 'std'):
            values = getattr(self, key)
            if values is not None and len(values) != channels:
                raise ValueError(f'{key}: must have one number per channel, {channels}, got {values}')
        if 0 in (self.std or ()):
            raise ValueError(f'std: must not be 0, got {self.std}')
        return self


class PairedBackend(ImageBackend):
    """Where the images of pairs are read from."""

    type: Literal['disk', 'lmdb', 'mmengine']
    """Files on disk, LMDB databases, or one of mmengine's file backends, whose arguments are further keys."""


class PairedOptions(LowLightDataset):
    """Pairs of low-light and normal-light photographs."""

    dataroot: Text | None = None
    """Folder of a published dataset, or of the LMDB databases that `basicsr-entropy prepare` wrote."""
    layout: Literal[LAYOUT_CHOICES] = 'auto'  # type: ignore[valid-type]
    """Folder layout of the published dataset; `auto` recognizes it."""
    split: SplitName | None = None
    """Split to read; by default that of the phase: `train` for training, otherwise `test`, or `val` where there is no
    split `test`."""
    dataroot_gt: Text | None = None
    """Folder, LMDB database or address of the ground-truth images, instead of `dataroot`."""
    dataroot_lq: Text | None = None
    """Folder, LMDB database or address of the low-light images, instead of `dataroot`."""
    io_backend: PairedBackend | None = None
    """`{type: disk}`, `{type: lmdb}`, or `{type: mmengine, ...}` with the arguments of a file backend of mmengine; by
    default disk or lmdb, as the data are."""
    meta_info_file: Text | None = None
    """File that lists the pairs, one per line: a name that lq and gt share, or their two names."""
    filename_tmpl: Text = '{}'
    """Base name of the low-light image; `{}` stands for the base name of the ground truth."""
    exclude: Text | None = None
    """File of pairs to exclude, one per line: `KEY`, `SPLIT/KEY` or `ROOT/SPLIT/KEY`, with an optional remark after a
    tab."""
    exposure_jitter: Annotated[list[PositiveNumber], Len(2, 2)] | None = None
    """Training: range `[low, high]` of a random gain on the stored values of lq alone, clipped to [0, 1]."""

    @model_validator(mode='after')
    def _one_root(self) -> Self:
        if self.exposure_jitter is not None and self.exposure_jitter[0] > self.exposure_jitter[1]:
            raise ValueError(f'exposure_jitter: must be two gains, the lower first, got {self.exposure_jitter}')
        roots = self.dataroot_lq, self.dataroot_gt
        if self.dataroot is not None and any(roots):
            raise ValueError('dataroot: give either dataroot, or dataroot_lq and dataroot_gt, not both')
        if self.dataroot is None and not all(roots):
            raise ValueError('dataroot: missing; give it, or dataroot_lq and dataroot_gt')
        if self.dataroot is not None and self.io_backend is not None and self.io_backend.type == 'mmengine':
            raise ValueError('io_backend.type: mmengine needs dataroot_lq and dataroot_gt instead of dataroot')
        of_two_roots, of_one = ('meta_info_file', 'filename_tmpl'), ('layout', 'split')
        for key in of_two_roots if self.dataroot is not None else of_one:
            if getattr(self, key) != type(self).model_fields[key].default:
                wanted = 'dataroot_lq and dataroot_gt' if key in of_two_roots else 'dataroot'
                raise ValueError(f'{key}: applies to {wanted}')
        if self.io_backend is not None and self.io_backend.type != 'mmengine' and self.io_backend.model_extra:
            raise ValueError(f'io_backend.{next(iter(self.io_backend.model_extra))}: applies to type: mmengine')
        return self


class SyntheticOptions(LowLightDataset):
    """Photographs that are darkened on the fly."""

    dataroot_gt: Text
    """Folder of normal-light photographs, or an LMDB database of them."""
    degradation: section_of(LowLightDegradation) = section_of(LowLightDegradation)()  # type: ignore[valid-type]
    """Parameters of the synthetic low-light degradation."""
    gt_mean: Annotated[list[Probability], Len(2, 2)] | None = None
    """Range `[low, high]` of the mean of the ground truth. A photograph outside it is brought to the nearer end by a
    gamma curve before it is darkened, since dark photographs teach dark answers."""
    exclude: Text | None = None
    """File of photographs to leave out, such as graphics and night scenes, one per line, without suffixes; an optional
    remark may follow after a tab."""
    seed: Seed = 0
    """Seed of the degradation in validation and tests, where an image is degraded in the same way every time."""

    @model_validator(mode='after')
    def _range(self) -> Self:
        if self.gt_mean is not None and self.gt_mean[0] > self.gt_mean[1]:
            raise ValueError(f'gt_mean: must be two numbers, the lower first, got {self.gt_mean}')
        try:
            LowLightDegradation(**dict(self.degradation))
        except ValueError as error:
            raise ValueError(f'degradation.{error}') from error
        return self
