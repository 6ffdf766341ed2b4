"""`basicsr-entropy app`; the page itself is tested with inference."""

from helpers import assert_one_line


def test_errors_name_the_flags(run):
    code, _, err = run('app', '--tile', '8', '--tile-overlap', '8')
    assert_one_line(code, err, 'error: --tile-overlap: must be smaller than --tile 8, got 8')


def test_a_wrong_port_is_a_wrong_command_line(run):
    code, _, err = run('app', '--port', 'http')
    assert code == 2
    assert 'argument --port: invalid int value' in err
