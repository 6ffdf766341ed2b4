"""`basicsr-entropy report`; what it prints and draws is tested with the training pipeline."""

from helpers import assert_one_line


def test_errors_name_the_flags(run, write_test):
    code, _, err = run('report', '-opt', 'absent.yml')
    assert_one_line(code, err, 'error: -opt: no file absent.yml')
    code, _, err = run('report', '-opt', write_test(), '--picture', 'comparison')
    assert_one_line(code, err, 'error: --picture: unknown image format: comparison; use the suffix .jpg or .png')
