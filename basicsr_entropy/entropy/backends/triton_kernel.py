"""Local spatial divergence on the GPU: one Triton kernel for value and gradient, float32.

Each program processes one pixel: it loads the pixels of the largest window around it, and iterates in blocks over the
bins within their reach. The sums of a window are those of the next smaller one and a matrix product over the pixels
that it adds, so that densities stay on chip. Densities are computed anew for each block, because registers that kept
them would be spilled. Gradients are added to the window's pixels by atomic operations in no fixed order, so that their
last bits may differ from run to run. Bins beyond the kernel's reach are skipped; compiled.py derives the truncation
error.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

from basicsr_entropy.entropy.backends.fused import Result, define_operators
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.entropy.kernels import reach_for

BLOCK = 16  # levels per side of a block of bins: the minimum size of a matrix product
MAX_PIXELS = 128  # that a matrix product adds to a window; more take too much shared memory


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
            **constants(settings, _precision(result.device)),
        )
    return Result(result, gradients)


define_operators('triton', launch)


def constants(settings: Settings, precision: str) -> dict[str, Any]:
    """Compile-time arguments of the kernel, and its number of warps."""
    nested = _nested(settings.radii)
    return {
        'DIVERGENCE': settings.divergence,
        'KERNEL': settings.kernel,
        'LEVELS': settings.levels,
        'UNIT_MASS': settings.unit_mass,
        'TARGET_ONLY': settings.divergence in ('relative', 'cross'),
        'RADII': tuple(nested),
        'COUNTS': tuple(int(each in settings.radii) for each in nested),
        'WINDOWS': len(settings.radii),
        'BLOCK': BLOCK,
        'PRECISION': precision,
        'num_warps': 1 if settings.radii[-1] <= 2 else 4,
    }


def _nested(radii: Sequence[int]) -> list[int]:
    """The radii, and more between them where a window would add more than `MAX_PIXELS` to the next smaller one."""
    result: list[int] = []
    for radius in radii:
        while not result or result[-1] < radius:
            inner = (2 * result[-1] + 1) ** 2 if result and result[-1] > 0 else 0
            fitting = [each for each in range(radius + 1) if 0 < (2 * each + 1) ** 2 - inner <= MAX_PIXELS]
            result.append(fitting[-1])
    return result


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
    RADII: tl.constexpr,  # of nested windows, ascending
    COUNTS: tl.constexpr,  # for each of them, whether it counts
    WINDOWS: tl.constexpr,  # number of those that count
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    here = tl.program_id(0).to(tl.int64)
    plane, within = here // (height * width), (here % (height * width)).to(tl.int32)
    y, x = within // width, within % width
    h = tl.load(bandwidth + plane)
    per_level = 1 / h
    factor = tl.load(scale + plane)
    far = tl.maximum(reach * h, 1.0)
    COUNT: tl.constexpr = len(RADII)

    # tuples have an element per radius, for the pixels that a window adds to the next smaller one
    p_value, p_neighbor, q_value, q_neighbor = (), (), (), ()
    p_value_mass, p_neighbor_mass, q_value_mass, q_neighbor_mass, inside = (), (), (), (), ()
    i_first, i_last, j_first, j_last = LEVELS - 1, 0, LEVELS - 1, 0
    for n in tl.static_range(COUNT):
        shift, added = _added_pixels(y, x, height, width, RADII[n - 1] if n > 0 else 0, RADII[n])
        inside += (added,)
        p_value += (_load(target_value + here + shift, added, UNIT_MASS),)
        p_neighbor += (_load(target_neighbor + here + shift, added, UNIT_MASS),)
        q_value += (_load(pred_value + here + shift, added, UNIT_MASS),)
        q_neighbor += (_load(pred_neighbor + here + shift, added, UNIT_MASS),)
        p_value_mass += (_mass(p_value[n], per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK),)
        p_neighbor_mass += (_mass(p_neighbor[n], per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK),)
        q_value_mass += (_mass(q_value[n], per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK),)
        q_neighbor_mass += (_mass(q_neighbor[n], per_level, KERNEL, LEVELS, UNIT_MASS, BLOCK),)
        first, last = _reached(p_value[n], q_value[n], added, far, LEVELS, TARGET_ONLY)
        i_first, i_last = tl.minimum(i_first, first), tl.maximum(i_last, last)
        first, last = _reached(p_neighbor[n], q_neighbor[n], added, far, LEVELS, TARGET_ONLY)
        j_first, j_last = tl.minimum(j_first, first), tl.maximum(j_last, last)

    if LEVELS <= BLOCK:  # one block, of all levels: `_densities` sums them
        i_first, i_last, j_first, j_last = 0, LEVELS - 1, 0, LEVELS - 1

    # sums of terms per window n; gradients of window n w.r.t. the pixels of element m at n * COUNT + m, without factors
    # that are the same for all bins or depend on the complete sum of terms
    totals, to_value, to_neighbor = (), (), ()
    for _ in tl.static_range(COUNT):
        totals += (0.0,)
        for m in tl.static_range(COUNT):
            to_value += (tl.zeros_like(q_value[m]),)
            to_neighbor += (tl.zeros_like(q_value[m]),)
    columns = tl.cdiv(j_last + 1 - j_first, BLOCK)
    for block in range(tl.cdiv(i_last + 1 - i_first, BLOCK) * columns):
        i = i_first + block // columns * BLOCK + tl.arange(0, BLOCK)
        j = j_first + block % columns * BLOCK + tl.arange(0, BLOCK)
        p_sum, q_sum = tl.zeros([BLOCK, BLOCK], tl.float32), tl.zeros([BLOCK, BLOCK], tl.float32)
        a_p, a_q, a_q_slope, b_q, b_q_slope = (), (), (), (), ()
        for n in tl.static_range(COUNT):
            a = _densities(p_value[n], inside[n], i, p_value_mass[n], per_level, KERNEL, LEVELS, UNIT_MASS)[0]
            a_p += (a * factor,)
            a, a_decline = _densities(q_value[n], inside[n], i, q_value_mass[n], per_level, KERNEL, LEVELS, UNIT_MASS)
            a_q += (a * factor,)
            a_q_slope += (a_q[n] * a_decline,)
        last_totals, last_to_value, last_to_neighbor = totals, to_value, to_neighbor
        totals, to_value, to_neighbor = (), (), ()
        for n in tl.static_range(COUNT):
            b_p = _densities(p_neighbor[n], inside[n], j, p_neighbor_mass[n], per_level, KERNEL, LEVELS, UNIT_MASS)[0]
            b, b_decline = _densities(
                q_neighbor[n], inside[n], j, q_neighbor_mass[n], per_level, KERNEL, LEVELS, UNIT_MASS
            )
            b_q, b_q_slope = b_q + (b,), b_q_slope + (b * b_decline,)
            if RADII[n] == 0:
                p, q = tl.trans(a_p[n]) * b_p, tl.trans(a_q[n]) * b
            else:
                p_sum = tl.dot(tl.trans(a_p[n]), b_p, p_sum, input_precision=PRECISION)
                q_sum = tl.dot(tl.trans(a_q[n]), b, q_sum, input_precision=PRECISION)
                p, q = p_sum, q_sum
            if COUNTS[n]:
                term, slope = _bin(p, q, (2 * RADII[n] + 1) * (2 * RADII[n] + 1), DIVERGENCE)
                totals += (last_totals[n] + tl.sum(term),)
            else:
                totals += (last_totals[n],)
            for m in tl.static_range(COUNT):
                gradient, other = last_to_value[n * COUNT + m], last_to_neighbor[n * COUNT + m]
                if upstream is not None and COUNTS[n] and (m == n or (m < n and RADII[m] > 0)):
                    # both are products with the slope, not its transpose: it needs one layout only
                    gradient += tl.sum(_product(a_q_slope[m], slope, PRECISION) * b_q[m], 1)
                    other += tl.sum(_product(a_q[m], slope, PRECISION) * b_q_slope[m], 1)
                to_value, to_neighbor = to_value + (gradient,), to_neighbor + (other,)

    divergence, weights = 0.0, ()
    for n in tl.static_range(COUNT):
        area = (2 * RADII[n] + 1) * (2 * RADII[n] + 1)
        distance, weight = totals[n] / area, per_level / (WINDOWS * area)
        if DIVERGENCE == 'hellinger':
            distance = tl.sqrt(distance)
            weight *= tl.where(distance > 0, 0.5 / tl.maximum(distance, 1e-30), 0.0)
        divergence += distance / WINDOWS
        weights += (weight,)
    tl.store(result + here, divergence)
    if upstream is not None:
        outer = tl.load(upstream + here)
        for m in tl.static_range(COUNT):
            gradient, other = tl.zeros_like(q_value[m]), tl.zeros_like(q_value[m])
            for n in tl.static_range(COUNT):
                gradient += weights[n] * to_value[n * COUNT + m]
                other += weights[n] * to_neighbor[n * COUNT + m]
            # computed again rather than kept
            shift, inside = _added_pixels(y, x, height, width, RADII[m - 1] if m > 0 else 0, RADII[m])
            tl.atomic_add(grad_value + here + shift, outer * gradient, inside, sem='relaxed')
            tl.atomic_add(grad_neighbor + here + shift, outer * other, inside, sem='relaxed')


@triton.jit
def _added_pixels(y, x, height, width, INNER: tl.constexpr, OUTER: tl.constexpr):
    """Pixels of a window of radius OUTER around (y, x) that are not in one of radius INNER > 0; all if INNER is 0.

    Returns their offsets in memory, rounded up to a power of two (at least 16, the minimum size of a matrix product,
    unless there is only one), and which of them are inside the image.
    """
    # around the inner window lie four rectangles, each the one before turned by 90 degrees
    RECTANGLES: tl.constexpr = 4 if INNER > 0 else 1
    ROWS: tl.constexpr = OUTER - INNER if INNER > 0 else 2 * OUTER + 1
    COLUMNS: tl.constexpr = OUTER + INNER + 1 if INNER > 0 else 2 * OUTER + 1
    PIXELS: tl.constexpr = RECTANGLES * ROWS * COLUMNS
    k = tl.arange(0, 1 if PIXELS == 1 else max(16, triton.next_power_of_2(PIXELS)))
    turns, place = k // (ROWS * COLUMNS), k % (ROWS * COLUMNS)
    dy, dx = place // COLUMNS - OUTER, place % COLUMNS - OUTER
    dy, dx = tl.where(turns % 2 == 0, dy, dx), tl.where(turns % 2 == 0, dx, -dy)
    dy, dx = tl.where(turns < 2, dy, -dy), tl.where(turns < 2, dx, -dx)
    inside = (k < PIXELS) & (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
    return dy * width + dx, inside


@triton.jit
def _load(image, inside, UNIT_MASS: tl.constexpr):
    """Values of pixels; outside of the image one without mass, which `_densities` sees to if all have unit mass."""
    return tl.load(image, inside, 0.0 if UNIT_MASS else -1e6)


@triton.jit
def _product(x, y, PRECISION: tl.constexpr):
    """Matrix product; tl.dot takes no single row."""
    if x.shape[0] == 1:
        return tl.sum(tl.trans(x) * y, 0)[None, :]
    else:  # noqa: RET505  (compiled only if the other branch is not)
        return tl.dot(x, y, input_precision=PRECISION)


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
def _densities(x, inside, level, mass, per_level, KERNEL: tl.constexpr, LEVELS: tl.constexpr, UNIT_MASS: tl.constexpr):
    """Kernel densities of values x at the levels, and their derivatives w.r.t. x/h divided by them."""
    density, decline = _relative_densities(x, level, per_level, KERNEL, LEVELS, UNIT_MASS)
    if UNIT_MASS:
        mass, slope = mass
        if level.shape[0] >= LEVELS:  # all levels are here: to sum again takes fewer registers than to keep the sums
            mass, slope = tl.sum(density, 1), tl.sum(density * decline, 1)
        density *= tl.where(inside, 1 / mass, 0.0)[:, None]
        decline -= (slope / mass)[:, None]
    return density, decline


@triton.jit
def _mass(x, per_level, KERNEL: tl.constexpr, LEVELS: tl.constexpr, UNIT_MASS: tl.constexpr, BLOCK: tl.constexpr):
    """Sums over all levels of the densities, and of their derivatives w.r.t. x/h; zero where nothing asks for them."""
    mass, slope = tl.zeros_like(x), tl.zeros_like(x)
    if UNIT_MASS and LEVELS > BLOCK:
        for i in range(0, LEVELS, BLOCK):
            density, decline = _relative_densities(x, i + tl.arange(0, BLOCK), per_level, KERNEL, LEVELS, UNIT_MASS)
            mass += tl.sum(density, 1)
            slope += tl.sum(density * decline, 1)
    return mass, slope


@triton.jit
def _relative_densities(x, level, per_level, KERNEL: tl.constexpr, LEVELS: tl.constexpr, UNIT_MASS: tl.constexpr):
    """Kernel densities at the levels, and their derivatives w.r.t. x/h divided by them: (pixels, BLOCK) each.

    With unit mass densities are relative to that of the nearest level, the largest: where the kernel is narrow or x far
    outside the range, all of them would underflow.
    """
    v = (level[None, :] - x[:, None]) * per_level
    away = tl.abs(v)
    nearest = tl.minimum(tl.maximum(tl.floor(x + 0.5), 0.0), LEVELS - 1.0)
    distance = tl.zeros_like(x)
    if UNIT_MASS:
        distance = tl.abs((nearest - x) * per_level)
    nearer = tl.minimum(distance[:, None] - away, 0.0)  # padding may lie nearer than any level
    if KERNEL == 'gaussian':  # exp2 takes fewer instructions than exp, which does not flush subnormal results to zero
        density = 0.398942280 * tl.exp2(0.721347520 * nearer * (distance[:, None] + away))
        decline = v
        if UNIT_MASS:  # only differences count, and those of large v would be rounded
            decline = (level[None, :] - nearest[:, None]) * per_level
    else:
        decay = tl.exp2(1.44269504 * nearer)
        density = decay
        decay *= tl.exp2(-1.44269504 * distance)[:, None]
        if KERNEL == 'sech':
            decay *= decay
        inverse = 1 / (1 + decay)
        if KERNEL == 'sech':
            density *= 0.636619772 * inverse
        else:
            density *= inverse * inverse
        decline = tl.where(v < 0, -1.0, 1.0) * (1 - decay) * inverse
    density = tl.where((level < LEVELS)[None, :], density, 0.0)
    return density, decline


@triton.jit
def _bin(p, q, area, DIVERGENCE: tl.constexpr):
    """Per-bin terms and slopes, as in divergences.py."""
    eps = 1e-10 * area
    if DIVERGENCE == 'hellinger':
        p, q = tl.maximum(p, 2e-38), tl.maximum(q, 2e-38)
        inverse_root = tl.rsqrt(q)
        difference = q * inverse_root - p * tl.rsqrt(p)  # both alike: zero at equality
        term, slope = 0.5 * difference * difference, 0.5 * difference * inverse_root
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
