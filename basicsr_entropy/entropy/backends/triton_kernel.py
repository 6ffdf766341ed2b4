"""Local spatial divergence on the GPU: one Triton kernel for value and gradient, float32.

Each program processes one pixel: it loads the pixels of the largest window around it, iterates in blocks over the bins
within their reach, and computes window sums as matrix products over the window's pixels, so that densities stay on
chip. Gradients are added to the window's pixels by atomic operations in no fixed order, so that their last bits may
differ from run to run. Bins beyond the kernel's reach are skipped; compiled.py derives the truncation error.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import triton
import triton.language as tl

from basicsr_entropy.entropy.backends.fused import Result, define_operators
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.entropy.kernels import reach_for

BLOCK = 16  # levels per side of a block of bins: the minimum size of a matrix product


def launch(
    images: Sequence[torch.Tensor],
    bandwidth: torch.Tensor,
    scale: torch.Tensor,
    settings: Settings,
    upstream: torch.Tensor | None,
) -> Result:
    """Runs the kernel; a `fused.Launch`."""
    planes, height, width = images[0].shape
    result = torch.empty_like(images[0])
    gradients = [] if upstream is None else [torch.zeros_like(result) for _ in range(2)]
    radius = settings.radii[-1]
    window = max(16, triton.next_power_of_2((2 * radius + 1) ** 2))
    # Triton launches on the current device, which need not be that of the images
    with torch.cuda.device(result.device) if result.is_cuda else nullcontext():
        _local_divergence[(result.numel(),)](
            *images,
            bandwidth,
            scale,
            upstream,
            result,
            *(gradients or (None, None)),
            height,
            width,
            reach_for(settings.divergence, settings.kernel),
            DIVERGENCE=settings.divergence,
            KERNEL=settings.kernel,
            LEVELS=settings.levels,
            UNIT_MASS=settings.unit_mass,
            TARGET_ONLY=settings.divergence in ('relative', 'cross'),
            RADIUS=radius,
            RADII=sum(1 << each for each in settings.radii),
            COUNT=len(settings.radii),
            WINDOW=window,
            RINGS=triton.next_power_of_2(radius + 1),
            BLOCK=BLOCK,
            PRECISION=_precision(result.device),
            num_warps=1 if window <= 32 else 4,
        )
    return Result(result, gradients)


define_operators('triton', launch)


def _precision(device: torch.device) -> str:
    """Method of float32-precise matrix products: three TF32 products where the GPU supports TF32."""
    has_tf32 = device.type == 'cuda' and not torch.version.hip and torch.cuda.get_device_capability(device) >= (8, 0)
    return 'tf32x3' if has_tf32 else 'ieee'


@triton.jit
def _local_divergence(
    pred_value,  # images in levels, upstream gradient (or None), results: (planes, height, width)
    pred_neighbor,
    target_value,
    target_neighbor,
    bandwidth,  # (planes), in levels
    scale,  # (planes), factor of the product of value and neighbor density
    upstream,
    result,
    grad_value,
    grad_neighbor,
    height,
    width,
    reach,  # distance in bandwidths beyond which a pixel's density is truncated
    DIVERGENCE: tl.constexpr,
    KERNEL: tl.constexpr,
    LEVELS: tl.constexpr,
    UNIT_MASS: tl.constexpr,
    TARGET_ONLY: tl.constexpr,  # terms are zero where the target has no mass, whatever the prediction
    RADIUS: tl.constexpr,  # of the largest window
    RADII: tl.constexpr,  # bit r is set if there is a window of radius r
    COUNT: tl.constexpr,  # of windows
    WINDOW: tl.constexpr,  # pixels of the largest window, rounded up
    RINGS: tl.constexpr,  # radii from 0, rounded up
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    here = tl.program_id(0).to(tl.int64)
    plane, x = here // (height * width), here % width
    y = here // width % height
    k = tl.arange(0, WINDOW)
    dy, dx = k // (2 * RADIUS + 1) - RADIUS, k % (2 * RADIUS + 1) - RADIUS
    ring = tl.maximum(tl.abs(dy), tl.abs(dx))
    inside = (ring <= RADIUS) & (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
    at = here + dy * width + dx
    q_value, q_neighbor = tl.load(pred_value + at, inside, 0.0), tl.load(pred_neighbor + at, inside, 0.0)
    p_value, p_neighbor = tl.load(target_value + at, inside, 0.0), tl.load(target_neighbor + at, inside, 0.0)
    h = tl.load(bandwidth + plane)
    per_level = 1 / h
    factor = tl.where(inside, tl.load(scale + plane), 0.0)

    far = tl.maximum(reach * h, 1.0)
    i_first, i_last = _reached(p_value, q_value, inside, far, LEVELS, TARGET_ONLY)
    j_first, j_last = _reached(p_neighbor, q_neighbor, inside, far, LEVELS, TARGET_ONLY)
    p_value_mass, p_value_drift = _mass(p_value, per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK)
    q_value_mass, q_value_drift = _mass(q_value, per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK)
    p_neighbor_mass, p_neighbor_drift = _mass(p_neighbor, per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK)
    q_neighbor_mass, q_neighbor_drift = _mass(q_neighbor, per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK)

    # per ring, i.e. per window radius; gradients without the factor that depends on the complete sum of terms
    radius = tl.arange(0, RINGS)
    totals = tl.zeros([RINGS], tl.float32)
    to_value = tl.zeros([WINDOW, RINGS], tl.float32)
    to_neighbor = tl.zeros([WINDOW, RINGS], tl.float32)
    for i in range(i_first, i_last + 1, BLOCK):
        level = i + tl.arange(0, BLOCK)
        a_p, a_p_slope = _densities(p_value, level, per_level, KERNEL, LEVELS, UNIT_MASS)
        a_q, a_q_slope = _densities(q_value, level, per_level, KERNEL, LEVELS, UNIT_MASS)
        a_p *= (factor / p_value_mass)[:, None]
        a_q_slope = (a_q_slope - a_q * q_value_drift[:, None]) * (factor / q_value_mass)[:, None]
        a_q *= (factor / q_value_mass)[:, None]
        for j in range(j_first, j_last + 1, BLOCK):
            level = j + tl.arange(0, BLOCK)
            b_p, b_p_slope = _densities(p_neighbor, level, per_level, KERNEL, LEVELS, UNIT_MASS)
            b_q, b_q_slope = _densities(q_neighbor, level, per_level, KERNEL, LEVELS, UNIT_MASS)
            b_p /= p_neighbor_mass[:, None]
            b_q_slope = (b_q_slope - b_q * q_neighbor_drift[:, None]) / q_neighbor_mass[:, None]
            b_q /= q_neighbor_mass[:, None]
            for r in tl.static_range(RADIUS + 1):
                if (RADII >> r) & 1:
                    in_window = (ring <= r)[:, None]
                    this = (radius == r).to(tl.float32)
                    p = tl.dot(tl.trans(tl.where(in_window, a_p, 0.0)), b_p, input_precision=PRECISION)
                    q = tl.dot(tl.trans(tl.where(in_window, a_q, 0.0)), b_q, input_precision=PRECISION)
                    term, slope = _bin(p, q, (2 * r + 1) * (2 * r + 1), DIVERGENCE)
                    totals += tl.sum(term) * this
                    if upstream is not None:
                        from_bins = tl.dot(b_q, tl.trans(slope), input_precision=PRECISION)
                        gradient = tl.sum(tl.where(in_window, from_bins * a_q_slope, 0.0), 1)
                        to_value += gradient[:, None] * this[None, :]
                        from_bins = tl.dot(a_q, slope, input_precision=PRECISION)
                        gradient = tl.sum(tl.where(in_window, from_bins * b_q_slope, 0.0), 1)
                        to_neighbor += gradient[:, None] * this[None, :]

    area = (2 * radius + 1) * (2 * radius + 1)
    distance = totals / area
    if DIVERGENCE == 'hellinger':
        distance = tl.sqrt(distance)
    tl.store(result + here, tl.sum(distance) / COUNT)
    if upstream is not None:
        weight = tl.load(upstream + here) / (COUNT * area)
        if DIVERGENCE == 'hellinger':
            weight *= tl.where(distance > 0, 0.5 / tl.maximum(distance, 1e-30), 0.0)
        tl.atomic_add(grad_value + at, tl.sum(to_value * weight[None, :], 1), inside, sem='relaxed')
        tl.atomic_add(grad_neighbor + at, tl.sum(to_neighbor * weight[None, :], 1), inside, sem='relaxed')


@triton.jit
def _reached(p, q, inside, far, LEVELS: tl.constexpr, TARGET_ONLY: tl.constexpr):
    """First and last level within reach of the values in a window."""
    low, high = p, p
    if not TARGET_ONLY:
        low, high = tl.minimum(p, q), tl.maximum(p, q)
    low = tl.min(tl.where(inside, tl.maximum(low, 0.0), LEVELS - 1.0))
    high = tl.max(tl.where(inside, tl.minimum(high, LEVELS - 1.0), 0.0))
    low, high = tl.minimum(low, LEVELS - 1.0), tl.maximum(high, 0.0)
    first, last = tl.ceil(low - far).to(tl.int32), tl.floor(high + far).to(tl.int32)
    return tl.maximum(first, 0), tl.minimum(last, LEVELS - 1)


@triton.jit
def _densities(x, level, per_level, KERNEL: tl.constexpr, LEVELS: tl.constexpr, UNIT_MASS: tl.constexpr):
    """Kernel densities of values x at the levels, and their derivatives w.r.t. x: (WINDOW, BLOCK) each.

    With unit mass they are relative to that of the nearest level, the largest: where the kernel is narrow or x far
    outside the range, all of them would underflow.
    """
    v = (level[None, :] - x[:, None]) * per_level
    away = tl.abs(v)
    nearest = tl.minimum(tl.maximum(tl.floor(x + 0.5), 0.0), LEVELS - 1.0)
    distance = tl.zeros_like(x)
    if UNIT_MASS:
        distance = tl.abs((nearest - x) * per_level)
    nearer = tl.minimum(distance[:, None] - away, 0.0)  # padding may lie nearer than any level
    if KERNEL == 'gaussian':
        density = 0.398942280 * tl.exp(0.5 * nearer * (distance[:, None] + away))
        decline = v
        if UNIT_MASS:  # only differences count, and those of large v would be rounded
            decline = (level[None, :] - nearest[:, None]) * per_level
    else:
        decay = tl.exp(nearer)
        density = decay
        decay *= tl.exp(-distance)[:, None]
        if KERNEL == 'sech':
            decay *= decay
        inverse = 1 / (1 + decay)
        if KERNEL == 'sech':
            density *= 0.636619772 * inverse
        else:
            density *= inverse * inverse
        decline = tl.where(v < 0, -1.0, 1.0) * (1 - decay) * inverse
    density = tl.where((level < LEVELS)[None, :], density, 0.0)
    return density, density * decline * per_level


@triton.jit
def _mass(x, per_level, KERNEL: tl.constexpr, LEVELS: tl.constexpr, UNIT_MASS: tl.constexpr, BLOCK: tl.constexpr):
    """Normalization constant of the densities, and its derivative divided by it: (WINDOW,) each."""
    mass, slope = tl.full(x.shape, 1.0, tl.float32), tl.zeros_like(x)
    if UNIT_MASS:
        mass = tl.zeros_like(x)
        for i in range(0, LEVELS, BLOCK):
            density, decline = _densities(x, i + tl.arange(0, BLOCK), per_level, KERNEL, LEVELS, UNIT_MASS)
            mass += tl.sum(density, 1)
            slope += tl.sum(decline, 1)
        slope /= mass
    return mass, slope


@triton.jit
def _bin(p, q, area, DIVERGENCE: tl.constexpr):
    """Per-bin terms and slopes, as in divergences.py."""
    eps = 1e-10 * area
    if DIVERGENCE == 'hellinger':
        root_q = tl.sqrt(tl.maximum(q, 2e-38))
        difference = root_q - tl.sqrt(p)
        term, slope = 0.5 * difference * difference, 0.5 * difference / root_q
    elif DIVERGENCE == 'relative':
        term, slope = p * tl.log((p + eps) / (q + eps)), -p / (q + eps)
    elif DIVERGENCE == 'cross':
        term, slope = -p * (tl.log(q + eps) - tl.log(area * 1.0)), -p / (q + eps)
    elif DIVERGENCE == 'jensen_shannon':
        middle = 0.5 * (p + q)
        log_q = tl.log((q + eps) / (middle + eps))
        term = 0.5 * (p * tl.log((p + eps) / (middle + eps)) + q * log_q)
        slope = 0.5 * (log_q + eps * (q - middle) / ((q + eps) * (middle + eps)))
    else:  # shannon
        log_q = tl.log(q + eps) - tl.log(area * 1.0)
        term, slope = -q * log_q, -(log_q + q / (q + eps))
    return term, slope
