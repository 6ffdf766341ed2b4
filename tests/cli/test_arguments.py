import argparse

import pytest

from basicsr_entropy.cli._arguments import add_controls, build_controls, count
from basicsr_entropy.inference import Controls


def test_count():
    assert count('0') == 0
    assert count('12') == 12
    for text in ('-1', '1.5', 'two', ''):
        with pytest.raises(argparse.ArgumentTypeError, match='must be an integer of at least 0'):
            count(text)


def test_controls_have_the_defaults_of_the_class():
    parser = argparse.ArgumentParser()
    add_controls(parser)
    assert build_controls(parser.parse_args([])) == Controls()
