import pytest
import torch

from basicsr_entropy.diffusion import PREDICTIONS, SCHEDULES, MeanRevertingSDE


def images(batch=4):
    x0, mu, noise = (torch.rand(batch, 3, 6, 6, dtype=torch.float64) for _ in range(3))
    return x0, mu, noise * 4 - 2


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_meets_the_published_schedules(golden, schedule):
    numbers = {key.removeprefix(f'{schedule}_'): value for key, value in golden('irsde').items()}
    process = MeanRevertingSDE(schedule)
    times = torch.arange(101)
    sigma_bar = process.coefficients(times, torch.zeros(101, 1, 1, 1)).sigma.flatten()
    torch.testing.assert_close(process.theta.float(), numbers['thetas'], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sigma_bar, numbers['sigma_bars'], rtol=1e-6, atol=1e-6)
    assert process.dt == pytest.approx(numbers['dt'].item(), rel=1e-6)
    sigma = process.max_sigma * (2 * process.theta).sqrt()
    torch.testing.assert_close(sigma.float(), numbers['sigmas'], rtol=1e-6, atol=1e-6)
    cumulated = (process.decay / process.dt).float()
    torch.testing.assert_close(cumulated, numbers['thetas_cumsum'], rtol=1e-6, atol=1e-6)


def test_meets_the_published_steps(golden):
    numbers = golden('irsde')
    process = MeanRevertingSDE('cosine')
    x0, mu, x_t, noise = (numbers[key] for key in ('x0', 'mu', 'xt', 'noise'))
    t = numbers['t'].flatten()
    for name, actual in (
        ('mu_bar', process.q_mean(x0, mu, t)),
        ('reverse_sde_step_mean', process.reverse_sde_mean(x_t, mu, t, noise)),
        ('reverse_ode_step', process.reverse_ode(x_t, mu, t, noise)),
        ('reverse_optimum_std', process.posterior_std(t, x_t)),
        ('x0_from_noise', process.x0_from_noise(x_t, mu, t, noise)),
    ):
        torch.testing.assert_close(actual, numbers[name], rtol=1e-6, atol=1e-6, msg=lambda m, name=name: f'{name}: {m}')
    # t = 2 is compared separately: the published float32 code computes 1 - C^2 with C = 1 - 1e-4, with cancellation.
    expected = numbers['reverse_optimum_step']
    actual = process.posterior_mean(x_t, x0, mu, t)
    exact = t != 2
    torch.testing.assert_close(actual[exact], expected[exact], rtol=1e-6, atol=1e-6)
    theta = process.theta.float()
    cumulated = theta.cumsum(0) - theta[0]
    a, b, c = (torch.exp(-rate[2] * process.dt) for rate in (theta, cumulated, cumulated.roll(1)))
    published = a * (1 - c**2) / (1 - b**2) * (x_t - mu) + c * (1 - a**2) / (1 - b**2) * (x0 - mu) + mu
    torch.testing.assert_close(published[~exact], expected[~exact], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actual[~exact], expected[~exact], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_the_fraction_eps_of_x0_remains_at_the_last_timestep(schedule):
    process = MeanRevertingSDE(schedule, timesteps=30, eps=0.01, max_sigma=0.3)
    alpha, sigma = process.coefficients(torch.tensor([0, 30]), torch.zeros(2, 1, 1, 1, dtype=torch.float64))
    assert alpha.flatten().tolist() == pytest.approx([1, 0.01])
    assert sigma.flatten().tolist() == pytest.approx([0, 0.3 * (1 - 1e-4) ** 0.5])


def test_max_sigma_of_one_and_above_is_in_eight_bit_levels():
    assert MeanRevertingSDE(max_sigma=50).max_sigma == pytest.approx(50 / 255)
    assert MeanRevertingSDE(max_sigma=0.2).max_sigma == 0.2


@pytest.mark.parametrize('prediction', PREDICTIONS)
def test_an_exact_prediction_gives_x0_and_the_noise_back(prediction):
    process = MeanRevertingSDE(prediction=prediction)
    x0, mu, noise = images()
    t = torch.tensor([1, 7, 50, 100])
    x_t = process.q_sample(x0, mu, t, noise)
    exact = {'noise': noise, 'x0': x0, 'residual': x0 - mu}[prediction]
    torch.testing.assert_close(process.predicted_x0(x_t, mu, t, exact), x0)
    torch.testing.assert_close(process.predicted_noise(x_t, mu, t, exact), noise)


def test_posterior_is_the_marginal_one_step_before():
    """The posterior maps the marginal at t to that at s, for adjacent timesteps and for longer steps."""
    process = MeanRevertingSDE()
    x0, mu, _ = images(1)
    for t, s in ((100, 99), (2, 1), (80, 13), (9, 0)):
        t, s = torch.tensor([t]), torch.tensor([s])
        at_t, at_s = (process.coefficients(time, x0) for time in (t, s))
        mean = process.posterior_mean(process.q_mean(x0, mu, t), x0, mu, t, s)
        torch.testing.assert_close(mean, process.q_mean(x0, mu, s))
        weight = process.posterior_mean(torch.ones_like(x0), torch.zeros_like(x0), torch.zeros_like(x0), t, s)
        variance = weight**2 * at_t.sigma**2 + process.posterior_std(t, x0, s) ** 2
        torch.testing.assert_close(variance.mean(), (at_s.sigma**2).mean())


def test_posterior_at_timestep_zero_is_x0():
    process = MeanRevertingSDE()
    x0, mu, x_t = images(2)
    t, s = torch.tensor([1, 60]), torch.tensor([0, 0])
    torch.testing.assert_close(process.posterior_mean(x_t, x0, mu, t, s), x0)
    assert (process.posterior_std(t, x0, s) == 0).all()


def test_the_ode_moves_a_state_along_its_marginals():
    """Many small Euler steps carry mean + sigma z at t to the same z at s."""
    process = MeanRevertingSDE(timesteps=4000)
    x0, mu, z = images(1)
    times = [torch.tensor([time]) for time in range(3000, 1999, -1)]
    x = process.q_sample(x0, mu, times[0], z)
    for t in times[:-1]:
        x = process.reverse_ode(x, mu, t, process.noise_from_x0(x, mu, t, x0))
    torch.testing.assert_close(x, process.q_sample(x0, mu, times[-1], z), rtol=0, atol=2e-3)


def test_fractional_timesteps_interpolate_integer_ones():
    process = MeanRevertingSDE()
    times = torch.tensor([0.0, 41.0, 41.5, 42.0, 99.5, 100.0], dtype=torch.float64)
    decay = process.decay_at(times)
    torch.testing.assert_close(decay[[0, 1, 3, 5]], process.decay[[0, 41, 42, 100]])
    assert decay[2].item() == pytest.approx((decay[1] + decay[3]).item() / 2)
    assert (decay.diff() > 0).all()


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_timestep_at_half_log_snr_is_the_inverse_of_half_log_snr(schedule):
    process = MeanRevertingSDE(schedule)
    times = torch.linspace(0.01, 100, 4321, dtype=torch.float64)
    half_log_snr = process.half_log_snr(times)
    assert (half_log_snr.diff() < 0).all()
    alpha, sigma = process.coefficients(times, times)
    torch.testing.assert_close(half_log_snr, (alpha / sigma).log().flatten())
    torch.testing.assert_close(process.timestep_at_half_log_snr(half_log_snr), times, rtol=1e-9, atol=1e-9)


def test_adds_nothing_to_a_state_dict():
    assert not MeanRevertingSDE().state_dict()
    assert not list(MeanRevertingSDE().parameters())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'schedule': 'sigmoid'}, 'schedule: must be one of cosine, linear, constant'),
        ({'timesteps': 0}, 'timesteps: must be an integer of at least 1, got 0'),
        ({'timesteps': 10.0}, 'timesteps: must be'),
        ({'max_sigma': 0}, 'max_sigma: must be a number from 1e-06 to 100000'),
        ({'eps': 1}, 'eps: must be at least 1e-06 and less than 1'),
        ({'prediction': 'velocity'}, 'prediction: must be one of noise, x0, residual'),
    ],
    ids=str,
)
def test_rejects_options_out_of_range(change, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        MeanRevertingSDE(**change)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_tables_keep_their_type(dtype):
    process, moved = MeanRevertingSDE(timesteps=1000), MeanRevertingSDE(timesteps=1000).to(dtype)
    assert torch.equal(moved.theta, process.theta)
    assert torch.equal(moved.decay, process.decay)
    assert not moved.state_dict()
    assert moved.to('meta').decay.is_meta


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'max_sigma': float('inf')}, 'max_sigma: must be a number from 1e-06 to 100000'),
        ({'max_sigma': float('nan')}, 'max_sigma: must be a number from 1e-06 to 100000'),
        ({'eps': 1e-300}, 'eps: must be at least 1e-06 and less than 1, got 1e-300'),
        ({'eps': 1}, 'eps: must be at least 1e-06 and less than 1, got 1'),
    ],
    ids=str,
)
def test_rejects_numbers_that_give_no_process(options, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        MeanRevertingSDE(**options)
