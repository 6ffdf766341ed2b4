"""`basicsr-entropy export`; what it writes is tested with inference."""

import pytest
from helpers import assert_one_line


@pytest.mark.parametrize(
    ('weights', 'out', 'message'),
    [
        ('absent.pth', 'model.safetensors', 'error: --weights: no file absent.pth'),
        ('absent.pth', 'model.pth', 'error: -o: model.pth must end in .safetensors'),
        ('absent.pth', 'tiny.yml.safetensors', 'error: -o: tiny.yml.safetensors exists'),
    ],
)
def test_errors_name_the_flags(run, write_options, workdir, weights, out, message):
    (workdir / 'tiny.yml.safetensors').write_text('mine')
    code, _, err = run('export', '-opt', write_options(), '--weights', weights, '-o', out)
    assert_one_line(code, err, message)
