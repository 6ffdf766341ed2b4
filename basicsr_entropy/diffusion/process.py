"""The mean-reverting SDE of IR-SDE: marginals, conversions between predictions, reverse steps.

    dx = theta_t (mu - x) dt + sigma_t dw,        sigma_t^2 = 2 lambda^2 theta_t

takes a clean image x_0 to its degraded version mu plus noise of standard deviation lambda (Luo et al., *Image
Restoration with Mean-Reverting Stochastic Differential Equations*, ICML 2023). The process holds the coefficients only:
images, timesteps and predictions are arguments of its methods.

Below, sigma_bar_t is the standard deviation of x_t given x_0, and log(alpha_t/sigma_bar_t) the half-logSNR.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import nn

from basicsr_entropy._checks import check_choice, check_number, is_number
from basicsr_entropy.diffusion.schedule import Schedule, theta_schedule

Prediction = Literal['noise', 'x0', 'residual']

PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)
MIN_SIGMA, MAX_SIGMA = 1e-6, 1e5  # beyond these, float32 keeps nothing of the noise, or nothing of the image
MIN_EPS = 1e-6  # x_0 from noise divides by alpha_T = eps, which below leaves nothing of it in float32


class Coefficients(NamedTuple):
    """Coefficients of the marginal at timestep t: x_t = mu + alpha (x_0 - mu) + sigma z; each of shape (N, 1, 1, 1)."""

    alpha: torch.Tensor
    sigma: torch.Tensor


class Posterior(NamedTuple):
    """Posterior of x_s given x_t and x_0, of mean mu + state_weight (x_t - mu) + x0_weight (x_0 - mu); (N, 1, 1, 1)."""

    state_weight: torch.Tensor
    x0_weight: torch.Tensor
    std: torch.Tensor


class MeanRevertingSDE(nn.Module):
    """Mean-reverting SDE with timesteps 0..T.

    A module only so that its tables follow `.to(device)`: it has no parameters and adds nothing to a state dict. The
    tables stay float64, whatever the type of the network that it is moved with.

    Args:
        schedule: Schedule of the mean-reversion speed theta_t over the timesteps: `cosine`, `linear` or `constant`.
        timesteps: Number of timesteps T of the process, an integer of at least 1.
        max_sigma: Standard deviation lambda of the noise at timestep T, from 1e-6 to 1e5. Values of 1 and above are
            in 8-bit levels (50 means 50/255), values below 1 in the image range [0, 1].
        eps: Fraction alpha_T of x_0 - mu that remains at timestep T, from 1e-6 to below 1.
        prediction: Quantity that the network predicts: the `noise` in x_t (published), `x0`, or the `residual`
            x_0 - mu. A prediction of the noise is divided by alpha_T = eps at the start of sampling, which amplifies
            its error, and needs long training; use `residual` for short training.

    Raises:
        ValueError: If an argument is unknown or out of range; the message begins with its name.

    Example:
        >>> process = MeanRevertingSDE(prediction='residual')
        >>> x0, mu, z = torch.rand(3, 1, 3, 8, 8, dtype=torch.float64)
        >>> t = torch.tensor([40])
        >>> x_t = process.q_sample(x0, mu, t, z)
        >>> torch.allclose(process.predicted_x0(x_t, mu, t, prediction=x0 - mu), x0)
        True
        >>> torch.allclose(process.predicted_noise(x_t, mu, t, prediction=x0 - mu), z)
        True
    """

    theta: torch.Tensor
    decay: torch.Tensor

    def __init__(
        self,
        schedule: Schedule = 'cosine',
        timesteps: int = 100,
        max_sigma: float = 50,
        eps: float = 0.005,
        prediction: Prediction = 'noise',
    ) -> None:
        super().__init__()
        check_choice('prediction', prediction, PREDICTIONS)
        check_number('max_sigma', max_sigma, MIN_SIGMA, MAX_SIGMA)
        if not is_number(eps) or not MIN_EPS <= eps < 1:
            raise ValueError(f'eps: must be at least {MIN_EPS:g} and less than 1, got {eps!r}')
        self.timesteps = timesteps
        self.prediction = prediction
        self.max_sigma = max_sigma / 255 if max_sigma >= 1 else float(max_sigma)
        theta = theta_schedule(schedule, timesteps)
        cumulative = theta.cumsum(0) - theta[0]
        self.dt = -math.log(eps) / cumulative[-1].item()
        self.register_buffer('theta', theta, persistent=False)
        # integral of theta from 0 to t, which is -log(alpha_t)
        self.register_buffer('decay', cumulative * self.dt, persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> 'MeanRevertingSDE':
        tables = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, table in tables.items():  # on their new device, but in their own type
            self.register_buffer(name, table.to(getattr(self, name).device), persistent=False)
        return self

    def decay_at(self, t: torch.Tensor) -> torch.Tensor:
        """-log(alpha_t) in float64 for t in 0..T of any shape, interpolated linearly between integer timesteps."""
        below = t.floor().long().clamp(0, self.timesteps - 1)
        return torch.lerp(self.decay[below], self.decay[below + 1], t.double() - below)

    def half_log_snr(self, t: torch.Tensor) -> torch.Tensor:
        """Half-logSNR log(alpha_t/sigma_bar_t) in float64 for t > 0 of any shape."""
        decay = self.decay_at(t)
        return -decay - 0.5 * torch.log(-torch.expm1(-2 * decay)) - math.log(self.max_sigma)

    def timestep_at_half_log_snr(self, half_log_snr: torch.Tensor) -> torch.Tensor:
        """Fractional timestep with the given half-logSNR, in float64: the inverse of `half_log_snr`."""
        decay = 0.5 * torch.log1p(torch.exp(-2 * half_log_snr.to(self.decay)) / self.max_sigma**2)
        above = torch.searchsorted(self.decay, decay).clamp(1, self.timesteps)
        lower, upper = self.decay[above - 1], self.decay[above]
        return above - 1 + (decay - lower) / (upper - lower)

    def coefficients(self, t: torch.Tensor, like: torch.Tensor) -> Coefficients:
        """alpha_t and sigma_bar_t for t in 0..T of shape (N,), in the dtype of `like`."""
        decay = self.decay_at(t)
        alpha = torch.exp(-decay)
        sigma = self.max_sigma * torch.sqrt(-torch.expm1(-2 * decay))
        return Coefficients(*(value.to(like.dtype).view(-1, 1, 1, 1) for value in (alpha, sigma)))

    # Forward process

    def q_mean(self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Mean of x_t given x_0: mu + alpha_t (x_0 - mu). Images are (N, C, H, W), t is (N,)."""
        return mu + (x0 - mu) * self.coefficients(t, x0).alpha

    def q_sample(self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Sample of the forward process: x_t given x_0 and standard normal noise z, its mean plus sigma_bar_t z."""
        return self.q_mean(x0, mu, t) + self.coefficients(t, x0).sigma * noise

    def prior_sample(self, mu: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Sample of the prior, from which the reverse process starts: x_T = mu + lambda z."""
        return mu + self.max_sigma * noise

    # Conversions of a prediction

    def x0_from_noise(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_0 = (x_t - mu - sigma_bar_t noise)/alpha_t + mu."""
        alpha, sigma = self.coefficients(t, x_t)
        return (x_t - mu - sigma * noise) / alpha + mu

    def noise_from_x0(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        """noise = (x_t - mu - alpha_t (x_0 - mu))/sigma_bar_t, for t > 0."""
        alpha, sigma = self.coefficients(t, x_t)
        return (x_t - mu - alpha * (x0 - mu)) / sigma

    def predicted_x0(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, prediction: torch.Tensor
    ) -> torch.Tensor:
        """x_0 implied by a network's output at (x_t, t)."""
        if self.prediction == 'noise':
            return self.x0_from_noise(x_t, mu, t, prediction)
        return prediction if self.prediction == 'x0' else mu + prediction

    def predicted_noise(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, prediction: torch.Tensor
    ) -> torch.Tensor:
        """Noise implied by a network's output at (x_t, t): the score times -sigma_bar_t."""
        if self.prediction == 'noise':
            return prediction
        return self.noise_from_x0(x_t, mu, t, self.predicted_x0(x_t, mu, t, prediction))

    # Reverse process

    def reverse_sde_mean(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of the Euler step of the reverse SDE from t to s (t - 1 by default).

        x_t - (theta_t (mu - x_t) - sigma_t^2 score) dt, where a step over several timesteps integrates theta.
        """
        return self._euler(x_t, mu, t, noise, s, score_factor=1.0)

    def reverse_ode(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Euler step of the probability-flow ODE from t to s (t - 1 by default): `reverse_sde` with half the score."""
        return self._euler(x_t, mu, t, noise, s, score_factor=0.5)

    def reverse_sde_std(self, t: torch.Tensor, like: torch.Tensor, s: torch.Tensor | None = None) -> torch.Tensor:
        """Standard deviation of the noise added by an Euler step of the reverse SDE: lambda sqrt(2 theta dt)."""
        return self.max_sigma * torch.sqrt(2 * self._decay_between(t, s, like))

    def _euler(
        self,
        x_t: torch.Tensor,
        mu: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
        s: torch.Tensor | None,
        score_factor: float,
    ) -> torch.Tensor:
        decay = self._decay_between(t, s, x_t)
        score = -noise / self.coefficients(t, x_t).sigma
        return x_t - decay * (mu - x_t - 2 * self.max_sigma**2 * score_factor * score)

    def _decay_between(self, t: torch.Tensor, s: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        step = self.decay_at(t) - self.decay_at(t - 1 if s is None else s)
        return step.to(like.dtype).view(-1, 1, 1, 1)

    def posterior_mean(
        self, x_t: torch.Tensor, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of x_s given x_t and x_0, the optimal reverse state (IR-SDE, proposition 3.2); s is t - 1 by default.

        With A = alpha_t/alpha_s, B = alpha_t, C = alpha_s:
        A (1 - C^2)/(1 - B^2) (x_t - mu) + C (1 - A^2)/(1 - B^2) (x_0 - mu) + mu.
        """
        posterior = self._posterior(t, s, x_t)
        return posterior.state_weight * (x_t - mu) + posterior.x0_weight * (x0 - mu) + mu

    def posterior_std(self, t: torch.Tensor, like: torch.Tensor, s: torch.Tensor | None = None) -> torch.Tensor:
        """Standard deviation of x_s given x_t and x_0: lambda sqrt((1 - A^2)(1 - C^2)/(1 - B^2))."""
        return self._posterior(t, s, like).std

    def _posterior(self, t: torch.Tensor, s: torch.Tensor | None, like: torch.Tensor) -> Posterior:
        decay_t, decay_s = self.decay_at(t), self.decay_at(t - 1 if s is None else s)
        # expm1 computes 1 - A^2, 1 - B^2 and 1 - C^2 without cancellation near timestep 0
        one_minus_a2, one_minus_b2, one_minus_c2 = (
            -torch.expm1(-2 * decay) for decay in (decay_t - decay_s, decay_t, decay_s)
        )
        state_weight = torch.exp(decay_s - decay_t) * one_minus_c2 / one_minus_b2
        x0_weight = torch.exp(-decay_s) * one_minus_a2 / one_minus_b2
        std = self.max_sigma * torch.sqrt(one_minus_a2 * one_minus_c2 / one_minus_b2)
        return Posterior(*(value.to(like.dtype).view(-1, 1, 1, 1) for value in (state_weight, x0_weight, std)))
