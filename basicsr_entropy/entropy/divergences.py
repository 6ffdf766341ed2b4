"""Divergences between two densities: per-bin terms, their derivatives, and the map from their sum to the divergence.

Densities are passed as sums over a window of A = `area` pixels, which saves the division per bin. With the window means
p and q, term(A p, A q) = A term(p, q), so that the derivative w.r.t. A q is that of term(p, q) w.r.t. q.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch

DivergenceName = Literal['hellinger', 'relative', 'cross', 'jensen_shannon']

EPS = 1e-10  # added to densities inside logarithms, as published

Term = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def _log(density: torch.Tensor, area: float) -> torch.Tensor:
    """log(window mean + EPS) + log(area); the offset is the same for every bin."""
    return (density + EPS * area).log_()


def relative(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(p, area).sub_(_log(q, area)).mul_(p)


def relative_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return (p / (q + EPS * area)).neg_()


def cross(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return _log(q, area).sub_(math.log(area)).mul_(p).neg_()


def hellinger(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    return p.sqrt().sub_(q.sqrt()).pow_(2).mul_(0.5)  # for square_, torch.func.vmap would loop over the batch


def hellinger_slope(p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
    # A density that underflows has a slope that underflows too. The lower bound keeps the quotient finite, and its
    # product with that slope is then 0, as in the limit.
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


class _Term(torch.autograd.Function):
    """A term whose derivative is its slope, which unlike autograd's derivative stays finite where q underflows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: torch.Tensor, q: torch.Tensor, area: float, term: Term, slope: Term) -> torch.Tensor:
        return term(p, q, area)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        p, q, ctx.area, _, ctx.slope = inputs
        ctx.save_for_backward(p, q)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        p, q = ctx.saved_tensors
        # Higher derivatives of a root or a logarithm overflow at the smallest numbers. What bins below this bound
        # contribute to them is less than a rounding error.
        smallest = torch.finfo(q.dtype).tiny ** 0.6
        return None, grad * ctx.slope(p, q.clamp_min(smallest), ctx.area), None, None, None


class Divergence(NamedTuple):
    """D = sum over bins of term(p, q), or its square root.

    Attributes:
        term: Per-bin term; p is the target's density, q the prediction's.
        slope: Derivative of the term w.r.t. q.
        root: Whether D is the square root of the sum.
    """

    term: Term
    slope: Term
    root: bool = False

    def differentiable_term(self, p: torch.Tensor, q: torch.Tensor, area: float) -> torch.Tensor:
        """The term, with derivatives of any order w.r.t. q."""
        return _Term.apply(p, q, area, self.term, self.slope)

    def finish(self, total: torch.Tensor) -> torch.Tensor:
        """D from the sum of the terms; all derivatives are 0 at total = 0, as in `finish_slope`."""
        if not self.root:
            return total
        zero = total == 0
        return total.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)

    def finish_slope(self, total: torch.Tensor) -> torch.Tensor:
        """dD/dtotal; 0 at total = 0, the minimum of D, where a square root is not differentiable."""
        if not self.root:
            return torch.ones_like(total)
        return torch.where(total > 0, 0.5 * total.clamp_min(torch.finfo(total.dtype).tiny).rsqrt(), 0.0)


DIVERGENCES: dict[DivergenceName, Divergence] = {
    'hellinger': Divergence(hellinger, hellinger_slope, root=True),
    'relative': Divergence(relative, relative_slope),
    'cross': Divergence(cross, relative_slope),
    'jensen_shannon': Divergence(jensen_shannon, jensen_shannon_slope),
}

# and the Shannon entropy of q, which ignores p
FUNCTIONALS: dict[str, Divergence] = {str(name): divergence for name, divergence in DIVERGENCES.items()}
FUNCTIONALS['shannon'] = Divergence(shannon, shannon_slope)
