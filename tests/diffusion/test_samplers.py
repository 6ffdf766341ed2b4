import math
from itertools import product

import pytest
import torch

from basicsr_entropy.diffusion import FORMS, ORDERS, PREDICTIONS, SAMPLERS, SPACINGS, MeanRevertingSDE, Sampler, sample

ODE = [{'type': 'mr_ode', 'order': order, 'form': form} for order, form in product(ORDERS, FORMS)]
SDE = [{**options, 'type': 'mr_sde'} for options in ODE]
PUBLISHED = [{'type': 'posterior'}, {'type': 'sde'}, {'type': 'ode'}]


def named(options):
    return '-'.join(map(str, options.values())) if isinstance(options, dict) else None


@pytest.fixture
def scene():
    """A clean image, its dark version, and a network that predicts the exact residual."""
    x0 = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    return x0, x0 * 0.2, lambda x_t, mu, t: x0 - mu


class Gaussian:
    """Clean images with normally distributed pixels of mean mu + 0.3 and standard deviation 0.4, with exact solutions.

    With y = x - mu, y_t is normal with mean alpha_t 0.3 and variance V_t = alpha_t^2 0.4^2 + sigma_bar_t^2.
    """

    offset, std = 0.3, 0.4

    def __init__(self, process, mu):
        self.process, self.mu = process, mu

    def moments(self, t):
        alpha, sigma = self.process.coefficients(torch.as_tensor([t], dtype=torch.float64), self.mu)
        return alpha, (alpha * self.std) ** 2 + sigma**2

    def network(self, x_t, mu, t):
        """E[x_0 - mu | x_t]."""
        alpha, variance = self.moments(t[0].item())
        return self.offset + alpha * self.std**2 / variance * (x_t - mu - alpha * self.offset)

    def ode_solution(self, x_t, t, s):
        """x_s, and no variance: the probability-flow ODE keeps (y - mean)/std."""
        (alpha_t, variance_t), (alpha_s, variance_s) = self.moments(t), self.moments(s)
        standard = (x_t - self.mu - alpha_t * self.offset) / variance_t.sqrt()
        return self.mu + alpha_s * self.offset + variance_s.sqrt() * standard, 0.0

    def sde_solution(self, x_t, t, s):
        """Mean and variance of x_s given x_t: the covariance of y_s and y_t is V_s alpha_t/alpha_s."""
        (alpha_t, variance_t), (alpha_s, variance_s) = self.moments(t), self.moments(s)
        gain = alpha_t / alpha_s * variance_s / variance_t
        mean = self.mu + alpha_s * self.offset + gain * (x_t - self.mu - alpha_t * self.offset)
        return mean, (variance_s - gain**2 * variance_t).item()


def states_of(process, network, mu, x_T=None, generator=None, **options):
    """Timesteps and states of every evaluation, and the result."""
    seen, record = [], lambda index, t, x, x0: seen.append((t, x))
    result = sample(process, network, mu, Sampler(**options), callback=record, x_T=x_T, generator=generator)
    return [*seen, (0.0, result)]


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_an_exact_prediction_leads_to_x0(scene, sampler):
    x0, mu, network = scene
    # Euler steps have an error of the order of the step size; the others end exactly at x0
    euler = sampler in ('sde', 'ode')
    result = sample(
        MeanRevertingSDE(timesteps=2000 if euler else 100, prediction='residual'), network, mu, Sampler(sampler)
    )
    torch.testing.assert_close(result, x0, rtol=0, atol=2e-2 if euler else 1e-12)


