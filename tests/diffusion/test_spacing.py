from typing import get_args

import pytest
import torch

from basicsr_entropy.diffusion import SPACINGS, MeanRevertingSDE, Sampler
from basicsr_entropy.diffusion.spacing import Spacing


def test_trailing_timesteps_are_integers_evenly_spaced_from_the_last_to_zero():
    process = MeanRevertingSDE()
    assert Sampler().timesteps(process) == list(range(100, -1, -1))
    assert Sampler(steps=8).timesteps(process) == [100, 88, 75, 62, 50, 38, 25, 12, 0]


@pytest.mark.parametrize('spacing', SPACINGS)
@pytest.mark.parametrize('schedule', ['cosine', 'linear', 'constant'])
def test_timesteps_decrease_from_the_last_to_zero_within_the_trained_range(spacing, schedule):
    process = MeanRevertingSDE(schedule)
    for steps in range(1, 101):
        times = Sampler(steps=steps, spacing=spacing).timesteps(process)
        assert len(times) == steps + 1
        assert times[0] == pytest.approx(100)
        assert times[-1] == 0
        assert all(1 <= time <= 100 for time in times[:-1])
        assert all(a > b for a, b in zip(times, times[1:]))


@pytest.mark.parametrize(
    ('spacing', 'measure'),
    [
        ('uniform', lambda process, t: t),
        ('log_snr', lambda process, t: process.half_log_snr(t)),
        ('karras', lambda process, t: torch.exp(-process.half_log_snr(t) / 7)),
    ],
    ids=['uniform', 'log_snr', 'karras'],
)
def test_fractional_timesteps_are_evenly_spaced_in_their_measure_down_to_one(spacing, measure):
    process = MeanRevertingSDE()
    times = torch.tensor(Sampler(steps=12, spacing=spacing).timesteps(process)[:-1], dtype=torch.float64)
    assert times[-1].item() == pytest.approx(1)
    strides = measure(process, times).diff()
    torch.testing.assert_close(strides, strides.mean().expand(11))


def test_with_all_steps_uniform_timesteps_are_the_integers():
    process = MeanRevertingSDE()
    uniform = Sampler(steps=100, spacing='uniform').timesteps(process)
    assert uniform == pytest.approx(Sampler(steps=100).timesteps(process))


def test_rejects_unknown_spacings_and_step_counts():
    for steps in (0, 2.5, True, '8'):
        with pytest.raises(ValueError, match='^steps: must be an integer of at least 1, got '):
            Sampler(steps=steps)
    with pytest.raises(ValueError, match='^steps: must be at most 100, the timesteps of the process, got 101'):
        Sampler(steps=101).timesteps(MeanRevertingSDE())
    for spacing in ('linear', ['karras'], None):
        with pytest.raises(ValueError, match='^spacing: must be one of trailing, uniform, log_snr, karras, got'):
            Sampler(steps=8, spacing=spacing)


def test_every_spacing_is_named_in_the_type():
    assert tuple(SPACINGS) == get_args(Spacing)
