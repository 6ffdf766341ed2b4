"""Local spatial divergence in plain torch: exact, on any device and in any float type, with low memory use.

The joint density of value and neighbor value has L * L bins at every pixel. It is never materialized: planes are split
into strips of rows, and the bins of a strip are processed in blocks. The bins of a pixel are an outer product, window
sums are sums of shifted copies, and the gradient is computed analytically in a second pass over the blocks.

Strips are stored flat, with `radius` zero pixels after each row and `radius` zero rows above and below, so that a shift
in either direction is a shift along one contiguous axis. Values in the padding never contribute to a result.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from basicsr_entropy.entropy.backends.operators import Settings, differentiable, operator
from basicsr_entropy.entropy.divergences import FUNCTIONALS, Divergence
from basicsr_entropy.entropy.kernels import KERNELS, level_densities, level_density_slopes


class Budget(NamedTuple):
    """Amount of data that is processed at once.

    Attributes:
        strip_pixels: Pixels of a strip, over all of its planes.
        block_elements: Elements of a block of bins, pixels times bins.
    """

    strip_pixels: int
    block_elements: int


CPU_BUDGET = Budget(8192, 2**18)  # a block of float32 is 1 MB, which fits into the cache
GPU_BUDGET = Budget(2**20, 2**25)  # few kernel launches; a block of float32 is 128 MB


def _budget(device: torch.device) -> Budget:
    return CPU_BUDGET if device.type == 'cpu' else GPU_BUDGET


def local_divergence(
    images: Sequence[torch.Tensor], bandwidth: torch.Tensor, scale: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """Divergence of local joint densities at every pixel, averaged over windows; has derivatives of any order.

    Args:
        images: Values and neighbor values of the prediction, then of the target, in levels: (P, H, W) each, with one
            plane per image and channel. The result is differentiated w.r.t. the prediction's.
        bandwidth: Bandwidth of each plane in levels, shape (P, 1).
        scale: Factor of the product of a value's and a neighbor's kernel density in each plane, shape (P, 1).
        settings: How the densities are estimated and compared.

    Returns:
        Map of shape (P, H, W).
    """
    return _divergence(*images, bandwidth, scale, *settings)[0]


@operator('eager', returns='(Tensor, Tensor)')
def divergence_operator(tensors: Sequence[torch.Tensor], settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """The map, and the sums of the terms (windows, P, H, W), from which the gradient is computed."""
    *images, bandwidth, scale = tensors
    divergence = FUNCTIONALS[settings.divergence]
    totals = images[0].new_empty(len(settings.radii), *images[0].shape)
    for strip in _strips(images, bandwidth, scale, settings):
        strip.sum_terms(divergence, totals)
    return divergence.finish(totals).mean(dim=0), totals


@operator('eager_gradient', returns='(Tensor, Tensor)', further=('totals', 'upstream'))
def gradient_operator(tensors: Sequence[torch.Tensor], settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of the map w.r.t. the prediction's values and neighbor values, for an upstream gradient."""
    *images, bandwidth, scale, totals, upstream = tensors
    divergence = FUNCTIONALS[settings.divergence]
    grad_totals = divergence.finish_slope(totals) * upstream
    for grad_total, area in zip(grad_totals, settings.areas):
        grad_total /= len(grad_totals) * area
    grad_value, grad_neighbor = (images[0].new_zeros(images[0].shape) for _ in range(2))
    for strip in _strips(images, bandwidth, scale, settings):
        strip.add_gradients(divergence, grad_totals, grad_value, grad_neighbor)
    return grad_value, grad_neighbor


@divergence_operator.register_fake
def _(pred_value: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    radii = Settings(*arguments[-len(Settings._fields) :]).radii
    return pred_value.new_empty(pred_value.shape), pred_value.new_empty(len(radii), *pred_value.shape)


@gradient_operator.register_fake
def _(pred_value: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return pred_value.new_empty(pred_value.shape), pred_value.new_empty(pred_value.shape)


def _divergence_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs[:6], output[1])
    ctx.settings = inputs[6:]


def _divergence_backward(ctx: Any, upstream: torch.Tensor, _: Any) -> tuple[Any, ...]:
    gradients = _gradient(*ctx.saved_tensors, upstream, *ctx.settings)
    return *gradients, *[None] * (4 + len(ctx.settings))


def _gradient_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:6], inputs[7])
    ctx.settings = inputs[8:]