@pytest.mark.parametrize('spacing', SPACINGS)
@pytest.mark.parametrize('options', [{'type': 'posterior'}, *ODE, *SDE], ids=named)
def test_an_exact_prediction_leads_to_x0_in_any_number_of_steps(scene, options, spacing):
    x0, mu, network = scene
    process = MeanRevertingSDE(prediction='residual')
    for steps in (1, 2, 3, 8, 100):
        result = sample(process, network, mu, Sampler(steps=steps, spacing=spacing, **options))
        torch.testing.assert_close(result, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize('prediction', PREDICTIONS)
@pytest.mark.parametrize('options', ODE, ids=named)
def test_with_an_exact_prediction_the_ode_stays_on_its_path(scene, options, prediction):
    """Every state is mean + sigma z with the z of the first state, whatever the step size."""
    x0, mu, _ = scene
    process, z = MeanRevertingSDE(prediction=prediction), torch.randn_like(x0)
    exact = {'noise': z, 'x0': x0, 'residual': x0 - mu}[prediction]
    start = process.q_sample(x0, mu, torch.tensor([100]), z)
    for steps, spacing in product((2, 3, 7), SPACINGS):
        for t, x in states_of(
            process, lambda x_t, mu, t: exact, mu, steps=steps, spacing=spacing, x_T=start, **options
        ):
            torch.testing.assert_close(
                x, process.q_sample(x0, mu, torch.tensor([t], dtype=torch.float64), z), rtol=0, atol=1e-10
            )


def set_noise(monkeypatch, value):
    monkeypatch.setattr(torch, 'randn', lambda shape, generator, **kind: torch.full(shape, value, **kind))


@pytest.mark.parametrize('options', [*ODE, *SDE], ids=named)
def test_error_falls_with_the_order_of_the_sampler(monkeypatch, options):
    """Error of the mean and of the variance, exactly: with a linear network each draw contributes independently.

    The k-th draw is 1 at pixel k and 0 elsewhere; the last pixel gets no noise.
    """
    process, errors = MeanRevertingSDE(timesteps=200, prediction='residual'), []
    for steps in (50, 100, 200):
        draws = iter(torch.eye(steps + 1, dtype=torch.float64))
        monkeypatch.setattr(torch, 'randn', lambda shape, draws=draws, **kind: next(draws).view(shape))
        mu = torch.full((1, 1, 1, steps + 1), 0.1, dtype=torch.float64)
        gaussian, start = Gaussian(process, mu), mu - 0.2
        # the last step, from 1 to 0, has the same size for every number of steps
        t, x = states_of(process, gaussian.network, mu, steps=steps, spacing='log_snr', x_T=start, **options)[-2]
        solution = gaussian.ode_solution if options['type'] == 'mr_ode' else gaussian.sde_solution
        mean, variance = solution(start, 200, t)
        drawn = ((x - x[..., -1:]) ** 2).sum().item()
        errors.append((x - mean)[..., -1].abs().item() + abs(drawn - variance))
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
    assert slopes == pytest.approx([options['order']] * 2, abs=0.25), (slopes, errors)


def integrated(process, y, t, s, score_factor, form, value):
    """y at s of dy = -(y + 2 lambda^2 score_factor score) d(decay), by Runge-Kutta; `value` maps the half-logSNR."""

    def slope(decay, y):
        alpha = math.exp(-decay)
        sigma = process.max_sigma * math.sqrt(-math.expm1(-2 * decay))
        known = value(math.log(alpha / sigma))
        noise = known if form == 'noise' else (y - alpha * known) / sigma
        return -(y - 2 * process.max_sigma**2 * score_factor * noise / sigma)

    decay, end = (process.decay_at(torch.tensor(time, dtype=torch.float64)).item() for time in (t, s))
    step = (end - decay) / 1000
    for _ in range(1000):
        a = slope(decay, y)
        b = slope(decay + step / 2, y + step / 2 * a)
        c = slope(decay + step / 2, y + step / 2 * b)
        d = slope(decay + step, y + step * c)
        decay, y = decay + step, y + step / 6 * (a + 2 * b + 2 * c + d)
    return y


@pytest.mark.parametrize('spacing', ['trailing', 'karras'])
@pytest.mark.parametrize('options', [*ODE, *SDE], ids=named)
def test_is_exact_for_predictions_of_the_form_that_the_order_assumes(monkeypatch, options, spacing):
    """Order 1 assumes a prediction that is constant over a step, order 2 one that is linear in the half-logSNR."""
    set_noise(monkeypatch, 0.0)
    order, form = options['order'], options['form']
    process = MeanRevertingSDE(prediction='noise' if form == 'noise' else 'residual')

    def value(half_log_snr):
        return 0.3 + (0.2 * half_log_snr if order == 2 else 0)

    def network(x_t, mu, t):
        return torch.full_like(mu, value(process.half_log_snr(t[0]).item()))

    mu = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)
    states = states_of(process, network, mu, steps=8, spacing=spacing, x_T=mu + 0.5, **options)[:-1]
    score_factor = 0.5 if options['type'] == 'mr_ode' else 1
    for (t, x_t), (s, x_s) in list(zip(states, states[1:]))[order - 1 :]:
        expected = integrated(process, (x_t - mu).item(), t, s, score_factor, form, value)
        assert (x_s - mu).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize('form', FORMS)
