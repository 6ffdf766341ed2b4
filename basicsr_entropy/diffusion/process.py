"""The mean-reverting SDE of IR-SDE: marginals, conversions between predictions, reverse steps.

    dx = theta_t (mu - x) dt + sigma_t dw,        sigma_t^2 = 2 lambda^2 theta_t

carries a clean image x_0 to its degraded version mu plus noise of deviation lambda (Luo et al., *Image Restoration
with Mean-Reverting Stochastic Differential Equations*, ICML 2023). The process holds numbers only: images, times and
predictions are arguments.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from basicsr_entropy._checks import check_choice
from basicsr_entropy.diffusion.schedule import theta_schedule

PREDICTIONS = ('noise', 'x0', 'residual')


class Coefficients(NamedTuple):
    """What a time means, each of shape (N, 1, 1, 1): the share alpha of x_0 - mu left, and the noise deviation."""

    alpha: torch.Tensor
    sigma: torch.Tensor


class MeanRevertingSDE(nn.Module):
    """A mean-reverting SDE on a grid of times 0..T.

    A module only so that its tables follow `.to(device)`; it has no parameters and adds nothing to a state dict.

    Args:
        schedule: Shape of theta over time: 'cosine', 'linear' or 'constant'.
        timesteps: T.
        max_sigma: Deviation lambda of the noise at the end; values of 1 and above are in 8-bit levels (50 is 50/255).
        eps: Share of x_0 - mu that is left at T, in (0, 1).
        prediction: What networks predict for this process: 'noise' (published), 'x0' or 'residual' (x_0 - mu).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        schedule: str = 'cosine',
        timesteps: int = 100,
        max_sigma: float = 50,
        eps: float = 0.005,
        prediction: str = 'noise',
    ) -> None:
        super().__init__()
        check_choice('prediction', prediction, PREDICTIONS)
        if not max_sigma > 0:
            raise ValueError(f'max_sigma must be positive, got {max_sigma}')
        if not 0 < eps < 1:
            raise ValueError(f'eps must lie between 0 and 1, got {eps}')
        self.timesteps = timesteps
        self.prediction = prediction
        self.max_sigma = max_sigma / 255 if max_sigma >= 1 else float(max_sigma)
        theta = theta_schedule(schedule, timesteps)
        cumulated = theta.cumsum(0) - theta[0]
        self.dt = -math.log(eps) / cumulated[-1].item()
        self.register_buffer('theta', theta, persistent=False)
        # Theta_t dt: minus the logarithm of alpha_t
        self.register_buffer('decay', cumulated * self.dt, persistent=False)

    def decay_at(self, t: torch.Tensor) -> torch.Tensor:
        """-log(alpha_t) in float64; linear between whole times. t in 0..T, any shape."""
        below = t.floor().long().clamp(0, self.timesteps - 1)
        return torch.lerp(self.decay[below], self.decay[below + 1], t.double() - below)

    def log_ratio_at(self, t: torch.Tensor) -> torch.Tensor:
        """log(alpha_t/sigma_bar_t), half the logarithm of the signal-to-noise ratio, in float64; t > 0, any shape."""
        decay = self.decay_at(t)
        return -decay - 0.5 * torch.log(-torch.expm1(-2 * decay)) - math.log(self.max_sigma)

    def time_of(self, log_ratio: torch.Tensor) -> torch.Tensor:
        """The fractional time at which log(alpha_t/sigma_bar_t) has a value; float64, the inverse of `log_ratio_at`."""
        decay = 0.5 * torch.log1p(torch.exp(-2 * log_ratio.to(self.decay)) / self.max_sigma**2)
        above = torch.searchsorted(self.decay, decay).clamp(1, self.timesteps)
        lower, upper = self.decay[above - 1], self.decay[above]
        return above - 1 + (decay - lower) / (upper - lower)

    def coefficients(self, t: torch.Tensor, like: torch.Tensor) -> Coefficients:
        """alpha_t and sigma_bar_t for t in 0..T of shape (N,), in the dtype of `like`."""
        decay = self.decay_at(t)
        alpha = torch.exp(-decay)
        sigma = self.max_sigma * torch.sqrt(-torch.expm1(-2 * decay))
        return Coefficients(*(value.to(like.dtype).view(-1, 1, 1, 1) for value in (alpha, sigma)))

    # Forward in time

    def mean(self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Mean of x_t given x_0: mu + (x_0 - mu) alpha_t."""
        return mu + (x0 - mu) * self.coefficients(t, x0).alpha

    def state(self, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t given x_0 and standard normal noise z: its mean plus sigma_bar_t z."""
        return self.mean(x0, mu, t) + self.coefficients(t, x0).sigma * noise

    def terminal_state(self, mu: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Where sampling starts: x_T = mu + lambda z."""
        return mu + self.max_sigma * noise

    # What a prediction says

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
        """x_0 that a network's output at (x_t, t) stands for."""
        if self.prediction == 'noise':
            return self.x0_from_noise(x_t, mu, t, prediction)
        return prediction if self.prediction == 'x0' else mu + prediction

    def predicted_noise(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, prediction: torch.Tensor
    ) -> torch.Tensor:
        """Noise that a network's output at (x_t, t) stands for; minus sigma_bar_t times the score."""
        if self.prediction == 'noise':
            return prediction
        return self.noise_from_x0(x_t, mu, t, self.predicted_x0(x_t, mu, t, prediction))

    # Backward in time

    def reverse_sde_mean(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Euler step of the reverse SDE from t to s (t - 1 unless given), without its noise.

        x_t - (theta_t (mu - x_t) - sigma_t^2 score) dt, where a step over several times uses the sum of theta dt.
        """
        return self._euler(x_t, mu, t, noise, s, score_share=1.0)

    def reverse_ode(
        self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Euler step of the probability-flow ODE from t to s (t - 1 unless given): the SDE's with half its score."""
        return self._euler(x_t, mu, t, noise, s, score_share=0.5)

    def reverse_sde_std(self, t: torch.Tensor, like: torch.Tensor, s: torch.Tensor | None = None) -> torch.Tensor:
        """Deviation of the noise that a reverse SDE step from t to s adds: lambda sqrt(2 theta dt)."""
        return self.max_sigma * torch.sqrt(2 * self._decay_between(t, s, like))

    def _euler(
        self,
        x_t: torch.Tensor,
        mu: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
        s: torch.Tensor | None,
        score_share: float,
    ) -> torch.Tensor:
        decay = self._decay_between(t, s, x_t)
        score = -noise / self.coefficients(t, x_t).sigma
        return x_t - decay * (mu - x_t - 2 * self.max_sigma**2 * score_share * score)

    def _decay_between(self, t: torch.Tensor, s: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        step = self.decay_at(t) - self.decay_at(t - 1 if s is None else s)
        return step.to(like.dtype).view(-1, 1, 1, 1)

    def posterior_mean(
        self, x_t: torch.Tensor, x0: torch.Tensor, mu: torch.Tensor, t: torch.Tensor, s: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of x_s given x_t and x_0, the optimum reverse state (IR-SDE, proposition 3.2); s is t - 1 unless given.

        With A = alpha_t/alpha_s, B = alpha_t, C = alpha_s:
        A (1 - C^2)/(1 - B^2) (x_t - mu) + C (1 - A^2)/(1 - B^2) (x_0 - mu) + mu.
        """
        share_of_state, share_of_x0, _ = self._posterior(t, s, x_t)
        return share_of_state * (x_t - mu) + share_of_x0 * (x0 - mu) + mu

    def posterior_std(self, t: torch.Tensor, like: torch.Tensor, s: torch.Tensor | None = None) -> torch.Tensor:
        """Deviation of x_s given x_t and x_0: lambda sqrt((1 - A^2)(1 - C^2)/(1 - B^2))."""
        return self._posterior(t, s, like)[2]

    def _posterior(
        self, t: torch.Tensor, s: torch.Tensor | None, like: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        to_t, to_s = self.decay_at(t), self.decay_at(t - 1 if s is None else s)
        # 1 - A^2, 1 - B^2 and 1 - C^2 without cancellation near time 0
        lost_between, lost_t, lost_s = (-torch.expm1(-2 * decay) for decay in (to_t - to_s, to_t, to_s))
        share_of_state = torch.exp(to_s - to_t) * lost_s / lost_t
        share_of_x0 = torch.exp(-to_s) * lost_between / lost_t
        std = self.max_sigma * torch.sqrt(lost_between * lost_s / lost_t)
        return tuple(value.to(like.dtype).view(-1, 1, 1, 1) for value in (share_of_state, share_of_x0, std))
