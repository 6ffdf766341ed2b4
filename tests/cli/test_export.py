"""`basicsr-entropy export`; what it writes is tested with inference."""

import sys

import pytest
from helpers import assert_one_line


@pytest.mark.parametrize(
    ('weights', 'out', 'message'),
    [
        ('absent.pth', 'model.safetensors', 'error: --weights: no file absent.pth'),
        ('absent.pth', 'model.pth', 'error: -o: model.pth must end in .safetensors or .onnx'),
        ('absent.pth', 'tiny.yml.safetensors', 'error: -o: tiny.yml.safetensors exists'),
    ],
)
def test_errors_name_the_flags(run, write_options, workdir, weights, out, message):
    (workdir / 'tiny.yml.safetensors').write_text('mine')
    code, _, err = run('export', '-opt', write_options(), '--weights', weights, '-o', out)
    assert_one_line(code, err, message)


def test_a_model_file_is_written_in_another_format(run, workdir):
    from basicsr_entropy.inference.pretrained import read_pretrained

    code, out, err = run('export', '--model', 'night_small', '-o', 'copy.safetensors')
    assert (code, out) == (0, 'model: copy.safetensors\n'), err
    first, copy = read_pretrained('night_small'), read_pretrained(workdir / 'copy.safetensors')
    assert first._replace(weights={}) == copy._replace(weights={})
    assert all((first.weights[key] == copy.weights[key]).all() for key in first.weights)


def test_weights_need_their_option_file(run, workdir):
    code, _, err = run('export', '--weights', 'net.pth', '-o', 'model.safetensors')
    assert_one_line(code, err, 'error: -opt: missing; give the option file')
    code, _, err = run('export', '--weights', 'net.pth', '--model', 'night_small', '-o', 'model.safetensors')
    assert code == 2
    assert 'not allowed with argument' in err


def test_names_missing_packages(run, monkeypatch):
    monkeypatch.delitem(sys.modules, 'basicsr_entropy.inference.onnx', raising=False)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    code, _, err = run('export', '--model', 'night_small', '-o', 'model.onnx')
    assert_one_line(
        code, err, r'ONNX files need the packages onnx and onnxscript: pip install "basicsr-entropy\[onnx\]"'
    )