def test_noise_of_the_sde_has_the_standard_deviation_of_the_equation(monkeypatch, form):
    """For a constant noise prediction y grows by e^decay; for a constant x0 the noise is that of the posterior."""
    process = MeanRevertingSDE()
    mu, known = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    states = []
    for noise in (0.0, 1.0):
        set_noise(monkeypatch, noise)
        run = states_of(process, lambda x_t, mu, t: known, mu, type='mr_sde', form=form, steps=4, x_T=mu + 0.2)
        states.append(run[1][1].item())
    t, s = torch.tensor([100.0]), torch.tensor([75.0])
    growth = 2 * (process.decay_at(t) - process.decay_at(s))
    expected = process.max_sigma * growth.expm1().sqrt() if form == 'noise' else process.posterior_std(t, mu, s)
    assert states[1] - states[0] == pytest.approx(expected.item())


@pytest.mark.parametrize('options', [*PUBLISHED, *ODE, *SDE], ids=named)
def test_with_all_steps_every_sampler_reaches_the_distribution_of_clean_images(options):
    process = MeanRevertingSDE(prediction='residual')
    mu = torch.full((1, 1, 128, 128), 0.1, dtype=torch.float64)
    gaussian = Gaussian(process, mu)
    alpha, variance = gaussian.moments(100)
    start = mu + alpha * gaussian.offset + variance.sqrt() * torch.randn_like(mu)
    result = sample(process, gaussian.network, mu, Sampler(**options), x_T=start)
    euler = options['type'] in ('sde', 'ode')
    if 'ode' in options['type']:
        error = (result - gaussian.ode_solution(start, 100, 0)[0]).square().mean().sqrt()
        assert error < (0.04 if euler else 0.01)
    else:
        assert (result - mu).mean().item() == pytest.approx(gaussian.offset, abs=0.01)
        assert (result - mu).std().item() == pytest.approx(gaussian.std, abs=0.04 if euler else 0.02)


@pytest.mark.parametrize('spacing', SPACINGS)
def test_posterior_sampling_is_the_sde_of_first_order_in_data_form(scene, spacing):
    _, mu, _ = scene
    process = MeanRevertingSDE(prediction='noise')
    first, second = (
        sample(
            process,
            lambda x_t, mu, t: torch.sin(9 * x_t + mu),
            mu,
            Sampler(steps=6, spacing=spacing, **options),
            generator=torch.Generator().manual_seed(0),
        )
        for options in ({'type': 'posterior'}, {'type': 'mr_sde', 'order': 1, 'form': 'data'})
    )
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


def test_second_order_differs_from_first_from_the_third_state_on(scene):
    """The first step has no previous estimate, and the last one returns the predicted x0."""
    _, mu, _ = scene
    process, generator = MeanRevertingSDE(prediction='x0'), torch.Generator()

    def states(order, steps):
        generator.manual_seed(0)
        network = lambda x_t, mu, t: x_t.clamp(0, 1)  # noqa: E731
        return states_of(process, network, mu, type='mr_ode', order=order, steps=steps, generator=generator)

    same = [torch.equal(a[1], b[1]) for a, b in zip(states(1, 4), states(2, 4))]
    assert same == [True, True, False, False, False]
    assert torch.equal(states(1, 2)[-1][1], states(2, 2)[-1][1])


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_evaluates_the_network_once_per_step_and_calls_back(scene, sampler):
    x0, mu, network = scene
    times, shown = [], []

    def counting(x_t, mu, t):
        times.append(t.tolist())
        return network(x_t, mu, t)

    process = MeanRevertingSDE(prediction='residual')
    start = torch.rand_like(mu)
    sample(
        process,
        counting,
        mu,
        Sampler(sampler, steps=4),
        x_T=start,
        callback=lambda *step: shown.append(step),
        progress=True,
    )
    assert times == [[100, 100], [75, 75], [50, 50], [25, 25]]
    assert [step[:2] for step in shown] == [(0, 100), (1, 75), (2, 50), (3, 25)]
    assert torch.equal(shown[0][2], start)
    assert all(torch.equal(step[3], mu + (x0 - mu)) for step in shown)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_the_generator_is_the_only_source_of_randomness(scene, sampler):
    _, mu, _ = scene
    process = MeanRevertingSDE(timesteps=10)

    def draw(seed):
        state = torch.get_rng_state()
        result = sample(
            process, lambda x_t, mu, t: x_t - mu, mu, Sampler(sampler), generator=torch.Generator().manual_seed(seed)
        )
        assert torch.equal(state, torch.get_rng_state())
        return result

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize('options', [*PUBLISHED, *ODE, *SDE], ids=named)
def test_keeps_the_data_type_of_the_image(scene, options):
    _, mu, _ = scene
    types = set()

    def network(x_t, mu, t):
        types.update((x_t.dtype, t.dtype))
        return x_t - mu

    process = MeanRevertingSDE(prediction='residual')
    result = sample(process, network, mu.float(), Sampler(steps=5, spacing='karras', **options))
    assert types == {torch.float32}
    assert result.dtype == torch.float32
    assert result.isfinite().all()


