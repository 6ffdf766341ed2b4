"""Progressive training: small crops first, larger ones later (Restormer, Zamir et al., CVPR 2022).

BasicSR does not tell a dataset the iteration: its sampler knows the epoch only, workers prefetch, and a resumed run
starts its epoch anew. A model is told the iteration of every step, also after a resume and in every process. So the
dataset makes the largest crops, and the model crops each batch to the size of its iteration.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from basicsr.models.sr_model import SRModel

from basicsr_entropy.config import CropPhases


class ProgressiveCrop:
    """Crop and batch sizes over the iterations; see `CropSchedule` for the options.

    Args:
        opt: Options of the training dataset, gt_sizes, iters, mini_batch_sizes, batch_size_per_gpu and scale among
            them; without gt_sizes batches stay as they are.
        path: Where they stand in the option file, for errors.

    Raises:
        KeyError: If iters is missing.
        ValueError: If the lists do not fit together, or a size is no multiple of scale.
    """

    def __init__(self, opt: Mapping[str, Any], path: str = 'datasets.train') -> None:
        options = CropPhases.read({key: opt[key] for key in CropPhases.model_fields if key in opt}, path)
        self.sizes = options.gt_sizes
        if self.sizes is None:
            return
        self.full = options.batch_size_per_gpu
        self.counts = options.mini_batch_sizes or [self.full] * len(self.sizes)
        self.ends = list(accumulate(options.iters or ()))  # `CropPhases` requires them with gt_sizes
        scale = opt.get('scale', 1)
        for size in self.sizes:
            if size % scale:
                raise ValueError(f'{path}.gt_sizes: {size} is no multiple of scale, {scale}')

    def crop(self, lq: torch.Tensor, gt: torch.Tensor, current_iter: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops a batch to the size and number of images of an iteration.

        Args:
            lq: (N, C, h, w).
            gt: (N, C, H, W), H and W a multiple of h and w.
            current_iter: Counted from 1.

        Returns:
            lq and gt, cropped at one random position, drawn from torch's own generator. The first images are kept,
            since a batch is in random order.
        """
        if self.sizes is None:
            return lq, gt
        phase = min(sum(current_iter > end for end in self.ends), len(self.sizes) - 1)
        # several GPUs of one process share a batch
        count, scale = max(1, len(gt) * self.counts[phase] // self.full), gt.shape[-1] // lq.shape[-1]
        size = self.sizes[phase] // scale
        lq, gt = lq[:count], gt[:count]
        height, width = lq.shape[-2:]
        if size >= min(height, width):
            return lq, gt
        top, left = (int(torch.randint(room + 1, ())) for room in (height - size, width - size))
        lq = lq[..., top : top + size, left : left + size]
        return lq, gt[..., top * scale : (top + size) * scale, left * scale : (left + size) * scale]


class ProgressiveSRModel(SRModel):
    """BasicSR's SRModel with training crops that grow; see `ProgressiveCrop`."""

    SUPPORTS_PROGRESSIVE_CROPS = True

    lq: torch.Tensor
    gt: torch.Tensor

    def init_training_settings(self) -> None:
        super().init_training_settings()
        self.progressive_crop = ProgressiveCrop(self.opt['datasets']['train'])

    def optimize_parameters(self, current_iter: int) -> None:
        self.lq, self.gt = self.progressive_crop.crop(self.lq, self.gt, current_iter)
        super().optimize_parameters(current_iter)
