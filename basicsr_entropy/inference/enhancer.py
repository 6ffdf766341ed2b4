"""A trained model as a function from images to images."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY

from basicsr_entropy._checks import check_choice
from basicsr_entropy._errors import first_line
from basicsr_entropy._registry import build, check_arguments
from basicsr_entropy.config import read_option_file
from basicsr_entropy.diffusion import MeanRevertingSDE, spaced_times, step_of
from basicsr_entropy.diffusion.tiling import Tiling
from basicsr_entropy.inference.images import Picture, unpack
from basicsr_entropy.inference.pretrained import Pretrained, read_pretrained
from basicsr_entropy.models.execution import Speed
from basicsr_entropy.models.sampling import check_seed, restore
from basicsr_entropy.models.weights import load_weights

DTYPES = {'float32': None, 'bf16': 'bf16', 'fp16': 'fp16'}  # to amp


class Enhancer:
    """Enhances images with a trained model; make one with `from_pretrained`.

        enhancer = Enhancer.from_pretrained('night_small', steps=8)
        bright = enhancer(Image.open('night.jpg'))

    The same image gives the same result every time: each begins with the same seed.

    Args:
        pretrained: Weights and their options.
        sampler: Name of a sampler; the model's own by default.
        steps: Network evaluations an image; by default the model's own for its own sampler, else all T times.
        tile: How images larger than a tile are sampled, a `Tiling` or its arguments; None samples all images whole.
        seed: Of the noise.
        device: Where to compute; the GPU if there is one, by default.
        self_ensemble: Average predictions over eight turned and mirrored views, at eight times the cost.
        dtype: 'float32', or 'bf16' or 'fp16' for autocast.
        channels_last: See `Speed`; on CPUs by default, where evaluations are then faster.
        compile: See `Speed`.

    Raises:
        KeyError, ValueError: If an option is unknown or out of its range, or torch cannot compute on the device.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        tile: Tiling | Mapping[str, Any] | None = Tiling(),  # noqa: B008  (it is frozen)
        seed: int = 0,
        device: str | torch.device | None = None,
        self_ensemble: bool = False,
        dtype: str = 'float32',
        channels_last: bool | None = None,
        compile: bool = False,
    ) -> None:
        check_arguments(MeanRevertingSDE, pretrained.sde, 'sde')
        check_choice('dtype', dtype, DTYPES)
        check_seed('seed', seed)
        self.device = _usable_device(device)
        self.process = MeanRevertingSDE(**pretrained.sde).to(self.device)
        self.own_sampler = pretrained.sampler
        self.sampling = self._sampling(sampler, steps)
        if isinstance(tile, Mapping):
            check_arguments(Tiling, tile, 'tile')
            tile = Tiling(**tile)
        self.tile, self.seed, self.self_ensemble = tile, seed, self_ensemble

        self.net = build(ARCH_REGISTRY, pretrained.network_g, 'network_g')
        load_weights(self.net, pretrained.weights, 'the model', option='model')
        self.net.to(self.device).eval()
        if channels_last is None:
            channels_last = self.device.type == 'cpu'
        self.speed = Speed(DTYPES[dtype], channels_last, compile)
        self.speed.prepare(self.net)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, options: str | Path | Mapping[str, Any] | None = None, **keywords: Any
    ) -> 'Enhancer':
        """An enhancer of a model file.

        Args:
            path: What `basicsr-entropy export` wrote; or weights, as BasicSR saves them or bare, with `options`; or the
                name of a model that comes with the package, 'night_small'.
            options: Option file, or its content; taken before those in the model file.
            **keywords: See `Enhancer`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, its weights do not fit, or its options are missing.
        """
        if isinstance(options, (str, Path)):
            options = read_option_file(str(options))
        return cls(read_pretrained(path, options), **keywords)

    def changed(self, *, sampler: str | None = None, steps: int | None = None, seed: int | None = None) -> 'Enhancer':
        """An enhancer with the same network in memory, and another sampler, number of steps or seed.

        Args:
            sampler: See `Enhancer`; None for the model's own, as there.
            steps: See `Enhancer`.
            seed: This one's by default.

        Raises:
            ValueError: If an option is unknown or out of its range.
        """
        other = copy.copy(self)
        other.sampling = self._sampling(sampler, steps)
        if seed is not None:
            check_seed('seed', seed)
            other.seed = seed
        return other

    def _sampling(self, sampler: str | None, steps: int | None) -> dict[str, Any]:
        """Keywords of `sample`: the model's own, less what another sampler would not understand."""
        own = self.own_sampler
        if sampler not in (None, own.get('type', 'posterior')):
            own = {}
        sampling = {**own, 'sampler': sampler or own.get('type', 'posterior')}
        sampling.pop('type', None)
        steps = own.get('steps') if steps is None else steps
        sampling['steps'] = self.process.timesteps if steps is None else steps
        step_of(sampling['sampler'], sampling.get('order'), sampling.get('form'))
        spaced_times(self.process, sampling['steps'], sampling.get('spacing') or 'trailing')
        return sampling

    def __call__(
        self,
        image: Picture,
        callback: Callable[[int, float, torch.Tensor, torch.Tensor], None] | None = None,
        progress: bool = False,
    ) -> Picture:
        """Enhances an image.

        Args:
            image: PIL image, array or tensor; see `unpack`.
            callback: Called after each step of the reverse process; see `sample`.
            progress: Show a progress bar over the steps.

        Returns:
            An image of the same kind, size and depth.

        Raises:
            TypeError, ValueError: If it is no image.
        """
        rgb, pack = unpack(image)
        restored = restore(
            self.process,
            self.net,
            rgb.to(self.device),
            seed=self.seed,
            tile=self.tile,
            speed=self.speed,
            self_ensemble=self.self_ensemble,
            callback=callback,
            progress=progress,
            **self.sampling,
        )
        return pack(restored)


def _usable_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        return torch.zeros((), device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # builds of torch differ in which
        raise ValueError(f"device: torch cannot compute on '{device}' here: {first_line(error)}") from error