def test_builds_no_autograd_graph(scene):
    _, mu, _ = scene
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert not sample(MeanRevertingSDE(), lambda x_t, mu, t: scale * x_t, mu, Sampler(steps=2)).requires_grad


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'type': 'ddim'}, 'type: must be one of posterior, sde, ode, mr_ode, mr_sde'),
        ({'steps': 101}, 'steps: must be at most 100, the timesteps of the process, got 101'),
        ({'spacing': 'linear'}, 'spacing: must be one of trailing'),
        ({'type': 'mr_ode', 'order': 3}, 'order: must be one of 1, 2, got 3'),
        ({'type': 'mr_ode', 'order': 0}, 'order: must be one of 1, 2, got 0'),
        ({'type': 'mr_ode', 'order': True}, 'order: must be one of 1, 2, got True'),
        ({'type': 'mr_sde', 'form': 'x0'}, "form: must be one of data, noise, got 'x0'"),
        ({'type': 'posterior', 'order': 2}, 'order: applies to mr_ode and mr_sde only; .* instead of posterior'),
        ({'type': 'ode', 'form': 'data'}, 'form: applies to mr_ode and mr_sde only; .* instead of ode'),
    ],
    ids=str,
)
def test_rejects_options_out_of_range(scene, options, message):
    _, mu, network = scene
    with pytest.raises(ValueError, match=f'^{message}'):
        sample(MeanRevertingSDE(), network, mu, Sampler(**options))


def test_second_order_in_data_form_is_the_default_of_the_exponential_integrators(scene):
    _, mu, _ = scene
    network, process = lambda x_t, mu, t: x_t.clamp(0, 1), MeanRevertingSDE(prediction='x0')  # noqa: E731
    for sampler in ('mr_ode', 'mr_sde'):
        runs = [
            states_of(process, network, mu, generator=torch.Generator().manual_seed(0), **options)[-1][1]
            for options in (
                {'type': sampler, 'steps': 5},
                {'type': sampler, 'steps': 5, 'order': 2, 'form': 'data'},
                {'type': sampler, 'steps': 5, 'order': 1},
            )
        ]
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])


def test_asks_a_step_aware_network_for_the_network_of_each_step(scene):
    x0, mu, network = scene

    class Counting:
        steps = []

        def at_step(self, index, total):
            self.steps.append((index, total))
            return network

    result = sample(MeanRevertingSDE(prediction='residual'), Counting(), mu, Sampler(steps=3))
    assert Counting.steps == [(0, 3), (1, 3), (2, 3)]
    torch.testing.assert_close(result, x0)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_generators_of_each_image_make_its_noise_independent_of_the_batch(sampler):
    process, mu = MeanRevertingSDE(prediction='x0', timesteps=20), torch.rand(3, 3, 8, 8)

    def restored(mu, seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return sample(process, lambda x_t, mu, t: 0.5 * (x_t + mu), mu, Sampler(sampler, steps=4), generator=generators)

    batch = restored(mu, [1, 2, 3])
    torch.testing.assert_close(restored(mu.flip(0), [3, 2, 1]).flip(0), batch)
    torch.testing.assert_close(restored(mu[1:2], [2]), batch[1:2])
    twice = restored(mu[:1].repeat(2, 1, 1, 1), [5, 5])
    assert torch.equal(twice[0], twice[1])
    with pytest.raises(ValueError, match='^generator: there must be one per image of the 3, got 2'):
        restored(mu, [1, 2])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_sees_every_timestep(dtype):
    process, seen = MeanRevertingSDE(prediction='x0', timesteps=1000).to(dtype), []

    def network(x_t, mu, t):
        seen.append(t[0].item())
        return mu

    result = sample(process, network, torch.rand(1, 1, 4, 4, dtype=dtype))
    assert result.dtype == dtype
    assert seen == list(range(1000, 0, -1))


def test_refuses_an_image_without_a_batch():
    with pytest.raises(ValueError, match=r'^mu: must be a batch of images \(N, C, H, W\), got the shape \(3, 8, 9\)'):
        sample(MeanRevertingSDE(), lambda x_t, mu, t: x_t, torch.rand(3, 8, 9))
