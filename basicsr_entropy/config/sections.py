"""The sections of BasicSR's option files, typed. A model or dataset that reads further keys derives from these.

A registered model or dataset names the section that describes it in its attribute `OPTIONS`: a model a subclass of
`OptionFile`, a dataset a subclass of `AnyDataset`. Sections that name a `type` (networks, losses, metrics ...) are
mappings here; the registered class decides about their keys, see `config.validate`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BeforeValidator, field_validator, model_validator
from typing_extensions import Self

from basicsr_entropy._checks import name_problem
from basicsr_entropy.config.section import (
    Integer,
    NonNegativeInteger,
    PositiveInteger,
    Section,
    Text,
)

Typed = dict[str, Any]  # a section whose `type` names an entry of a registry


def _no_path(name: Any) -> Any:
    problem = name_problem(name) if isinstance(name, str) else None
    if problem:
        raise ValueError(problem)
    return name


# what `config.parse` adds to the options of the file
RUNTIME_KEYS = {
    '': ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path'),
    'path': ('models', 'training_states', 'log', 'visualization'),
}
# what BasicSR's training datasets read in any case, and this package's need not be given
LOWER_IS_BETTER = frozenset({'calculate_lpips', 'calculate_niqe'})  # BasicSR's models take `higher` unless told
TRAINING_DEFAULTS = {'use_hflip': False, 'use_rot': False}

Name = Annotated[Text, BeforeValidator(_no_path)]
# numpy takes 32 bits, and every process of a run adds its number
ManualSeed = Annotated[Integer, Ge(0), Le(2**32 - 2**16)]
Suffix = Annotated[str, BeforeValidator(_no_path)]
Decay = Annotated[float, Ge(0), Lt(1)]
# beyond these, an exponent is misplaced; optimizers that scale the learning rate themselves take 1
LearningRate = Annotated[float, Gt(0), Le(100)]
LearningRateFactor = Annotated[float, Gt(0), Le(100)]
LeastLearningRate = Annotated[float, Ge(0), Le(100)]
WeightDecay = Annotated[float, Ge(0), Le(100)]


class CropSchedule(Section):
    """Training crops that grow (Restormer, Zamir et al., CVPR 2022): size and batch of each phase."""

    gt_sizes: Annotated[list[PositiveInteger], MinLen(1)] | None = None
    """Side length of the training crops in each phase, in pixels; replaces `gt_size`."""
    iters: Annotated[list[PositiveInteger], MinLen(1)] | None = None
    """Iterations of each phase of `gt_sizes`; the last phase continues to the end."""
    mini_batch_sizes: Annotated[list[PositiveInteger], MinLen(1)] | None = None
    """Images per GPU in each phase of `gt_sizes`, at most `batch_size_per_gpu`, which is the default."""
    batch_size_per_gpu: PositiveInteger = 1
    """Images per GPU in a training batch."""


class CropPhases(CropSchedule):
    """A `CropSchedule` whose lists fit together."""

    @model_validator(mode='after')
    def _phases_agree(self) -> Self:
        if self.gt_sizes is None:
            for key in ('iters', 'mini_batch_sizes'):
                if getattr(self, key) is not None:
                    raise ValueError(f'{key}: needs gt_sizes, which is missing')
            return self
        if self.iters is None:
            raise ValueError('iters: missing; gt_sizes needs the iterations of each size')
        for key in ('iters', 'mini_batch_sizes'):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.gt_sizes):
                raise ValueError(
                    f'{key}: must be {len(self.gt_sizes)} integers, one per size in gt_sizes, got {values}'
                )
        largest = max(self.mini_batch_sizes or [0])
        if largest > self.batch_size_per_gpu:
            raise ValueError(f'mini_batch_sizes: {largest} is more than batch_size_per_gpu, {self.batch_size_per_gpu}')
        return self


class ImageBackend(Section, extra='allow'):
    """Where a dataset's images are read from; further keys are arguments of the backend."""

    type: Text
    """disk, lmdb or memcached."""


