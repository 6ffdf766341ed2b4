"""`basicsr-entropy enhance`; what it makes of photographs is tested with inference."""

import pytest
from helpers import assert_one_line


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--tile', '64', '--tile-overlap', '64'), 'error: --tile-overlap: must be smaller than --tile 64, got 64'),
        (('--tile', '-1'), 'error: --tile: must be .* at least 1, got -1'),
        (('--steps', '0'), 'error: --steps: must be .* got 0'),
        (('--seed', '-1'), 'error: --seed: must be .* got -1'),
        (('--device', 'abacus'), "error: --device: torch cannot compute on 'abacus' here"),
        (('--model', 'net.pth'), r'net.pth holds weights without their options; .* \(-opt\)'),
        (('-opt', 'absent.yml'), 'error: -opt: no file absent.yml'),
        (('--strength', '2'), 'error: --strength: must be a number from 0 to 1, got 2'),
        (('--exposure', '9'), 'error: --exposure: must be a number from -5 to 5, got 9'),
        (('--brightness', '45'), 'error: --brightness: must be a number from 0 to 1, got 45'),
        (('--protect-highlights', '-1'), 'error: --protect-highlights: must be a number from 0 to 1, got -1'),
        (('--json', '.'), r'error: --json: \. is a folder; give a file'),
        (('--json', 'net.pth/a.json'), 'error: --json: cannot write to .*net.pth: '),
    ],
)
def test_errors_name_the_flags(run, workdir, arguments, message):
    import torch

    torch.save({'params': {'a': torch.zeros(1)}}, workdir / 'net.pth')
    code, _, err = run('enhance', 'night', '-o', 'out', *arguments)
    assert_one_line(code, err, message)


def test_warns_of_a_sampler_that_needs_more_steps(run, workdir):
    warned = 'warning: --steps: ode needs most of the 100 timesteps of the process, got 4; for few steps, use posterior'
    for arguments, expected in ((('--sampler', 'ode', '--steps', '4'), True), (('--sampler', 'mr_ode'), False)):
        code, _, err = run('enhance', 'absent.jpg', '-o', 'out', *arguments)
        assert code == 1  # no such photograph
        assert (warned in err) == expected
        assert 'UserWarning' not in err
