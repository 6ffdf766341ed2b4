"""`basicsr-entropy enhance`; what it makes of photographs is tested with inference."""

import pytest
from helpers import assert_one_line, photograph, write_image


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--tile', '64', '--tile-overlap', '64'), 'error: --tile-overlap: must be smaller than --tile 64, got 64'),
        (('--tile', '-1'), 'error: --tile: must be .* at least 1, got -1'),
        (('--steps', '0'), 'error: --steps: must be .* got 0'),
        (('--seed', '-1'), 'error: --seed: must be .* got -1'),
        (('--device', 'abacus'), r"error: --device: torch cannot compute on 'abacus' here; use cpu( or cuda)? \("),
        (('--tile', '7', '--tile-overlap', '2'), 'error: --tile: must be at least 16, to which the network pads, got'),
        (('--model', 'net.pth'), r'net.pth holds weights without their options; .* \(-opt\)'),
        (('-opt', 'absent.yml'), 'error: -opt: no file absent.yml'),
        (('--strength', '2'), 'error: --strength: must be a number from 0 to 1, got 2'),
        (('--exposure', '9'), 'error: --exposure: must be a number from -5 to 5, got 9'),
        (('--brightness', '45'), 'error: --brightness: must be a number from 0 to 1, got 45'),
        (('--protect-highlights', '-1'), 'error: --protect-highlights: must be a number from 0 to 1, got -1'),
        (('--json', '.'), r'error: --json: \. is a folder; give a file'),
        (('--json', 'net.pth/a.json'), 'error: --json: cannot write to .*net.pth: '),
        (('--json', 'out/b.png'), 'error: --json: out/b.png is the name of an image; give the report another'),
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


def test_a_photograph_after_a_forgotten_report_file_is_kept(run, workdir):
    for name in ('night.jpg', 'shot.nef', 'b.png'):
        write_image(workdir / 'b.png', photograph(1))
        (workdir / name).write_bytes(before := (workdir / 'b.png').read_bytes())
        code, _, err = run('enhance', '--json', name, 'b.png', '-o', 'out', '--steps', '1')
        assert_one_line(code, err, f'error: --json: {name} is the name of an image; give the report another')
        assert (workdir / name).read_bytes() == before
        assert not (workdir / 'out').exists()


def test_empty_paths_do_not_stand_for_the_current_folder(run, workdir):
    write_image(workdir / 'private/a.png', photograph(1))
    for flag, *arguments in (
        ('inputs', '', '-o', 'out'),
        ('inputs', 'private', '', '-o', 'out'),
        ('-o', 'private', '-o', ''),
    ):
        code, _, err = run('enhance', *arguments, '--steps', '1')
        assert_one_line(code, err, rf'error: {flag}: the path is empty; write \. for the current folder')
        assert [path.name for path in workdir.iterdir()] == ['private']