class AnyDataset(CropSchedule):
    """Keys of every dataset: what BasicSR's pipelines and data loader read, and what all of its datasets share."""

    name: Name
    """Name of the dataset in logs and output folders."""
    type: Text
    """Registered dataset class."""
    io_backend: ImageBackend | None = None
    """Where the images are read from: `{type: disk}` or `{type: lmdb}`."""
    dataroot_gt: Text | None = None
    """Folder or LMDB database of the ground-truth images."""
    gt_size: PositiveInteger | None = None
    """Side length of the training crops, in pixels."""
    use_hflip: bool = False
    """Random horizontal flips in training."""
    use_rot: bool = False
    """Random quarter turns and vertical flips in training."""
    mean: list[float] | None = None
    """Subtracted from the channels, RGB; `mean` and `std` go together."""
    std: list[float] | None = None
    """The channels are divided by it, RGB."""
    color: Literal['y'] | None = None
    """`y`: the luma channel of YCbCr instead of RGB."""
    num_worker_per_gpu: NonNegativeInteger | None = None
    """Processes per GPU that load training batches; 0 loads in the training process."""
    dataset_enlarge_ratio: PositiveInteger = 1
    """How often each image occurs in an epoch."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Prefetching of training batches: `cpu` (at least one worker process) or `cuda` (a stream; needs
    `pin_memory`)."""
    num_prefetch_queue: PositiveInteger = 1
    """Batches that each worker of `prefetch_mode: cpu` keeps ready; 1 counts as 2."""
    pin_memory: bool = False
    """Load batches into page-locked memory."""
    persistent_workers: bool = False
    """Accepted because BasicSR's option files contain it; the loading processes live as long as the training."""
    use_shuffle: bool = True
    """Accepted because BasicSR's option files contain it; training always shuffles."""

    @model_validator(mode='after')
    def _mean_and_std(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f'{"mean" if self.mean is None else "std"}: missing; mean and std go together')
        return self


class Dataset(AnyDataset):
    """A dataset of BasicSR."""

    dataroot_lq: Text | None = None
    """Folder or LMDB database of the low-quality images."""
    meta_info_file: Text | None = None
    """File that lists the images, one per line."""
    filename_tmpl: Text = '{}'
    """Base name of the low-quality image; `{}` stands for the base name of the ground truth."""
    color: Text | None = None  # type: ignore[assignment]
    """`y`: the luma channel of YCbCr instead of RGB; BasicSR takes any other value as RGB."""


def phase_of(key: Any) -> str:
    """Phase of a dataset by its key under `datasets`: train, val or test; `val_2` is a second one for val."""
    return str(key).partition('_')[0]


def dataset_path(opt: Mapping[str, Any]) -> str:
    """Path of a dataset's options in an option file, for error messages, e.g. datasets.train (LOLv1).

    A dataset knows its phase, but not which of several validation sets it is: hence its name.
    """
    return f'datasets.{opt.get("phase", "?")} ({opt.get("name", "unnamed")})'


class Optimizer(Section, extra='allow'):
    """An optimizer; further keys are its arguments."""

    type: Text
    """Class of the optimizer."""
    lr: LearningRate
    """Learning rate."""
    weight_decay: WeightDecay | None = None
    """Weight decay; that of the class by default."""


class MultiStepScheduler(Section):
    """Learning rate multiplied by gamma at milestones."""

    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    """Name of the schedule; both names stand for the same one."""
    milestones: list[NonNegativeInteger]
    """Iterations at which the learning rate is multiplied by `gamma`."""
    gamma: LearningRateFactor = 0.1
    """Factor applied to the learning rate at each milestone."""
    restarts: list[NonNegativeInteger] = [0]
    """Iterations at which the schedule restarts."""
    restart_weights: list[LearningRateFactor] = [1]
    """Factor applied to the initial learning rate from each restart on; one number per restart."""

    @model_validator(mode='after')
    def _as_many_weights(self) -> Self:
        _check_equal_length(self, 'restarts')
        return self


