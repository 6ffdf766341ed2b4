import argparse

import pytest

from basicsr_entropy.cli._arguments import count


def test_count():
    assert count('0') == 0
    assert count('12') == 12
    for text in ('-1', '1.5', 'two', ''):
        with pytest.raises(argparse.ArgumentTypeError, match='must be an integer of at least 0'):
            count(text)
