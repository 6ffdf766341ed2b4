import re
import sys
from pathlib import Path

import pytest

from basicsr_entropy import cli
from basicsr_entropy.cli._errors import in_flags

FLAGS = {'crop_size': '--crop-size', 'step': '--step', 'steps': '--steps', 'out': '-o', 'skip_bad': '--skip-bad'}


@pytest.mark.parametrize(
    ('message', 'printed'),
    [
        ('crop_size: must be at least 1, got 0', '--crop-size: must be at least 1, got 0'),
        ('steps must be at least 1', '--steps must be at least 1'),
        ('step must be at least 1', '--step must be at least 1'),
        ('out: a.png exists', '-o: a.png exists'),
        ('step: has no effect without crop_size=...', '--step: has no effect without --crop-size'),
        ('a.png is 48x40, smaller than crop_size=41', 'a.png is 48x40, smaller than --crop-size 41'),
        ('a.png is damaged (skip_bad=True skips it)', 'a.png is damaged (--skip-bad skips it)'),
        # words of a sentence, parts of paths and option paths stay
        ('the step after the first must be larger', 'the step after the first must be larger'),
        ('/data/step=4/out=1.png is damaged', '/data/step=4/out=1.png is damaged'),
        ('val.sampler.steps: must be at least 1', 'val.sampler.steps: must be at least 1'),
        ('stepsize: unknown', 'stepsize: unknown'),
    ],
)
def test_fields_are_printed_as_flags(message, printed):
    assert in_flags(message, FLAGS) == printed
    assert in_flags(message, {}) == message


def test_traceback_is_there_when_asked_for_and_in_the_log(run, write_options, workdir, monkeypatch, lolv1):
    (lolv1 / 'our485/high/00001.png').write_bytes(b'damaged')
    path = write_options()
    code, _, err = run('train', '-opt', path)
    log = Path(re.search(r'\(traceback in (.*\.log)\)', err)[1])
    assert 'Traceback (most recent call last)' in log.read_text()
    monkeypatch.setattr(sys, 'argv', ['basicsr-entropy', 'train', '-opt', str(path), '--traceback'])
    with pytest.raises(ValueError, match='cannot be read'):
        cli.main()


def test_ctrl_c_is_no_error(run, monkeypatch):
    from basicsr_entropy.cli import report

    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, 'run', interrupt)
    code, _, err = run('report', '-opt', 'test.yml')
    assert (code, err) == (130, 'basicsr-entropy: interrupted\n')