class CosineScheduler(Section):
    """Cosine annealing with restarts."""

    type: Literal['CosineAnnealingRestartLR']
    """Name of the schedule."""
    periods: Annotated[list[PositiveInteger], MinLen(1)]
    """Iterations of each cosine period; together they must reach `total_iter`."""
    restart_weights: list[LearningRateFactor] = [1]
    """Factor applied to the initial learning rate in each period; one number per period."""
    eta_min: LeastLearningRate = 0
    """Learning rate at the end of each period."""

    @model_validator(mode='after')
    def _as_many_weights(self) -> Self:
        _check_equal_length(self, 'periods')
        return self


class CyclicCosineScheduler(Section):
    """Cosine annealing with restarts whose cycles end at learning rates of their own (MIRNet-v2, Retinexformer)."""

    type: Literal['CosineAnnealingRestartCyclicLR']
    """Name of the schedule."""
    periods: Annotated[list[PositiveInteger], MinLen(1)]
    """Iterations of each cycle; together they must reach `total_iter`."""
    restart_weights: list[LearningRateFactor] = [1]
    """Factor applied to the initial learning rate in each cycle; one number per cycle."""
    eta_mins: list[LeastLearningRate] = [0]
    """Learning rate at the end of each cycle; one number per cycle."""

    @model_validator(mode='after')
    def _as_many_weights(self) -> Self:
        _check_equal_length(self, 'periods')
        _check_equal_length(self, 'periods', 'eta_mins')
        return self


def _check_equal_length(scheduler: Any, key: str, values: str = 'restart_weights') -> None:
    wanted, given = len(getattr(scheduler, key)), getattr(scheduler, values)
    if len(given) != wanted:
        raise ValueError(f'{values}: must be {wanted} numbers, one per entry of {key}, got {given}')


SCHEDULERS: Mapping[str, type[Section]] = {
    'CosineAnnealingRestartCyclicLR': CyclicCosineScheduler,
    'CosineAnnealingRestartLR': CosineScheduler,
    'MultiStepLR': MultiStepScheduler,
    'MultiStepRestartLR': MultiStepScheduler,
}


class Train(Section):
    """Training."""

    total_iter: PositiveInteger
    """Iterations of the training, at which it stops."""
    warmup_iter: Integer = -1
    """Iterations over which the learning rate rises linearly from zero; -1 for none."""
    ema_decay: Decay = 0
    """Decay of the exponential moving average (EMA) of the weights; 0 keeps no average."""
    optim_g: Optimizer
    """Optimizer of `network_g`."""
    scheduler: Typed
    """Learning-rate schedule: `CosineAnnealingRestartLR`, `CosineAnnealingRestartCyclicLR`, `MultiStepLR` or
    `MultiStepRestartLR`, and its keys."""
    max_skipped: PositiveInteger = 10
    """Steps in a row that may be skipped because a loss or the gradient is not finite, before the training stops."""


class Val(Section):
    """Validation during training, and tests."""

    val_freq: PositiveInteger | None = None
    """Iterations between validations; required for training."""
    save_img: bool
    """Write the output images. With `IRSDEModel`, images of one name in several folders get the name of their folder
    before their own, and each of several validation datasets a folder."""
    suffix: Suffix | None = None
    """Ending of the names of the output images in a test; the name of the run by default."""
    pbar: bool = False
    """Show a progress bar over the images."""
    metrics: dict[str, Typed] | None = None
    """Metrics by names of your choice: a registered function each, and its arguments."""
    save_best: Text | None = None
    """A name under `metrics`: keep the weights that do best in it, on the first validation dataset, as
    `net_g_best.pth`."""

    @model_validator(mode='after')
    def _best_is_measured(self) -> Self:
        if self.save_best is not None and self.save_best not in (self.metrics or {}):
            raise ValueError(f'save_best: must be a name under metrics, got {self.save_best!r}')
        return self


class Wandb(Section):
    """Weights & Biases."""

    project: Text | None = None
    """Project to log to; `~` turns wandb off."""
    resume_id: Text | None = None
    """ID of the wandb run to resume."""


