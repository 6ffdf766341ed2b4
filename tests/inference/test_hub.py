"""With huggingface_hub, in local folders."""

import json
import sys

import pytest
import torch

pytest.importorskip('huggingface_hub')

from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.hub import HubModel


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


def test_folder_keeps_the_model(pretrained, tmp_path):
    image = torch.rand(1, 3, 20, 28) / 8
    expected = Enhancer(pretrained, device='cpu', channels_last=False)(image)
    HubModel.of(pretrained).save_pretrained(tmp_path / 'tiny')
    assert {path.name for path in (tmp_path / 'tiny').iterdir()} == {'README.md', 'config.json', 'model.safetensors'}
    config = json.loads((tmp_path / 'tiny/config.json').read_text())
    assert config == {'network_g': pretrained.network_g, 'sde': pretrained.sde, 'sampler': pretrained.sampler}

    loaded = HubModel.from_pretrained(tmp_path / 'tiny')
    assert not loaded.training
    assert torch.equal(loaded(image), expected)
    loaded.save_pretrained(tmp_path / 'again')
    assert torch.equal(HubModel.from_pretrained(tmp_path / 'again')(image), expected)
    # the folder is a model for this package, too
    assert torch.equal(Enhancer.from_pretrained(tmp_path / 'tiny', channels_last=False)(image), expected)


def test_weights_that_do_not_fit_are_refused(pretrained, tmp_path):
    HubModel.of(pretrained).save_pretrained(tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    config['network_g']['width'] = 16
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='model.safetensors does not fit network_g'):
        HubModel.from_pretrained(tmp_path)


def test_names_a_missing_package(monkeypatch):
    monkeypatch.delitem(sys.modules, 'basicsr_entropy.inference.hub')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ImportError, match=r'pip install "basicsr-entropy\[hub\]"'):
        import basicsr_entropy.inference.hub  # noqa: F401
