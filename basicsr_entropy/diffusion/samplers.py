"""Samplers of the reverse process: from the degraded image mu to a restored image.

`sample` is a function of the process, a network and mu; nothing is kept between calls. The samplers `posterior`, `sde`
and `ode` are those published with IR-SDE; `mr_ode` and `mr_sde` need only a handful of network function evaluations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from tqdm import tqdm

from basicsr_entropy._checks import check_choice, check_integer
from basicsr_entropy.diffusion.process import MeanRevertingSDE
from basicsr_entropy.diffusion.spacing import SPACINGS, Spacing
from basicsr_entropy.diffusion.steps import (
    Estimate,
    Form,
    Order,
    Step,
    exponential_step,
    ode_step,
    posterior_step,
    sde_step,
)

SamplerType = Literal['posterior', 'sde', 'ode', 'mr_ode', 'mr_sde']

SAMPLERS: tuple[SamplerType, ...] = get_args(SamplerType)
ORDERS: tuple[Order, ...] = get_args(Order)
FORMS: tuple[Form, ...] = get_args(Form)
EXPONENTIAL = ('mr_ode', 'mr_sde')  # the exponential integrators, which alone have an order and a form

EULER = ('sde', 'ode')  # Euler steps, of which the first grow unstable when there are few

# network(x_t, mu, t) -> what process.prediction names; x_t, mu and the result (N, C, H, W), t (N,)
Network = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Generators = torch.Generator | Sequence[torch.Generator]
# called as callback(index, t, x_t, x0) after each network evaluation
Callback = Callable[[int, float, torch.Tensor, torch.Tensor], None]


@runtime_checkable
class StepAware(Protocol):
    """A network whose evaluation depends on the sampling step, such as one evaluated on tiles that move."""

    def at_step(self, index: int, total: int) -> Network:
        """The network for step `index` (from 0) of `total`."""


def network_at_step(network: Network | StepAware, index: int, total: int) -> Network:
    """The network for a sampling step; one that is not step-aware is returned as it is.

    Args:
        network: A network, or an object that gives one for each step.
        index: Index of the step, 0..total-1.
        total: Number of steps.
    """
    return network.at_step(index, total) if isinstance(network, StepAware) else network


@dataclass(frozen=True)
class Sampler:
    """Options of a sampler of the reverse process.

    Attributes:
        type: Sampler of the reverse process. `posterior` draws each state from its posterior given the current state
            and the predicted x_0 (published with IR-SDE); `sde` and `ode` take Euler steps of the reverse SDE and of
            the probability-flow ODE and are stable only with `steps` close to T; `mr_ode` and `mr_sde` are
            mean-reverting exponential integrators, which need few steps.
        steps: Number of sampling steps, each one network function evaluation (NFE) per image: an integer from 1 to
            the number of timesteps T of the process. T by default.
        order: Order of the exponential integrator, 1 or 2, for `mr_ode` and `mr_sde` only. Order 2 extrapolates from
            the previous prediction in all but the first and the last step, at no extra network evaluations. 2 by
            default.
        form: Quantity that the exponential integrator extrapolates, for `mr_ode` and `mr_sde` only: the predicted x_0
            (`data`) or the predicted `noise`. Independent of what the network predicts. `data` by default.
        spacing: Spacing of the timesteps from T to 0 at which the network is evaluated: `trailing` (integers from T to
            about T/steps), or with fractional timesteps from T to 1 `uniform` (even in t), `log_snr` (even in the
            half-logSNR) or `karras` (even in the 7th root of the noise-to-signal ratio).

    Raises:
        ValueError: If a value is not one of its choices or out of range, or an option does not apply to the type; the
            message begins with the name of the attribute.

    Example:
        >>> Sampler('mr_ode', steps=4).timesteps(MeanRevertingSDE(timesteps=100))
        [100.0, 75.0, 50.0, 25.0, 0.0]
        >>> Sampler('posterior', order=2)
        Traceback (most recent call last):
        ValueError: order: applies to mr_ode and mr_sde only; remove it, or choose one of these instead of posterior
    """

    type: SamplerType = 'posterior'
    steps: int | None = None
    order: Order | None = None
    form: Form | None = None
    spacing: Spacing = 'trailing'

    def __post_init__(self) -> None:
        check_choice('type', self.type, SAMPLERS)
        if self.steps is not None:
            check_integer('steps', self.steps, 1)
        for name, choices in (('order', ORDERS), ('form', FORMS)):
            value = getattr(self, name)
            if value is None:
                continue
            if self.type not in EXPONENTIAL:
                raise ValueError(
                    f'{name}: applies to {" and ".join(EXPONENTIAL)} only; '
                    f'remove it, or choose one of these instead of {self.type}'
                )
            check_choice(name, value, choices)
        check_choice('spacing', self.spacing, SPACINGS)

    def timesteps(self, process: MeanRevertingSDE) -> list[float]:
        """Timesteps T = t_0 > t_1 > ... > t_steps = 0 of this sampler; the network is evaluated at all but the last.

        Raises:
            ValueError: If there are more steps than the process has timesteps; the message begins with `steps:`.
        """
        steps = process.timesteps if self.steps is None else self.steps
        if steps > process.timesteps:
            raise ValueError(f'steps: must be at most {process.timesteps}, the timesteps of the process, got {steps}')
        return [*SPACINGS[self.spacing](process, steps), 0.0]

    def caution(self, process: MeanRevertingSDE) -> str:
        """Why this sampler is unlikely to give an image: Euler steps that are too long. Empty if it is.

        Example:
            >>> Sampler('ode', steps=4).caution(MeanRevertingSDE())
            'steps: ode needs most of the 100 timesteps of the process, got 4; for few steps, use posterior or mr_ode'
        """
        timesteps = process.timesteps
        if self.type not in EULER or self.steps is None or 2 * self.steps >= timesteps:
            return ''
        return (
            f'steps: {self.type} needs most of the {timesteps} timesteps of the process, got {self.steps}; '
            'for few steps, use posterior or mr_ode'
        )

    def _step(self) -> Step:
        if self.type not in EXPONENTIAL:
            return {'posterior': posterior_step, 'sde': sde_step, 'ode': ode_step}[self.type]
        return partial(
            exponential_step, stochastic=self.type == 'mr_sde', order=self.order or 2, form=self.form or 'data'
        )


@torch.no_grad()
def sample(
    process: MeanRevertingSDE,
    network: Network | StepAware,
    mu: torch.Tensor,
    sampler: Sampler = Sampler(),  # noqa: B008  (it is frozen)
    *,
    generator: Generators | None = None,
    x_T: torch.Tensor | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Runs the reverse process from mu plus noise to a restored image.

    Args:
        process: The SDE, which also defines what the network's output means.
        network: Called once per step as network(x_t, mu, t), with t of shape (N,), which may be fractional, in mu's
            type but at least float32. A network with a method `at_step(index, total)` is asked for the network of each
            step.
        mu: Degraded image, shape (N, C, H, W), range [0, 1].
        sampler: Type of the sampler, number of steps and timestep spacing.
        generator: Source of all random numbers, on mu's device; torch's global one by default. A list of generators,
            one per image, makes the noise of an image independent of the batch that it is in.
        x_T: State to start from; mu plus noise of standard deviation `process.max_sigma` by default.
        callback: Called as callback(index, t, x_t, x0) after each network evaluation, index 0..steps-1, with the state
            x_t that the network was given at timestep t (T in the first step), and the x_0 that it predicts.
        progress: Show a progress bar over the steps.

    Returns:
        Restored image, shape of mu, not clamped.

    Raises:
        ValueError: If the sampler has more steps than the process has timesteps, `mu` is no batch, or there is not one
            generator per image; the message begins with the name of the argument.

    Example:
        A network that knows the clean image leads to it, whatever the sampler:

        >>> clean = torch.rand(1, 3, 8, 8)
        >>> process = MeanRevertingSDE(prediction='x0')
        >>> restored = sample(process, lambda x_t, mu, t: clean, 0.2 * clean, Sampler('mr_sde', steps=4))
        >>> torch.allclose(restored, clean)
        True
    """
    step, timesteps = sampler._step(), sampler.timesteps(process)

    if mu.ndim != 4:
        raise ValueError(f'mu: must be a batch of images (N, C, H, W), got the shape {tuple(mu.shape)}')
    if isinstance(generator, Sequence) and len(generator) != len(mu):
        raise ValueError(f'generator: there must be one per image of the {len(mu)}, got {len(generator)}')

    def draw_noise() -> torch.Tensor:
        draw = partial(torch.randn, dtype=mu.dtype, device=mu.device)
        if isinstance(generator, Sequence):
            return torch.cat([draw((1, *mu.shape[1:]), generator=each) for each in generator])
        return draw(mu.shape, generator=generator)

    x, previous = process.prior_sample(mu, draw_noise()) if x_T is None else x_T, None
    pairs = list(zip(timesteps, timesteps[1:]))
    for index, pair in enumerate(tqdm(pairs, desc=sampler.type, unit='step', leave=False, disable=not progress)):
        t, s = (torch.full((mu.shape[0],), each, dtype=torch.float64, device=mu.device) for each in pair)
        prediction = network_at_step(network, index, len(pairs))(
            x, mu, t.to(torch.promote_types(mu.dtype, torch.float32))
        )
        current = Estimate(
            t, x, process.predicted_x0(x, mu, t, prediction), process.predicted_noise(x, mu, t, prediction)
        )
        if callback is not None:
            callback(index, pair[0], x, current.x0)
        x, previous = step(process, mu, current, previous, s, draw_noise), current
    return x
