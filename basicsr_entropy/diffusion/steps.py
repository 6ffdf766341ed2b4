"""One step of a sampler: from what is known at time t to a state at an earlier time s.

A step is a function (process, mu, now, before, s, draw) -> x_s, where `now` and `before` are the estimates at t and at
the time before it (None in the first step), s has shape (N,) and is one time for all images, and draw() gives standard
normal noise of the shape of mu.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

Step = Callable[..., torch.Tensor]


class Estimate(NamedTuple):
    """What a network sees in x_t at time t of shape (N,): the clean image and the noise, shaped as x_t (N, C, H, W)."""

    t: torch.Tensor
    x_t: torch.Tensor
    x0: torch.Tensor
    noise: torch.Tensor


def sde_step(process, mu, now, before, s, draw) -> torch.Tensor:
    """Euler-Maruyama step of the reverse SDE; its noise is left out of the last step."""
    x_s = process.reverse_sde_mean(now.x_t, mu, now.t, now.noise, s)
    return x_s + (s > 0).to(mu.dtype).view(-1, 1, 1, 1) * process.reverse_sde_std(now.t, mu, s) * draw()


def ode_step(process, mu, now, before, s, draw) -> torch.Tensor:
    """Euler step of the probability-flow ODE; deterministic."""
    return process.reverse_ode(now.x_t, mu, now.t, now.noise, s)


def posterior_step(process, mu, now, before, s, draw) -> torch.Tensor:
    """Draw from the posterior of x_s given x_t and the predicted x_0; the last step lands on x_0."""
    return process.posterior_mean(now.x_t, now.x0, mu, now.t, s) + process.posterior_std(now.t, mu, s) * draw()


def exponential_step(
    process, mu, now, before, s, draw, *, stochastic: bool, order: int = 2, form: str = 'data'
) -> torch.Tensor:
    """Mean-reverting exponential integrator (Li et al., *MRS*, ICLR 2025).

    x - mu is solved exactly but for the network, as a function of l = log(alpha/sigma_bar): DPM-Solver++ (Lu et al.,
    2022) about mu. With h = l_s - l_t and k = 1 for the probability-flow ODE, 2 for the reverse SDE, the weights are
    those of the integrals of k e^(-k (l_s - l)) (data) and k e^(l_s - l) (noise) over the step, times 1 and times the
    share (l - l_t)/h of the step.

    Args:
        process, mu, now, before, s, draw: See this module.
        stochastic: Solve the SDE, not the ODE.
        order: 1 holds the prediction over the step; 2 extends it along the line through the estimate before.
        form: Whether the prediction held or extended is x_0 ('data') or the 'noise'.

    Returns:
        x_s. At s = 0, where l is infinite, the predicted x_0: the limit of the step, but for the SDE in noise form,
        which held over an infinite step would end in noise.
    """
    if (s == 0).all():
        return now.x0
    k = 2 if stochastic else 1
    h = _rise(process, now.t, s)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (process.coefficients(time, h) for time in (now.t, s))
    if form == 'data':
        of_state = sigma_s / sigma_t * torch.exp((1 - k) * h)
        of_value = -alpha_s * torch.expm1(-k * h)
        of_slope = alpha_s * (1 + torch.expm1(-k * h) / (k * h))
        of_noise = sigma_s * torch.sqrt(-torch.expm1(-2 * h))
    else:
        of_state = alpha_s / alpha_t
        of_value = -k * sigma_s * torch.expm1(h)
        of_slope = -k * sigma_s * (torch.expm1(h) / h - 1)
        of_noise = sigma_s * torch.sqrt(torch.expm1(2 * h))

    value = now.x0 - mu if form == 'data' else now.noise
    x_s = mu + of_state.to(mu.dtype) * (now.x_t - mu) + of_value.to(mu.dtype) * value
    if order == 2 and before is not None:
        change = now.x0 - before.x0 if form == 'data' else now.noise - before.noise
        x_s = x_s + (of_slope * h / _rise(process, before.t, now.t)).to(mu.dtype) * change
    return x_s + of_noise.to(mu.dtype) * draw() if stochastic else x_s


def _rise(process, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """log(alpha/sigma_bar) at s less that at t, float64, (N, 1, 1, 1)."""
    return (process.log_ratio_at(s) - process.log_ratio_at(t)).view(-1, 1, 1, 1)
