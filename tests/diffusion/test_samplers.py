import pytest
import torch

from basicsr_entropy.diffusion import SAMPLERS, MeanRevertingSDE, sample, spaced_times


@pytest.fixture
def scene():
    """A clean image, its dark version, and a network that knows the clean one."""
    x0 = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    return x0, x0 * 0.2, lambda x_t, mu, t: x0 - mu


def test_times_go_evenly_from_the_end_to_zero():
    assert spaced_times(100, 100) == list(range(100, -1, -1))
    assert spaced_times(100, 1) == [100, 0]
    assert spaced_times(100, 8) == [100, 88, 75, 62, 50, 38, 25, 12, 0]
    for steps in range(1, 101):
        times = spaced_times(100, steps)
        assert len(times) == steps + 1
        assert all(a > b for a, b in zip(times, times[1:]))


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_an_exact_prediction_leads_to_x0(scene, sampler):
    x0, mu, network = scene
    # Euler steps land beside x0 by their step size; the posterior lands on it
    process = MeanRevertingSDE(timesteps=100 if sampler == 'posterior' else 2000, prediction='residual')
    result = sample(process, network, mu, sampler=sampler)
    torch.testing.assert_close(result, x0, rtol=0, atol=1e-12 if sampler == 'posterior' else 2e-2)


@pytest.mark.parametrize('steps', [1, 3, 100])
def test_posterior_reaches_x0_in_any_number_of_steps(scene, steps):
    x0, mu, network = scene
    torch.testing.assert_close(sample(MeanRevertingSDE(prediction='residual'), network, mu, steps=steps), x0)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_spends_one_evaluation_a_step_and_shows_every_state(scene, sampler):
    _, mu, network = scene
    times, shown = [], []

    def counting(x_t, mu, t):
        times.append(t.tolist())
        return network(x_t, mu, t)

    process = MeanRevertingSDE(prediction='residual')
    result = sample(
        process, counting, mu, sampler=sampler, steps=4, callback=lambda t, x: shown.append((t, x)), progress=True
    )
    assert times == [[100, 100], [75, 75], [50, 50], [25, 25]]
    assert [t for t, _ in shown] == [100, 75, 50, 25, 0]
    assert torch.equal(shown[-1][1], result)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_generator_is_the_only_source_of_chance(scene, sampler):
    _, mu, _ = scene
    process = MeanRevertingSDE(timesteps=10)

    def draw(seed):
        state = torch.get_rng_state()
        result = sample(
            process, lambda x_t, mu, t: x_t - mu, mu, sampler=sampler, generator=torch.Generator().manual_seed(seed)
        )
        assert torch.equal(state, torch.get_rng_state())
        return result

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_starts_from_a_given_state(scene):
    _, mu, network = scene
    start = torch.rand_like(mu)
    states = []
    sample(MeanRevertingSDE(), network, mu, steps=2, x_T=start, callback=lambda t, x: states.append(x))
    assert torch.equal(states[0], start)


def test_keeps_no_graph(scene):
    _, mu, _ = scene
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert not sample(MeanRevertingSDE(), lambda x_t, mu, t: scale * x_t, mu, steps=2).requires_grad


def test_refuses_unknown_samplers_and_step_counts(scene):
    _, mu, network = scene
    with pytest.raises(ValueError, match="sampler must be one of posterior, sde, ode, got 'ddim'"):
        sample(MeanRevertingSDE(), network, mu, sampler='ddim')
    for steps in (0, 101, 2.5, True):
        with pytest.raises(ValueError, match='steps must be a whole number from 1 to 100'):
            sample(MeanRevertingSDE(), network, mu, steps=steps)
