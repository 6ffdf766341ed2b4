"""`basicsr-entropy report`; what it prints and draws is tested with the training pipeline."""

from helpers import assert_one_line


def test_errors_name_the_flags(run):
    code, _, err = run('report', '-opt', 'absent.yml')
    assert_one_line(code, err, 'error: -opt: no file absent.yml')
