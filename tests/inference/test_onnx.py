"""With onnx and onnxruntime, and `scripts/sample_onnx.py`."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import photograph
from PIL import Image

pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')

from basicsr_entropy.diffusion import Condition, MeanRevertingSDE, Sampler, sample
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.module import EnhancementModule
from basicsr_entropy.inference.onnx import write_onnx

SCRIPT = Path(__file__).parents[2] / 'scripts/sample_onnx.py'


@pytest.fixture(scope='module')
def script():
    return runpy.run_path(str(SCRIPT))


def torch_noise(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator).numpy()


@pytest.mark.slow
def test_file_computes_and_samples_as_the_package_does(pretrained, script, tmp_path, monkeypatch):
    write_onnx(pretrained, tmp_path / 'tiny.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['tiny.onnx']
    network, process = script['load'](str(tmp_path / 'tiny.onnx'))
    module = EnhancementModule.of(pretrained)
    assert process['prediction'] == 'residual'
    assert process['condition'] == {'lift': 'none', 'gamma': 0.4, 'mean': 0.35}
    assert process['timesteps'] == module.sampler.timesteps(module.process)
    for height, width in ((48, 64), (21, 30), (1, 1)):
        x_t, mu = torch.rand(2, 1, 3, height, width)
        with torch.no_grad():
            expected = module.net(x_t, mu, torch.tensor([3.5])).numpy()
        np.testing.assert_allclose(network(x_t.numpy(), mu.numpy(), np.float32([3.5])), expected, atol=1e-5)

    image = photograph(1) // 8
    mu = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    restored = script['sample'](network, process, mu.numpy(), torch_noise(mu.shape, 0))
    np.testing.assert_allclose(restored.clip(0, 1), Enhancer(pretrained, device='cpu')(mu).numpy(), atol=1e-4)

    Image.fromarray(image).save(tmp_path / 'night.png')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [str(SCRIPT), 'tiny.onnx', 'night.png', 'bright.png', '--seed', '3'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    generator = np.random.default_rng(3)
    restored = script['sample'](
        network, process, mu.numpy(), lambda: generator.standard_normal(mu.shape, dtype=np.float32)
    )
    bright = np.asarray(Image.open('bright.png'))
    np.testing.assert_allclose(bright, 255 * restored[0].transpose(1, 2, 0).clip(0, 1), atol=0.51)


@pytest.mark.parametrize('prediction', ['noise', 'x0', 'residual'])
def test_numpy_sampling_is_that_of_the_package(script, prediction):
    """With the process alone, whatever the network predicts, and fractional timesteps."""
    process = MeanRevertingSDE(timesteps=20, prediction=prediction)
    sampler = Sampler(steps=5, spacing='log_snr')
    mu = torch.rand(1, 3, 6, 8, dtype=torch.float64)
    numbers = {
        'prediction': prediction,
        'max_sigma': process.max_sigma,
        'decay': process.decay.tolist(),
        'timesteps': sampler.timesteps(process),
    }
    generator = torch.Generator().manual_seed(1)
    expected = sample(process, lambda x_t, mu, t: (x_t * mu).sin() + t / 50, mu, sampler, generator=generator)
    draws = torch.Generator().manual_seed(1)
    restored = script['sample'](
        lambda x_t, mu, t: np.sin(x_t * mu) + t / 50,
        numbers,
        mu.numpy(),
        lambda: torch.randn(mu.shape, dtype=mu.dtype, generator=draws).numpy(),
    )
    # the network gets float32 states
    np.testing.assert_allclose(restored, expected.numpy(), rtol=2e-4)


@pytest.mark.parametrize('options', [{}, {'lift': 'gamma', 'gamma': 0.5}, {'lift': 'auto', 'mean': 0.3}], ids=str)
@pytest.mark.parametrize('brightness', [0.02, 0.2, 1])
def test_numpy_condition_is_that_of_the_package(script, options, brightness):
    condition, image = Condition(**options), (torch.rand(1, 3, 8, 9) * 255 * brightness).round() / 255
    numbers = {'lift': condition.lift, 'gamma': condition.gamma, 'mean': condition.mean}
    np.testing.assert_allclose(script['condition'](image.numpy(), numbers), condition(image).numpy(), atol=1e-6)


def test_the_script_refuses_another_sampler(script, pretrained, tmp_path):
    write_onnx(pretrained._replace(sampler={'type': 'mr_ode', 'steps': 2}), tmp_path / 'tiny.onnx')
    with pytest.raises(SystemExit, match=r'tiny.onnx: its sampler is mr_ode, and this script has only posterior'):
        script['load'](str(tmp_path / 'tiny.onnx'))


def test_refused_weights_leave_no_file(pretrained, tmp_path):
    with pytest.raises(ValueError, match='does not fit network_g'):
        write_onnx(pretrained._replace(weights={}), tmp_path / 'tiny.onnx')
    assert list(tmp_path.iterdir()) == []
