import os
import signal
import subprocess
import sys

import pytest

from basicsr_entropy.training.signals import StopRequested, StopSignals

TWICE = """
import os, signal, time
from basicsr_entropy.training.signals import StopSignals
with StopSignals(launched={launched}) as signals:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.{second})
    print('goes on', flush=True)
"""


@pytest.mark.parametrize(
    ('launched', 'second', 'code', 'out'),
    [
        (False, 'SIGINT', 130, ''),  # a second Ctrl+C
        (True, 'SIGINT', 0, 'goes on\n'),  # which a launcher has forwarded
        (False, 'SIGTERM', 0, 'goes on\n'),
    ],
)
def test_a_second_interrupt_ends_the_process_at_once(launched, second, code, out):
    text = TWICE.format(launched=launched, second=second)
    result = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (code, out), result.stderr
    assert 'SIGINT: saving the state after this step' in result.stderr
    assert ('SIGINT again: ends at once, without saving' in result.stderr) == (code == 130)


def test_a_signal_leaves_what_changes_nothing():
    with StopSignals() as signals:
        with pytest.raises(StopRequested), signals.interruptible():
            os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(StopRequested), signals.interruptible():
            raise AssertionError  # it does not begin, since the signal has come before
        assert signals.received == signal.SIGUSR1


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored():
    """As `nohup` starts it."""
    text = """
import os, signal
from basicsr_entropy.training.signals import StopSignals
with StopSignals() as signals:
    os.kill(os.getpid(), signal.SIGHUP)
    print(signals.received, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print(signals.received.name, flush=True)
"""
    result = subprocess.run(['nohup', sys.executable, '-c', text], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, 'None\nSIGTERM\n'), result.stderr
