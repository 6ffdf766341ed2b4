"""From the degraded image back to a clean one: the three samplers published with IR-SDE.

A sampler is a function of the process, a network and the degraded image; it keeps nothing between calls.
"""

from collections.abc import Callable

import torch
from tqdm import tqdm

from basicsr_entropy.diffusion.process import MeanRevertingSDE

# (x_t, mu, t) -> what process.prediction names; t has shape (N,)
Network = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
# (process, x_t, mu, t, s, prediction, draw) -> x_s
Step = Callable[..., torch.Tensor]


def sde_step(process, x_t, mu, t, s, prediction, draw) -> torch.Tensor:
    """Euler-Maruyama step of the reverse SDE; its noise is left out of the last step."""
    x_s = process.reverse_sde_mean(x_t, mu, t, process.predicted_noise(x_t, mu, t, prediction), s)
    return x_s + (s > 0).to(x_t.dtype).view(-1, 1, 1, 1) * process.reverse_sde_std(t, x_t, s) * draw()


def ode_step(process, x_t, mu, t, s, prediction, draw) -> torch.Tensor:
    """Euler step of the probability-flow ODE; deterministic."""
    return process.reverse_ode(x_t, mu, t, process.predicted_noise(x_t, mu, t, prediction), s)


def posterior_step(process, x_t, mu, t, s, prediction, draw) -> torch.Tensor:
    """Draw from the posterior of x_s given x_t and the predicted x_0; the last step lands on x_0."""
    x0 = process.predicted_x0(x_t, mu, t, prediction)
    return process.posterior_mean(x_t, x0, mu, t, s) + process.posterior_std(t, x_t, s) * draw()


SAMPLERS: dict[str, Step] = {'posterior': posterior_step, 'sde': sde_step, 'ode': ode_step}


def spaced_times(timesteps: int, steps: int) -> list[int]:
    """Whole times T = t_0 > t_1 > ... > t_steps = 0, as evenly spaced as whole numbers allow.

    Raises:
        ValueError: If steps is not in 1..T.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= timesteps:
        raise ValueError(
            f'steps must be a whole number from 1 to {timesteps} (the timesteps of the sde), got {steps!r}'
        )
    return [round(timesteps * (steps - i) / steps) for i in range(steps + 1)]


@torch.no_grad()
def sample(
    process: MeanRevertingSDE,
    network: Network,
    mu: torch.Tensor,
    *,
    sampler: str = 'posterior',
    steps: int | None = None,
    generator: torch.Generator | None = None,
    x_T: torch.Tensor | None = None,
    callback: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Runs the reverse process from mu plus noise to a restored image.

    Args:
        process: The SDE; says also what the network predicts.
        network: Called as network(x_t, mu, t) once a step, with t of shape (N,).
        mu: Degraded image, shape (N, C, H, W), range [0, 1].
        sampler: 'posterior', 'sde' or 'ode'. The two Euler samplers need most of the T steps to be stable.
        steps: Network evaluations, 1..T; all T times by default.
        generator: Source of every random number, on mu's device; torch's global one by default.
        x_T: State to start from; drawn around mu by default.
        callback: Called as callback(t, x_t) with each state from T down to 0.
        progress: Show a progress bar over the steps.

    Returns:
        Restored image, shape of mu, not clamped.

    Raises:
        ValueError: If the sampler is unknown or steps is out of range.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got '{sampler}'")
    step = SAMPLERS[sampler]
    times = spaced_times(process.timesteps, process.timesteps if steps is None else steps)

    def draw() -> torch.Tensor:
        return torch.randn(mu.shape, dtype=mu.dtype, device=mu.device, generator=generator)

    x = process.terminal_state(mu, draw()) if x_T is None else x_T
    if callback is not None:
        callback(times[0], x)
    for t, s in tqdm(list(zip(times, times[1:])), desc=sampler, unit='step', leave=False, disable=not progress):
        t_batch, s_batch = (torch.full((mu.shape[0],), time, device=mu.device) for time in (t, s))
        x = step(process, x, mu, t_batch, s_batch, network(x, mu, t_batch), draw)
        if callback is not None:
            callback(s, x)
    return x
