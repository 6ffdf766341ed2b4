import subprocess
import sys

import pytest

import basicsr_entropy.inference


@pytest.mark.parametrize('name', basicsr_entropy.inference.__all__)
def test_public_names_are_there(name):
    assert getattr(basicsr_entropy.inference, name).__name__ == name


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'basicsr_entropy.inference' has no attribute 'Enhancr'"):
        basicsr_entropy.inference.Enhancr  # noqa: B018


def test_reading_photographs_does_not_import_basicsr():
    script = 'import sys; from basicsr_entropy.inference import read_photograph; sys.exit("basicsr" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', script], check=False).returncode == 0