class Logger(Section):
    """Log and checkpoints."""

    print_freq: PositiveInteger
    """Iterations between log lines."""
    save_checkpoint_freq: PositiveInteger
    """Iterations between checkpoints (weights and training state)."""
    keep_checkpoints: PositiveInteger | None = None
    """How many of the numbered checkpoints to keep, the newest ones; all by default. `latest` and `best` stay."""
    use_tb_logger: bool
    """Log to TensorBoard, in `tb_logger/NAME`: losses and metrics, and images if `IRSDEModel` validates."""
    wandb: Wandb | None = None
    """Weights & Biases; needs `use_tb_logger: true`."""


class Paths(Section):
    """Weights to start from, and where outputs go."""

    pretrain_network_g: Text | None = None
    """File of weights to load into `network_g`: a checkpoint of BasicSR, or a bare state dict."""
    strict_load_g: bool = True
    """Whether the weights must fit `network_g` exactly."""
    param_key_g: Text | None = 'params'
    """State dict to take from the checkpoint: `params` or `params_ema` (EMA weights); `~` for a bare state dict."""
    resume_state: Text | None = None
    """Training state (`.state`) to resume from; `--auto_resume` takes the newest."""
    ignore_resume_networks: list[Text] | None = None
    """Networks whose weights are not taken from the resumed run, such as `network_g`."""
    experiments_root: Text | None = None
    """Output folder of a training run; `experiments/NAME` by default."""
    results_root: Text | None = None
    """Output folder of a test run; `results/NAME` by default."""


class OptionFile(Section):
    """An option file."""

    name: Name
    """Name of the run; its outputs go to `experiments/NAME` and `results/NAME`."""
    model_type: Text
    """Registered model class."""
    num_gpu: Literal['auto'] | NonNegativeInteger
    """GPUs of this process: `auto` takes all there are; 0 computes on the CPU."""
    manual_seed: ManualSeed | None = None
    """Seed of all random number generators; drawn at random by default."""
    scale: PositiveInteger = 1
    """Factor between the sizes of output and input; 1 for low-light enhancement."""
    find_unused_parameters: bool = False
    """For distributed training of networks that do not use all of their parameters."""
    dist_params: dict[str, Any] | None = None
    """Arguments of the distributed backend, for `--launcher slurm`."""
    datasets: dict[str, Typed]
    """Datasets by phase: `train` and `val` (or `val_1`, `val_2` ...) for training, `test_1`, `test_2` ... for tests."""
    network_g: Typed
    """The network: a registered class and its arguments."""
    path: Paths
    """Weights to start from, and output folders."""
    train: Train | None = None
    """Losses, optimizer and schedule; required for training."""
    val: Val | None = None
    """Sampling and metrics in validation and tests; required for tests."""
    logger: Logger | None = None
    """Logs and checkpoints; required for training."""

    @field_validator('datasets')
    @classmethod
    def _some_dataset(cls, datasets: dict[str, Typed]) -> dict[str, Typed]:
        if not datasets:
            raise ValueError('must name at least one dataset')
        return datasets

    LOSS_KEYS: ClassVar[type[Section]] = Section
    """Keys that the model reads from the options of a loss, beside the loss's own arguments."""

    @classmethod
    def of(cls, opt: Mapping[str, Any]) -> Self:
        """The typed options of a model that BasicSR builds.

        Args:
            opt: What the model is given: the option file's content and what BasicSR's pipelines add to it.

        Raises:
            KeyError, ValueError: As `read`.
        """

        def own(section: str, options: Mapping[str, Any]) -> dict[str, Any]:
            runtime = RUNTIME_KEYS.get(section, ())
            return {key: value for key, value in options.items() if key not in runtime and not cls.allows(section, key)}

        nested = {key: own(key, value) for key, value in opt.items() if key in ('path', 'train', 'val') and value}
        return cls.read(own('', {**opt, **nested}))

    @classmethod
    def allows(cls, section: str, key: str) -> bool:
        """Whether a key that is no field may stand in a section ('' is the top level), such as train.<name>_opt."""
        return False
