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
    ],
)
def test_errors_name_the_flags(run, workdir, arguments, message):
    import torch

    torch.save({'params': {'a': torch.zeros(1)}}, workdir / 'net.pth')
    code, _, err = run('enhance', 'night', '-o', 'out', *arguments)
    assert_one_line(code, err, message)
