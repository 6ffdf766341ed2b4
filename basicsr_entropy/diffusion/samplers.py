"""From the degraded image back to a clean one.

A sampler is a function of the process, a network and the degraded image; it keeps nothing between calls. `posterior`,
`sde` and `ode` are those published with IR-SDE; `mr_ode` and `mr_sde` need a handful of steps only.
"""

from collections.abc import Callable
from functools import partial

import torch
from tqdm import tqdm

from basicsr_entropy._checks import check_choice
from basicsr_entropy.diffusion.process import MeanRevertingSDE
from basicsr_entropy.diffusion.spacing import spaced_times
from basicsr_entropy.diffusion.steps import Estimate, Step, exponential_step, ode_step, posterior_step, sde_step

# (x_t, mu, t) -> what process.prediction names; t has shape (N,)
Network = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

SAMPLERS: dict[str, Step] = {
    'posterior': posterior_step,
    'sde': sde_step,
    'ode': ode_step,
    'mr_ode': partial(exponential_step, stochastic=False),
    'mr_sde': partial(exponential_step, stochastic=True),
}
EXPONENTIAL = ('mr_ode', 'mr_sde')
ORDERS = (1, 2)
FORMS = ('data', 'noise')


def step_of(sampler: str, order: int | None = None, form: str | None = None) -> Step:
    """The step that a sampler takes.

    Args:
        sampler: A name of `SAMPLERS`.
        order: Of mr_ode and mr_sde: 1 or 2 (default).
        form: Of mr_ode and mr_sde: 'data' (default) or 'noise'.

    Raises:
        ValueError: If one is unknown or not of this sampler; the message begins with its name.
    """
    check_choice('sampler', sampler, SAMPLERS)
    given = {name: value for name, value in (('order', order), ('form', form)) if value is not None}
    for name, value in given.items():
        if sampler not in EXPONENTIAL:
            raise ValueError(f'{name} is an option of {" and ".join(EXPONENTIAL)}; {sampler} has none')
        check_choice(name, value, ORDERS if name == 'order' else FORMS)
    return partial(SAMPLERS[sampler], **given)


@torch.no_grad()
def sample(
    process: MeanRevertingSDE,
    network: Network,
    mu: torch.Tensor,
    *,
    sampler: str = 'posterior',
    steps: int | None = None,
    order: int | None = None,
    form: str | None = None,
    spacing: str = 'trailing',
    generator: torch.Generator | None = None,
    x_T: torch.Tensor | None = None,
    callback: Callable[[int, float, torch.Tensor, torch.Tensor], None] | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Runs the reverse process from mu plus noise to a restored image.

    Args:
        process: The SDE; says also what the network predicts.
        network: Called as network(x_t, mu, t) once a step, with t of shape (N,), which may be fractional.
        mu: Degraded image, shape (N, C, H, W), range [0, 1].
        sampler: 'posterior', 'sde', 'ode', 'mr_ode' or 'mr_sde'. The Euler samplers sde and ode need most of the T
            steps to be stable.
        steps: Network evaluations, 1..T; T by default.
        order: Of mr_ode and mr_sde: 1 or 2 (default). The first step and the last are of order 1.
        form: Of mr_ode and mr_sde: integrate a predicted x_0 ('data', default) or 'noise', whichever the network
            predicts.
        spacing: 'trailing', 'uniform', 'log_snr' or 'karras'; see `spaced_times`.
        generator: Source of every random number, on mu's device; torch's global one by default.
        x_T: State to start from; drawn around mu by default.
        callback: Called as callback(index, t, x_t, x0) after each evaluation, index 0..steps-1, with the state that the
            network was given at t, T the first, and the x_0 that it predicts. The final image is what is returned.
        progress: Show a progress bar over the steps.

    Returns:
        Restored image, shape of mu, not clamped.

    Raises:
        ValueError: If an option is unknown or out of range; the message begins with its name.
    """
    step, times = step_of(sampler, order, form), spaced_times(process, steps, spacing)

    def draw() -> torch.Tensor:
        return torch.randn(mu.shape, dtype=mu.dtype, device=mu.device, generator=generator)

    x, before = process.terminal_state(mu, draw()) if x_T is None else x_T, None
    bar = tqdm(list(zip(times, times[1:])), desc=sampler, unit='step', leave=False, disable=not progress)
    for index, (time, next_time) in enumerate(bar):
        t, s = (torch.full((mu.shape[0],), each, dtype=torch.float64, device=mu.device) for each in (time, next_time))
        prediction = network(x, mu, t.to(mu.dtype))
        now = Estimate(t, x, process.predicted_x0(x, mu, t, prediction), process.predicted_noise(x, mu, t, prediction))
        if callback is not None:
            callback(index, time, x, now.x0)
        x, before = step(process, mu, now, before, s, draw), now
    return x
