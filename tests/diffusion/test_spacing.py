import pytest
import torch

from basicsr_entropy.diffusion import SPACINGS, MeanRevertingSDE, spaced_times


def test_trailing_times_are_whole_and_go_evenly_from_the_end_to_zero():
    process = MeanRevertingSDE()
    assert spaced_times(process) == list(range(100, -1, -1))
    assert spaced_times(process, 8) == [100, 88, 75, 62, 50, 38, 25, 12, 0]


@pytest.mark.parametrize('spacing', SPACINGS)
@pytest.mark.parametrize('schedule', ['cosine', 'linear', 'constant'])
def test_times_fall_from_the_end_to_zero_and_never_leave_what_was_trained(spacing, schedule):
    process = MeanRevertingSDE(schedule)
    for steps in range(1, 101):
        times = spaced_times(process, steps, spacing)
        assert len(times) == steps + 1
        assert times[0] == pytest.approx(100)
        assert times[-1] == 0
        assert all(1 <= time <= 100 for time in times[:-1])
        assert all(a > b for a, b in zip(times, times[1:]))


@pytest.mark.parametrize(
    ('spacing', 'measure'),
    [
        ('uniform', lambda process, t: t),
        ('log_snr', lambda process, t: process.log_ratio_at(t)),
        ('karras', lambda process, t: torch.exp(-process.log_ratio_at(t) / 7)),
    ],
    ids=['uniform', 'log_snr', 'karras'],
)
def test_fractional_times_are_even_in_their_measure_down_to_one(spacing, measure):
    process = MeanRevertingSDE()
    times = torch.tensor(spaced_times(process, 12, spacing)[:-1], dtype=torch.float64)
    assert times[-1].item() == pytest.approx(1)
    strides = measure(process, times).diff()
    torch.testing.assert_close(strides, strides.mean().expand(11))


def test_at_all_steps_uniform_times_are_the_whole_ones():
    process = MeanRevertingSDE()
    assert spaced_times(process, 100, 'uniform') == pytest.approx(spaced_times(process, 100))


def test_refuses_unknown_spacings_and_step_counts():
    process = MeanRevertingSDE()
    for steps in (0, 101, 2.5, True, '8'):
        with pytest.raises(ValueError, match='^steps must be a whole number from 1 to 100'):
            spaced_times(process, steps)
    for spacing in ('linear', ['karras'], None):
        with pytest.raises(ValueError, match='^spacing must be one of trailing, uniform, log_snr, karras, got'):
            spaced_times(process, 8, spacing)
