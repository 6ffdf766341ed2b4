"""Sampling steps: each takes the state at timestep t to a state at an earlier timestep s.

A step is a function (process, mu, current, previous, s, draw_noise) -> x_s. `current` is the `Estimate` at timestep t,
`previous` that of the step before (None in the first step), s has shape (N,) with the same timestep for all images, and
draw_noise() returns standard normal noise of mu's shape.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from basicsr_entropy.diffusion.process import MeanRevertingSDE

Order = Literal[1, 2]
Form = Literal['data', 'noise']


class Estimate(NamedTuple):
    """A network's estimate of x_0 and of the noise in x_t at timestep t; t has shape (N,), the others (N, C, H, W)."""

    t: torch.Tensor
    x_t: torch.Tensor
    x0: torch.Tensor
    noise: torch.Tensor


DrawNoise = Callable[[], torch.Tensor]
Step = Callable[[MeanRevertingSDE, torch.Tensor, Estimate, Estimate | None, torch.Tensor, DrawNoise], torch.Tensor]


def sde_step(
    process: MeanRevertingSDE,
    mu: torch.Tensor,
    current: Estimate,
    previous: Estimate | None,
    s: torch.Tensor,
    draw_noise: DrawNoise,
) -> torch.Tensor:
    """Euler-Maruyama step of the reverse SDE; the last step, to s = 0, adds no noise."""
    x_s = process.reverse_sde_mean(current.x_t, mu, current.t, current.noise, s)
    adds_noise = (s > 0).to(mu.dtype).view(-1, 1, 1, 1)
    return x_s + adds_noise * process.reverse_sde_std(current.t, mu, s) * draw_noise()


def ode_step(
    process: MeanRevertingSDE,
    mu: torch.Tensor,
    current: Estimate,
    previous: Estimate | None,
    s: torch.Tensor,
    draw_noise: DrawNoise,
) -> torch.Tensor:
    """Euler step of the probability-flow ODE; deterministic."""
    return process.reverse_ode(current.x_t, mu, current.t, current.noise, s)


def posterior_step(
    process: MeanRevertingSDE,
    mu: torch.Tensor,
    current: Estimate,
    previous: Estimate | None,
    s: torch.Tensor,
    draw_noise: DrawNoise,
) -> torch.Tensor:
    """Draw from the posterior of x_s given x_t and the predicted x_0; the last step returns the predicted x_0."""
    mean = process.posterior_mean(current.x_t, current.x0, mu, current.t, s)
    return mean + process.posterior_std(current.t, mu, s) * draw_noise()


def exponential_step(
    process: MeanRevertingSDE,
    mu: torch.Tensor,
    current: Estimate,
    previous: Estimate | None,
    s: torch.Tensor,
    draw_noise: DrawNoise,
    *,
    stochastic: bool,
    order: Order,
    form: Form,
) -> torch.Tensor:
    """Step of a mean-reverting exponential integrator (Li et al., *MRS*, ICLR 2025).

    The linear part of the equation for x - mu is solved exactly as a function of the half-logSNR
    lambda = log(alpha/sigma_bar), as in DPM-Solver++ (Lu et al., 2022) for mu = 0. With h = lambda_s - lambda_t, and
    k = 1 for the probability-flow ODE or k = 2 for the reverse SDE, the coefficient of the prediction is alpha_s times
    the integral over the step of k e^(-k (lambda_s - lambda)) (data), or -sigma_s times that of k e^(lambda_s - lambda)
    (noise). The coefficient of its slope is that of the same integrand times (lambda - lambda_t)/h.

    Args:
        process: The SDE.
        mu: Degraded image, shape (N, C, H, W).
        current: Estimate at timestep t.
        previous: Estimate of the step before; None in the first step.
        s: Timestep to step to, shape (N,).
        draw_noise: Returns standard normal noise of mu's shape.
        stochastic: Solve the reverse SDE instead of the probability-flow ODE.
        order: 1 keeps the prediction constant over the step; 2 extrapolates it linearly from the previous estimate.
        form: Which prediction is kept or extrapolated: x_0 ('data') or the 'noise'.

    Returns:
        x_s. At s = 0, where lambda is infinite, the predicted x_0. That is the limit of the step, except for the SDE in
        noise form, whose limit would be pure noise.
    """
    if (s == 0).all():
        return current.x0
    k = 2 if stochastic else 1
    h = _half_log_snr_increase(process, current.t, s)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (process.coefficients(time, h) for time in (current.t, s))
    if form == 'data':
        state_factor = sigma_s / sigma_t * torch.exp((1 - k) * h)
        value_factor = -alpha_s * torch.expm1(-k * h)
        slope_factor = alpha_s * (1 + torch.expm1(-k * h) / (k * h))
        noise_std = sigma_s * torch.sqrt(-torch.expm1(-2 * h))
    else:
        state_factor = alpha_s / alpha_t
        value_factor = -k * sigma_s * torch.expm1(h)
        slope_factor = -k * sigma_s * (torch.expm1(h) / h - 1)
        noise_std = sigma_s * torch.sqrt(torch.expm1(2 * h))

    value = current.x0 - mu if form == 'data' else current.noise
    x_s = mu + state_factor.to(mu.dtype) * (current.x_t - mu) + value_factor.to(mu.dtype) * value
    if order == 2 and previous is not None:
        change = current.x0 - previous.x0 if form == 'data' else current.noise - previous.noise
        previous_h = _half_log_snr_increase(process, previous.t, current.t)
        x_s = x_s + (slope_factor * h / previous_h).to(mu.dtype) * change
    return x_s + noise_std.to(mu.dtype) * draw_noise() if stochastic else x_s


def _half_log_snr_increase(process: MeanRevertingSDE, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """lambda_s - lambda_t in float64, shape (N, 1, 1, 1)."""
    return (process.half_log_snr(s) - process.half_log_snr(t)).view(-1, 1, 1, 1)
