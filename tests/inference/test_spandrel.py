"""With spandrel, as ComfyUI and chaiNNer load models."""

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from safetensors.torch import load_file

from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.pretrained import write_model

pytest.importorskip('basicsr_entropy.inference.spandrel', exc_type=ImportError)

import spandrel

from basicsr_entropy.inference.spandrel import install


@pytest.fixture
def registry():
    """A copy of spandrel's, with our architecture."""
    registry = spandrel.MAIN_REGISTRY.copy()
    install(registry)
    return registry


@pytest.fixture
def path(pretrained, tmp_path):
    write_model(pretrained, tmp_path / 'tiny.safetensors')
    return tmp_path / 'tiny.safetensors'


def test_loads_files_and_state_dicts(registry, pretrained, path):
    image = torch.rand(1, 3, 21, 30) / 8
    expected = Enhancer(pretrained, device='cpu', channels_last=False)(image)
    loader = spandrel.ModelLoader(registry=registry)
    torch.save(load_file(path), path.with_suffix('.pth'))
    for model in (
        loader.load_from_file(path),
        loader.load_from_file(path.with_suffix('.pth')),
        loader.load_from_state_dict(load_file(path)).eval(),  # as ComfyUI does
    ):
        assert isinstance(model, spandrel.ImageModelDescriptor)
        assert (model.scale, model.input_channels, model.output_channels, model.purpose) == (1, 3, 3, 'Restoration')
        assert model.tiling == spandrel.ModelTiling.INTERNAL
        assert torch.equal(model(image), expected)
        assert torch.equal(model.float()(image), expected)
        with pytest.raises(spandrel.UnsupportedDtypeError):
            model.half()


def test_other_architectures_are_recognized_as_before(registry, pretrained):
    install(registry)  # a second time
    assert sum(support.architecture.id == 'basicsr-entropy' for support in registry) == 1
    compact = SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2).state_dict()
    assert spandrel.ModelLoader(registry=registry).load_from_state_dict(compact).architecture.id == 'Compact'
    with pytest.raises(spandrel.UnsupportedModelError):  # without the options
        spandrel.ModelLoader(registry=registry).load_from_state_dict(dict(pretrained.weights))


def test_default_registry_is_that_of_the_loader(path):
    assert 'basicsr-entropy' not in spandrel.MAIN_REGISTRY
    with pytest.MonkeyPatch.context() as patch:
        for name in ('_architectures', '_ordered', '_by_id'):  # restored afterwards
            patch.setattr(spandrel.MAIN_REGISTRY, name, getattr(spandrel.MAIN_REGISTRY, name))
        install()
        assert spandrel.ModelLoader().load_from_file(path).architecture.name == 'IR-SDE'