def _gradient_backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
    *images, bandwidth, scale, upstream = ctx.saved_tensors
    settings = Settings(*ctx.settings)

    def gradient(
        value: torch.Tensor, neighbor: torch.Tensor, upstream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def formula(value: torch.Tensor, neighbor: torch.Tensor) -> torch.Tensor:
            return _formula((value, neighbor, *images[2:]), bandwidth, scale, settings)

        return torch.func.vjp(formula, value, neighbor)[1](upstream)

    grad_value, grad_neighbor, grad_upstream = torch.func.vjp(gradient, *images[:2], upstream)[1](grads)
    return grad_value, grad_neighbor, *[None] * 5, grad_upstream, *[None] * len(settings)


_divergence = differentiable(divergence_operator, _divergence_context, _divergence_backward)
_gradient = differentiable(gradient_operator, _gradient_context, _gradient_backward)


def _formula(
    images: Sequence[torch.Tensor], bandwidth: torch.Tensor, scale: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """The map by autograd alone, for derivatives of higher order; autograd keeps all bins of all pixels in memory."""
    divergence, shape = FUNCTIONALS[settings.divergence], images[0].shape
    q_value, q_neighbor, p_value, p_neighbor = (
        level_densities(image.flatten(1), bandwidth, KERNELS[settings.kernel], settings.levels, settings.unit_mass)
        for image in images
    )
    q_value, p_value = q_value * scale[:, None], p_value * scale[:, None]
    sums = [torch.zeros_like(images[0]) for _ in settings.radii]
    for level in range(settings.levels):
        p, q = (
            (value[:, level, None] * neighbor).view(shape[0], settings.levels, *shape[1:])
            for value, neighbor in ((p_value, p_neighbor), (q_value, q_neighbor))
        )
        for k, (radius, area) in enumerate(zip(settings.radii, settings.areas)):
            p_sum, q_sum = (F.avg_pool2d(each, 2 * radius + 1, 1, radius, divisor_override=1) for each in (p, q))
            sums[k] = sums[k] + divergence.differentiable_term(p_sum, q_sum, area).sum(dim=1) / area
    return divergence.finish(torch.stack(sums)).mean(dim=0)


def _strips(
    images: Sequence[torch.Tensor], bandwidth: torch.Tensor, scale: torch.Tensor, settings: Settings
) -> Iterator['_Strip']:
    planes, height, width = images[0].shape
    radius = settings.radii[-1]
    stride, pixels = width + radius, _budget(images[0].device).strip_pixels
    rows = min(height, max(4 * radius + 1, pixels // stride))
    planes_per_strip = max(1, pixels // (stride * (rows + 2 * radius)))
    for first_plane in range(0, planes, planes_per_strip):
        for first_row in range(0, height, rows):
            yield _Strip(
                images,
                bandwidth,
                scale,
                settings,
                slice(first_plane, min(first_plane + planes_per_strip, planes)),
                slice(first_row, min(first_row + rows, height)),
            )


class _Strip:
    """Some rows of some planes, together with the rows around them that their windows reach."""

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        bandwidth: torch.Tensor,
        scale: torch.Tensor,
        settings: Settings,
        planes: slice,
        rows: slice,
    ) -> None:
        height, self.width = images[0].shape[1:]
        self.settings, self.planes, self.rows = settings, planes, rows
        self.radius = radius = settings.radii[-1]
        self.stride = self.width + radius
        # rows to read, and the number of rows above and below the strip that lie outside the image
        self.reach = slice(max(rows.start - radius, 0), min(rows.stop + radius, height))
        self.above, self.below = self.reach.start - (rows.start - radius), rows.stop + radius - self.reach.stop
        self.bandwidth = bandwidth[planes]
        self.values = [self._flat(image[planes, self.reach]) for image in images]
        self.inside = self._flat(torch.ones_like(images[0][planes, self.reach]))[:, None]
        self.inside *= scale[planes][:, None]

    def _flat(self, rows: torch.Tensor) -> torch.Tensor:
        """(P, rows read, W) -> (P, M), with zeros in the padding."""
        return F.pad(rows, (0, self.radius, self.above, self.below)).flatten(1)

    def _unflat(self, flat: torch.Tensor) -> torch.Tensor:
        """(..., M) -> (..., rows of the strip with its padding, W)."""
        return flat.unflatten(-1, (-1, self.stride))[..., : self.width]

    def _densities(self, values: torch.Tensor) -> torch.Tensor:
        settings = self.settings
        return level_densities(values, self.bandwidth, KERNELS[settings.kernel], settings.levels, settings.unit_mass)

    def _density_slopes(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        settings = self.settings
        return level_density_slopes(
            values, self.bandwidth, KERNELS[settings.kernel], settings.levels, settings.unit_mass
        )

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Blocks of bins, as slices of value levels and of neighbor levels, which cover all bins."""
        levels, pixels = self.settings.levels, self.values[0].numel()
        elements = _budget(self.values[0].device).block_elements
        neighbor_step = max(1, min(levels, elements // pixels))
        value_step = max(1, min(levels, elements // (pixels * neighbor_step)))
        for i in range(0, levels, value_step):
            for j in range(0, levels, neighbor_step):
                yield slice(i, i + value_step), slice(j, j + neighbor_step)

    def sum_terms(self, divergence: Divergence, totals: torch.Tensor) -> None:
        """Writes the sum of the per-bin terms into totals (windows, P, H, W), for the strip's own rows."""
        q_value, q_neighbor, p_value, p_neighbor = map(self._densities, self.values)
        q_value, p_value = q_value * self.inside, p_value * self.inside
        sums = [torch.zeros_like(self.values[0]) for _ in self.settings.areas]
        for i, j in self._blocks():
            p, q = _outer(p_value[:, i], p_neighbor[:, j]), _outer(q_value[:, i], q_neighbor[:, j])
            for k, (area, p_sum, q_sum) in enumerate(self._window_sums(p, q)):
                sums[k] += divergence.term(p_sum, q_sum, area).sum(dim=(1, 2)) / area
        radius = self.radius
        for k, total in enumerate(sums):
            rows = self._unflat(total)
            totals[k, self.planes, self.rows] = rows[:, radius : rows.shape[1] - radius]

    def add_gradients(
        self,
        divergence: Divergence,
        grad_totals: torch.Tensor,
        grad_value: torch.Tensor,
        grad_neighbor: torch.Tensor,
    ) -> None:
        """Backpropagates the strip's own rows of grad_totals (windows, P, H, W) to all values in their windows."""
        radius = self.radius
        grads = F.pad(grad_totals[:, self.planes, self.rows], (0, radius, radius, radius)).flatten(2)
        (q_value, q_value_slope), (q_neighbor, q_neighbor_slope) = map(self._density_slopes, self.values[:2])
        p_value, p_neighbor = map(self._densities, self.values[2:])
        q_value, q_value_slope, p_value = (each * self.inside for each in (q_value, q_value_slope, p_value))
        to_value, to_neighbor = torch.zeros_like(self.values[0]), torch.zeros_like(self.values[1])
        for i, j in self._blocks():
            p, q = _outer(p_value[:, i], p_neighbor[:, j]), _outer(q_value[:, i], q_neighbor[:, j])
            slopes = []
            for k, (area, p_sum, q_sum) in enumerate(self._window_sums(p, q)):
                slopes.append(divergence.slope(p_sum, q_sum, area).mul_(grads[k][:, None, None]))
            slope = self._spread(slopes)
            to_value += (slope * q_neighbor[:, None, j]).sum(dim=2).mul_(q_value_slope[:, i]).sum(dim=1)
            to_neighbor += slope.mul_(q_value[:, i, None]).sum(dim=1).mul_(q_neighbor_slope[:, j]).sum(dim=1)
        for grad, contribution in ((grad_value, to_value), (grad_neighbor, to_neighbor)):
            rows = self._unflat(contribution)
            grad[self.planes, self.reach] += rows[:, self.above : rows.shape[1] - self.below]

    def _window_sums(self, p: torch.Tensor, q: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """(area, window sum of p, window sum of q) for each window, smallest first."""
        p_rows, q_rows, summed = p.clone(), q.clone(), 0
        for radius, area in zip(self.settings.radii, self.settings.areas):
            while summed < radius:
                summed += 1
                for rows, source in ((p_rows, p), (q_rows, q)):
                    _add_shifted(rows, source, summed)
            yield area, self._sum_of_rows(p_rows, radius), self._sum_of_rows(q_rows, radius)

    def _sum_of_rows(self, rows: torch.Tensor, radius: int) -> torch.Tensor:
        if radius == 0:
            return rows
        total = rows.clone()
        for distance in range(1, radius + 1):
            _add_shifted(total, rows, distance * self.stride)
        return total

    def _spread(self, slopes: list[torch.Tensor]) -> torch.Tensor:
        """Adjoint of the window sums, added up over the windows; a window sum is self-adjoint."""
        by_radius = dict(zip(self.settings.radii, slopes))
        spread, within = torch.zeros_like(slopes[0]), torch.zeros_like(slopes[0])
        for distance in range(self.radius, -1, -1):
            if distance in by_radius:  # this window and all larger ones reach this far
                within += self._sum_of_rows(by_radius[distance], distance)
            if distance:
                _add_shifted(spread, within, distance)
        return spread.add_(within)


def _outer(value: torch.Tensor, neighbor: torch.Tensor) -> torch.Tensor:
    """(P, I, M), (P, J, M) -> (P, I, J, M)."""
    return value[:, :, None] * neighbor[:, None]


def _add_shifted(total: torch.Tensor, source: torch.Tensor, shift: int) -> None:
    """total[m] += source[m - shift] + source[m + shift], with zeros outside source."""
    total[..., shift:] += source[..., :-shift]
    total[..., :-shift] += source[..., shift:]
