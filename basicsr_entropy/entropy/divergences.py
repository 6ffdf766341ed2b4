"""Divergences between two densities, as a term a bin, its derivative, and what is done to the sum of terms.

Densities arrive as sums over a window of `area` pixels, p = area * true p: every term here is then area times the
true one, and derivatives by q are those of the true term by the true q.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

EPS = 1e-10  # added to densities inside logarithms, as published

Term = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def _log(density: torch.Tensor, area: float) -> torch.Tensor:
    """log(true density + EPS) + log(area), the same offset for every bin."""
    return (density + EPS * area).log_()


def relative(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(p, area).sub_(_log(q, area)).mul_(p)


def relative_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return (q + EPS * area).reciprocal_().mul_(p).neg_()


def cross(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(q, area).sub_(math.log(area)).mul_(p).neg_()


def hellinger(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return p.sqrt().sub_(q.sqrt()).square_().mul_(0.5)


def hellinger_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    # A density that has run out of range has no slope of its own left either; the floor keeps the quotient finite,
    # and the product with that density's (vanished) slope then vanishes as it does in exact arithmetic.
    root = q.clamp_min(torch.finfo(q.dtype).tiny).sqrt_()
    return root.sub(p.sqrt()).mul_(0.5).div_(root)


def jensen_shannon(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    log_middle = _log((p + q).mul_(0.5), area)
    return _log(p, area).sub_(log_middle).mul_(p).add_(_log(q, area).sub_(log_middle).mul_(q)).mul_(0.5)


def jensen_shannon_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    middle = (p + q).mul_(0.5)
    rest = (q / (q + EPS * area)).sub_(middle / (middle + EPS * area))
    return _log(q, area).sub_(_log(middle, area)).add_(rest).mul_(0.5)


def shannon(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(q, area).sub_(math.log(area)).mul_(q).neg_()


def shannon_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(q, area).sub_(math.log(area)).add_(q / (q + EPS * area)).neg_()


class Divergence(NamedTuple):
    """D = sum over bins of term(p, q), or its square root.

    Attributes:
        term: Term of a bin; p target, q prediction.
        slope: Derivative of the term by q.
        root: Whether D is the square root of the sum.
    """

    term: Term
    slope: Term
    root: bool = False

    def finish(self, total: torch.Tensor) -> torch.Tensor:
        """D from the sum of the terms."""
        return total.sqrt() if self.root else total

    def finish_slope(self, total: torch.Tensor) -> torch.Tensor:
        """dD/dtotal; 0 where a root has no slope, at total = 0, which is where D is least."""
        if not self.root:
            return torch.ones_like(total)
        return torch.where(total > 0, 0.5 * total.clamp_min(torch.finfo(total.dtype).tiny).rsqrt(), 0.0)


DIVERGENCES: dict[str, Divergence] = {
    'hellinger': Divergence(hellinger, hellinger_slope, root=True),
    'relative': Divergence(relative, relative_slope),
    'cross': Divergence(cross, relative_slope),
    'jensen_shannon': Divergence(jensen_shannon, jensen_shannon_slope),
}

# with the entropy of q alone, which ignores p
FUNCTIONALS: dict[str, Divergence] = {**DIVERGENCES, 'shannon': Divergence(shannon, shannon_slope)}
