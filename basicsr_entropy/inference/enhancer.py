"""Enhancement of images in memory with a trained model."""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from basicsr_entropy._checks import check_choice, check_seed
from basicsr_entropy._errors import first_line
from basicsr_entropy.config import construct, read_option_file
from basicsr_entropy.diffusion import SAMPLERS, Sampler
from basicsr_entropy.diffusion.samplers import Callback, SamplerType
from basicsr_entropy.diffusion.tiling import Tiling
from basicsr_entropy.inference.images import ImageKind, image_to_tensor
from basicsr_entropy.inference.pretrained import Pretrained, read_pretrained
from basicsr_entropy.models.execution import Execution, Precision
from basicsr_entropy.models.networks import network_with_weights
from basicsr_entropy.models.options import process_and_condition, sampler_of
from basicsr_entropy.models.restore import restore

DTYPES: dict[str, Precision | None] = {'float32': None, 'bf16': 'bf16', 'fp16': 'fp16'}  # values of `Execution.amp`


class Enhancer:
    """Enhances images with a trained model; `from_pretrained` creates one from a model file.

    Sampling is deterministic: the noise of every image, alone or in a batch, is drawn from the same seed.

    Args:
        pretrained: Weights and the options of the model.
        sampler: Name of a sampler (see `SAMPLERS`); the model's default if None.
        steps: Network function evaluations per image, from 1 to T. If None, the model's default, or T if `sampler` is
            not the model's default sampler.
        tile: Tiling of images that are larger than a tile, a `Tiling` or its arguments; None never tiles.
        seed: Seed of the noise, from 0 to 2^63 - 1.
        device: Device of the network, such as 'cpu' or 'cuda:1'; a GPU if there is one, by default.
        self_ensemble: Test-time augmentation (x8): average predictions over the eight flips and rotations, at eight
            times the cost.
        dtype: 'float32', or 'bf16' or 'fp16' for autocast.
        channels_last: See `Execution`; on by default on CPUs, where it makes evaluations faster.
        compile: See `Execution`.

    Raises:
        KeyError: If an option is unknown or missing.
        ValueError: If an option is out of its range, torch cannot compute on the device, or the weights do not fit.

    Example:
        >>> import numpy as np
        >>> enhancer = Enhancer.from_pretrained('night_small', steps=1, device='cpu')
        >>> dark = np.full((48, 64, 3), 20, np.uint8)
        >>> bright = enhancer(dark)
        >>> bright.shape, bright.dtype
        ((48, 64, 3), dtype('uint8'))
        >>> bool(bright.mean() > dark.mean())
        True
    """

    def __init__(
        self,
        pretrained: Pretrained,
        *,
        sampler: SamplerType | None = None,
        steps: int | None = None,
        tile: Tiling | Mapping[str, Any] | None = Tiling(),  # noqa: B008  (it is frozen)
        seed: int = 0,
        device: str | torch.device | None = None,
        self_ensemble: bool = False,
        dtype: str = 'float32',
        channels_last: bool | None = None,
        compile: bool = False,
    ) -> None:
        check_choice('dtype', dtype, DTYPES)
        check_seed('seed', seed)
        self.device = _usable_device(device)
        process, self.condition = process_and_condition(pretrained.sde)
        self.process = process.to(self.device)
        self.own_sampler = pretrained.sampler
        self.sampler = self._with_steps(self._sampler(sampler), steps)
        self.tiling = construct(Tiling, tile, 'tile') if isinstance(tile, Mapping) else tile
        self.seed, self.self_ensemble = seed, self_ensemble

        self.net = network_with_weights(pretrained.network_g, pretrained.weights, 'the file', 'model')
        if self.tiling is not None:
            self.tiling.check_multiple(getattr(self.net, 'size_multiple', 1))  # once, and not for each image
        self.net.to(self.device).eval()
        if channels_last is None:
            channels_last = self.device.type == 'cpu'
        self.execution = Execution(DTYPES[dtype], channels_last, compile)
        self.execution.prepare(self.net)

    @property
    def steps(self) -> int:
        """Network function evaluations per image."""
        return len(self.sampler.timesteps(self.process)) - 1

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, options: str | Path | Mapping[str, Any] | None = None, **keywords: Any
    ) -> 'Enhancer':
        """Creates an enhancer from a model file.

        Args:
            path: A file that `write_pretrained` (`basicsr-entropy export`) wrote; a checkpoint of BasicSR or a bare
                state dict, together with `options`; or the name of a bundled model: 'night_small'.
            options: Option file of the model, or its content; overrides the options in the model file.
            **keywords: See `Enhancer`.

        Raises:
            FileNotFoundError: If there is no such file or bundled model.
            KeyError: If an option is unknown or missing.
            ValueError: If the file is damaged, its weights do not fit the network, or its options are missing.

        Example:
            >>> enhancer = Enhancer.from_pretrained('night_small', sampler='mr_ode', steps=4, device='cpu')
            >>> enhancer.device
            device(type='cpu')
        """
        if isinstance(options, (str, Path)):
            options = read_option_file(str(options))
        return cls(read_pretrained(path, options), **keywords)

    def changed(
        self, *, sampler: SamplerType | None = None, steps: int | None = None, seed: int | None = None
    ) -> 'Enhancer':
        """Returns an enhancer that shares this one's network but samples differently.

        Args:
            sampler: Name of a sampler; this enhancer's by default.
            steps: Network function evaluations per image; by default this enhancer's for its own sampler, and as in
                `Enhancer` for another.
            seed: Seed of the noise; this enhancer's by default.

        Raises:
            ValueError: If a value is unknown or out of its range.

        Example:
            >>> enhancer = Enhancer.from_pretrained('night_small')
            >>> other = enhancer.changed(steps=2, seed=7)
            >>> other.net is enhancer.net, other.seed
            (True, 7)
        """
        other = copy.copy(self)
        chosen = self.sampler if sampler in (None, self.sampler.type) else self._sampler(sampler)
        other.sampler = self._with_steps(chosen, steps)
        if seed is not None:
            check_seed('seed', seed)
            other.seed = seed
        return other

    def _sampler(self, sampler: SamplerType | None) -> Sampler:
        """The model's own sampler, or another with the default options."""
        own = sampler_of(self.own_sampler)
        if sampler is not None:
            check_choice('sampler', sampler, SAMPLERS)
        return own if sampler is None or sampler == own.type else Sampler(sampler)

    def _with_steps(self, sampler: Sampler, steps: int | None) -> Sampler:
        """The sampler with a number of steps, by default its own, or all of the process's timesteps."""
        steps = sampler.steps if steps is None else steps
        sampler = replace(sampler, steps=self.process.timesteps if steps is None else steps)
        sampler.timesteps(self.process)  # raises an error for too many
        if caution := sampler.caution(self.process):
            warnings.warn(caution, stacklevel=3)
        return sampler

    def __call__(
        self,
        image: ImageKind,
        callback: Callback | None = None,
        progress: bool = False,
        before_evaluation: Callable[[], None] | None = None,
    ) -> ImageKind:
        """Enhances an image.

        Args:
            image: PIL image, array or tensor; see `image_to_tensor`.
            callback: Called after each step of the reverse process; see `sample`.
            progress: Show a progress bar over the steps.
            before_evaluation: Called before each evaluation of the network; may raise an error to end the sampling.

        Returns:
            An image of the same kind, size and bit depth; alpha is kept, and gray stays gray.

        Raises:
            TypeError: If `image` is not an image.
            ValueError: If its shape, data type or range is not supported, or the result is not finite.

        Example:
            >>> from PIL import Image
            >>> enhancer = Enhancer.from_pretrained('night_small', steps=1, device='cpu')
            >>> enhancer(Image.new('L', (64, 48), 20)).size
            (64, 48)
        """
        rgb, convert_back = image_to_tensor(image)
        restored = restore(
            self.process,
            self.net,
            rgb.to(self.device),
            condition=self.condition,
            seed=self.seed,
            tiling=self.tiling,
            execution=self.execution,
            self_ensemble=self.self_ensemble,
            callback=callback,
            progress=progress,
            before_evaluation=before_evaluation,
            sampler=self.sampler,
        )
        if not restored.isfinite().all():  # it would become black pixels
            remedy = '' if self.execution.amp is None else f"; {self.execution.amp} may overflow: try dtype='float32'"
            raise ValueError(f'the output of the model holds NaN or infinite values{remedy}')
        return convert_back(restored)


def _usable_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        zero = torch.zeros((), device=device)
        zero.item()  # fails on 'meta', whose tensors have no values
        return zero.device
    except (RuntimeError, AssertionError, ImportError) as error:  # which one depends on the build of torch
        # of CUDA, torch says what is wrong; of other devices, it lists its backends at length
        reason = f': {first_line(error)}' if str(device).startswith('cuda') else ''
        usable = 'cpu or cuda' if torch.cuda.is_available() else 'cpu'
        raise ValueError(f"device: torch cannot compute on '{device}' here{reason}; use {usable}") from error
