"""Training and sampling of a mean-reverting diffusion model in BasicSR's model interface."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import reduce
from operator import add
from os import path as osp
from pathlib import Path
from typing import Any

import cv2
import mmengine.dist
import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from basicsr_entropy.entropy import MAP_MAXIMUM, detail_distance
from basicsr_entropy.losses import build_loss, call_loss
from basicsr_entropy.metrics.full_reference import measurable
from basicsr_entropy.models.complexity import complexity
from basicsr_entropy.models.logged_losses import with_mixed_terms
from basicsr_entropy.models.networks import check_conditional_network
from basicsr_entropy.models.optimizers import OPTIMIZERS, build_optimizer, optimizer_class
from basicsr_entropy.models.options import IRSDEOptions, LossKeys
from basicsr_entropy.models.progressive_model import ProgressiveCrop
from basicsr_entropy.models.restore import restore
from basicsr_entropy.models.results import ImageResult, distinct_names
from basicsr_entropy.models.weights import load_weights, read_named_weights

GRADIENT = 'gradient'  # name of the gradient's norm among the values of a step
LOGGED_IMAGES = 4  # of each validation, in TensorBoard


class IRSDEModel(SRModel):
    """Mean-reverting diffusion model (IR-SDE, Luo et al., ICML 2023; Refusion, CVPRW 2023), with any losses.

    A training step draws a timestep and a state x_t of the process for each image, evaluates the network, and compares
    what its prediction implies with the ground truth, under every loss of the option file. Validation samples.

    The options are those of `IRSDEOptions`, and of `CropSchedule` for the training dataset. Every train.<name>_opt is
    a registered loss, logged as l_<name>; its key `compare` selects what it compares, see `LossKeys`.

    Attributes:
        not_finite: What was not finite in the last training step, which then moved nothing: names of losses, and
            `GRADIENT`.
    """

    OPTIONS = IRSDEOptions
    OPTIMIZERS = OPTIMIZERS
    optimizer_class = staticmethod(optimizer_class)
    SUPPORTS_PROGRESSIVE_CROPS = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.options = IRSDEOptions.of(opt)
        self.process, self.condition = self.options.process_and_condition()
        self.tiling = self.options.tiling()
        self.sampler, self.execution = self.options.sampler_options.sampler(), self.options.execution()
        check_conditional_network(opt['network_g'], 'network_g')
        super().__init__(opt)
        self.process.to(self.device)
        self._log_complexity()  # before compilation, which cannot be traced
        for net in filter(None, (self.get_bare_model(self.net_g), getattr(self, 'net_g_ema', None))):
            self.execution.prepare(net)

    def print_network(self, net: nn.Module) -> None:
        """Prints nothing: the layers of such a deep network fill pages, and `_log_complexity` counts its parameters."""

    @master_only
    def _log_complexity(self) -> None:
        """Logs the parameters of the network and the FLOPs of one evaluation."""
        channels = self.opt['network_g'].get('img_channel', self.opt['network_g'].get('in_nc', 3))
        get_root_logger().info(complexity(self.get_bare_model(self.net_g), channels, self.device))

    # Training

    def init_training_settings(self) -> None:
        self.net_g.train()
        training = self.options.training
        self.ema_decay = training.ema_decay
        if self.ema_decay > 0:
            get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
            self.net_g_ema = build_network(self.opt['network_g']).to(self.device)
            path = self.opt['path'].get('pretrain_network_g')
            if path is not None:
                self.load_network(self.net_g_ema, path, self.opt['path'].get('strict_load_g', True), 'params_ema')
            else:
                self.model_ema(0)
            self.net_g_ema.eval()
        self.grad_clip_norm, self.accumulate = training.grad_clip_norm, training.accumulate
        self.not_finite: list[str] = []
        self.progressive_crop = ProgressiveCrop(self.opt['datasets']['train'])
        self._build_losses(self.opt['train'])
        self.setup_optimizers()
        self.setup_schedulers()
        # keeps fp16 gradients from underflow; without fp16 it changes nothing
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.execution.amp == 'fp16')

    def _build_losses(self, train_opt: Mapping[str, Any]) -> None:
        """Builds the loss of every train.<name>_opt, and notes what each compares."""
        self.losses = nn.ModuleDict()
        self.compared: dict[str, str] = {}
        for key, options in train_opt.items():
            if not key.endswith('_opt') or options is None:
                continue
            name, path = key.removesuffix('_opt'), f'train.{key}'
            keys = LossKeys.read({key: value for key, value in options.items() if key in LossKeys.model_fields}, path)
            arguments = {key: value for key, value in options.items() if key not in LossKeys.model_fields}
            self.losses[name] = build_loss(arguments, path)
            self.compared[name] = keys.compare
            get_root_logger().info(f'Loss l_{name}: {options["type"]} on {keys.compare}')
        if not self.losses:
            raise ValueError(
                'train: no loss; add one as train.<name>_opt, e.g. entropy_opt: {type: SpatialEntropyLoss}'
            )
        self.losses.to(self.device)

    def get_optimizer(self, optim_type: str, params: Iterable[Any], lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """An optimizer by its name in `OPTIMIZERS`."""
        return build_optimizer(optim_type, params, 'train.optim_g', lr=lr, **kwargs)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        super().feed_data(data)
        if 'gt' not in data:
            self.__dict__.pop('gt', None)  # that of an earlier batch
        histogram = data.get('lq_histogram')
        self.histogram = None if histogram is None else histogram.to(self.device)

    def optimize_parameters(self, current_iter: int) -> None:
        """A training step on the batch, in `train.accumulate` parts; one that is not finite moves nothing."""
        drawn = self._draw(current_iter)
        self.optimizer_g.zero_grad()
        logged = self._backward(drawn)
        self.scaler.unscale_(self.optimizer_g)
        gradients = [each.grad for each in self.net_g.parameters() if each.grad is not None]
        logged[GRADIENT] = nn.utils.get_total_norm(gradients)
        # the one look at values of the device in a step: it comes before the weights move
        self.log_dict = self.reduce_loss_dict(logged)
        self.not_finite = [name for name, value in self.log_dict.items() if not math.isfinite(value)]
        del self.log_dict[GRADIENT]
        if not self.not_finite:
            self._update_weights(logged[GRADIENT], current_iter)
        elif self.scaler.is_enabled():
            scale = self.scaler.get_scale()
            self.scaler.update()
            if self.not_finite == [GRADIENT] and 1 < self.scaler.get_scale() < scale:
                self.not_finite = []  # an overflow in fp16, which the lower scale is for

    def _draw(self, current_iter: int) -> tuple[torch.Tensor, ...]:
        """The batch as x0 and mu, with a timestep for each image and noise."""
        lq, x0 = self.progressive_crop.crop(self.lq, self.gt, current_iter)
        if self.condition.lift == 'auto' and self.histogram is None:
            raise ValueError(
                'sde.condition.lift: auto needs the histogram of each whole image, which LowLightPairedDataset and '
                'SyntheticLowLightDataset give beside their crops; use lift: gamma with other datasets'
            )
        mu = self.condition(lq, None if self.histogram is None else self.histogram[: len(lq)])
        # from torch's own generators, which manual_seed seeds
        t = torch.randint(1, self.process.timesteps + 1, (x0.shape[0],), device=self.device)
        return x0, mu, t, torch.randn_like(x0)

    def _backward(self, drawn: tuple[torch.Tensor, ...]) -> OrderedDict[str, torch.Tensor]:
        """Adds up the gradients of the batch's parts; returns the means of the losses over them."""
        size = len(drawn[0])
        chunks = list(zip(*(each.split(math.ceil(size / self.accumulate)) for each in drawn)))
        logged: OrderedDict[str, torch.Tensor] = OrderedDict()
        for index, chunk in enumerate(chunks):
            # the processes of a distributed run add their gradients up once, after the last part
            unsynchronized = getattr(self.net_g, 'no_sync', nullcontext) if index + 1 < len(chunks) else nullcontext
            with unsynchronized():
                losses = self._losses_of(*chunk)
                share = len(chunk[0]) / size
                total = reduce(add, losses.values())
                self.scaler.scale(total if share == 1 else share * total).backward()
            for name, value in with_mixed_terms(self, losses).items():
                value = value.detach() if share == 1 else share * value.detach()
                logged[name] = logged[name] + value if name in logged else value
        return logged

    def _update_weights(self, gradient_norm: torch.Tensor, current_iter: int) -> None:
        if self.grad_clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.net_g.parameters(), self.grad_clip_norm, gradient_norm)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if self.ema_decay > 0:
            self.model_ema(self._ema_decay_at(current_iter))

    def _losses_of(
        self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor
    ) -> OrderedDict[str, torch.Tensor]:
        """Value of every loss, by the name under which it is logged."""
        x_t = self.process.q_sample(x0, mu, t, noise)
        prediction = self.execution.wrap(self.net_g)(x_t, mu, t)
        pairs = self._compared_pairs(x0, mu, t, noise, x_t, prediction)
        losses: OrderedDict[str, torch.Tensor] = OrderedDict()
        for name, loss in self.losses.items():
            pair = pairs[self.compared[name]]
            try:
                terms = call_loss(loss, *pair)
            except ValueError:
                if all(bool(torch.isfinite(each).all()) for each in pair):
                    raise
                terms = {'': pair[0].sum() * math.nan}  # some losses refuse images that are not finite
            losses |= {f'l_{name}{suffix}': value for suffix, value in terms.items()}
        return losses

    def reduce_loss_dict(self, loss_dict: Mapping[str, torch.Tensor]) -> OrderedDict[str, float]:
        """Means of logged values over the processes, on all of them, with one transfer from the device."""
        values = torch.stack([each.detach().float().mean() for each in loss_dict.values()])
        if self.opt['dist']:
            torch.distributed.all_reduce(values)
            values /= self.opt['world_size']
        return OrderedDict(zip(loss_dict, values.tolist()))

    def _ema_decay_at(self, current_iter: int) -> float:
        """Decay of the EMA weights; a warm-up keeps them from remembering the first weights for long."""
        if not self.options.training.ema_warmup:
            return self.ema_decay
        return min(self.ema_decay, (1 + current_iter) / (10 + current_iter))

    def _compared_pairs(
        self,
        x0: torch.Tensor,
        mu: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
        x_t: torch.Tensor,
        prediction: torch.Tensor,
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """(pred, target) of each quantity that a loss compares."""
        process, wanted = self.process, set(self.compared.values())
        pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        if 'state' in wanted:
            predicted_noise = process.predicted_noise(x_t, mu, t, prediction)
            pairs['state'] = (
                process.reverse_sde_mean(x_t, mu, t, predicted_noise),
                process.posterior_mean(x_t, x0, mu, t),
            )
        if 'x0' in wanted:
            pairs['x0'] = process.predicted_x0(x_t, mu, t, prediction), x0
        if 'noise' in wanted:
            pairs['noise'] = process.predicted_noise(x_t, mu, t, prediction), noise
        return pairs

    # Sampling

    def test(self) -> None:
        """Samples `output` from `lq`, with the EMA weights if there are any."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        sampling = self.options.sampler_options
        self.output = restore(
            self.process,
            net,
            self.lq,
            condition=self.condition,
            sampler=self.sampler,
            seed=sampling.seed,
            tiling=self.tiling,
            execution=self.execution,
            self_ensemble=self.options.val is not None and self.options.val.self_ensemble,
            progress=sampling.progress,
        )
        net.train(training)

    def validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool = False
    ) -> list[ImageResult] | None:
        """Samples, saves and measures each image; in a distributed run the images are divided among the processes.

        Args:
            dataloader: Loader of the dataset; only its dataset is used.
            current_iter: Iteration, or the name of the test.
            tb_logger: TensorBoard writer or None.
            save_img: Whether to write the outputs under path.visualization.

        Returns:
            On rank 0, the results of all images in the order of the dataset; None on the other ranks.
        """
        dataset: Any = dataloader.dataset  # has a length, and its options in `opt`
        val_opt = self.opt['val']
        rank, world_size = get_dist_info()
        own = Subset(dataset, range(rank, len(dataset), world_size))
        results: list[ImageResult] = []
        file_names = distinct_names(dataset)
        quiet = rank != 0 or not val_opt.get('pbar')
        for data in tqdm(DataLoader(own), desc=f'Test {dataset.opt["name"]}', unit='image', disable=quiet):
            self.feed_data(data)
            self.test()
            visuals = self.get_current_visuals()
            images = {'img': tensor2img([visuals['result']])}
            if 'gt' in visuals:
                images['img2'] = tensor2img([visuals['gt']])
                del self.gt
            del self.lq, self.output
            name, output = Path(data['lq_path'][0]).stem, None
            if tb_logger is not None and len(results) < LOGGED_IMAGES:
                strip = _picture(tensor2img([visuals['lq']]), **images)
                tb_logger.add_image(f'{dataset.opt["name"]}/{name}', strip, current_iter, dataformats='HWC')
            if save_img:
                output = self._output_path(dataset.opt['name'], file_names.get(data['lq_path'][0], name), current_iter)
                imwrite(images['img'], output)
            results.append(ImageResult(name, output, self._measure(images)))

        results = mmengine.dist.collect_results(results, len(dataset), device='gpu')
        if rank == 0 and val_opt.get('metrics'):
            self._record([each.metrics for each in results], dataset.opt['name'], current_iter, tb_logger)
            if absent := val_opt['metrics'].keys() - self.metric_results.keys():
                name, metrics = dataset.opt['name'], ', '.join(sorted(absent))
                get_root_logger().warning(f"dataset '{name}' has no ground truth: {metrics} not measured")
        return results

    def _output_path(self, dataset_name: str, image_name: str, current_iter: int | str) -> str:
        """Path of the output of an image, the same as in SRModel but for several validation datasets."""
        folder = self.opt['path']['visualization']
        if self.opt['is_train']:
            if sum(key.startswith('val') for key in self.opt['datasets']) > 1:
                folder = osp.join(folder, dataset_name)
            return osp.join(folder, image_name, f'{image_name}_{current_iter}.png')
        return osp.join(folder, dataset_name, f'{image_name}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')

    def _measure(self, images: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of an output; without ground truth those that need none."""
        metrics = measurable(self.opt['val'].get('metrics') or {}, 'img2' in images)
        for name, options in metrics.items():
            if 2 * options.get('crop_border', 0) >= min(images['img'].shape[:2]):
                size = 'x'.join(map(str, images['img'].shape[1::-1]))
                raise ValueError(f'val.metrics.{name}.crop_border: leaves nothing of an image of {size}')
        return {name: float(calculate_metric(images, options)) for name, options in metrics.items()}

    def _record(
        self, measured: list[dict[str, float]], dataset_name: str, current_iter: int | str, tb_logger: Any
    ) -> None:
        """Logs the mean metrics, and keeps them and the best ones as SRModel does."""
        self._initialize_best_metric_results(dataset_name)
        self.metric_results = {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset_name, name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    # Checkpoints

    def further_state(self) -> dict[str, Any]:
        """What a training state holds of this model beside BasicSR's own content."""
        return {'scaler': self.scaler.state_dict()}

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        super().resume_training(resume_state)
        if resume_state.get('scaler') and self.scaler.is_enabled():
            self.scaler.load_state_dict(resume_state['scaler'])

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Loads weights that BasicSR saved, or a bare state dict; see `models.weights.read_weights`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no state dict, or one that does not fit while `strict`.
        """
        net, logger = self.get_bare_model(net), get_root_logger()
        taken, weights = read_named_weights(load_path, param_key)
        mismatches = load_weights(net, weights, load_path, strict)
        logger.info(f'Loaded {type(net).__name__} from {load_path}{f", {taken}" if taken else ""}')
        if taken is not None and param_key is not None and taken != param_key and not self.is_train:
            logger.warning(f'{load_path} holds no {param_key}: its {taken} are used')
        for mismatch in mismatches:
            logger.warning(f'{load_path}: {mismatch}')


def _picture(lq: np.ndarray, img: np.ndarray, img2: np.ndarray | None = None) -> np.ndarray:
    """Low-light image and output, and ground truth and a map of their distance where there is one, side by side.

    Args:
        lq: Low-light image, uint8 of shape (H, W, 3), BGR, or (H, W), as the others.
        img: Output.
        img2: Ground truth.

    Returns:
        uint8 of shape (H, 2 W or 4 W, 3), RGB.
    """
    columns = [_in_color(each) for each in (lq, img, img2) if each is not None]
    if img2 is not None:
        pair = [torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in columns[1:]]
        distance = detail_distance(*pair)[0] / MAP_MAXIMUM
        columns.append(cv2.applyColorMap((255 * distance.clamp(0, 1)).byte().numpy(), cv2.COLORMAP_MAGMA))
    return np.hstack(columns)[..., ::-1]


def _in_color(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
