import pytest
import torch

from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.module import EnhancementModule
from basicsr_entropy.inference.pretrained import (
    OPTIONS_KEY,
    Pretrained,
    pretrained_from_tensors,
    read_pretrained,
    write_model,
)


@pytest.fixture
def image():
    return torch.rand(1, 3, 20, 28) / 8


@pytest.mark.parametrize('lift', ['none', 'auto'])
def test_module_gives_what_the_enhancer_gives(pretrained, image, lift):
    pretrained = pretrained._replace(sde={**pretrained.sde, 'condition': {'lift': lift}})
    module = EnhancementModule.of(pretrained)
    for seed in (0, 3):
        expected = Enhancer(pretrained, seed=seed, device='cpu', channels_last=False)(image)
        assert torch.equal(module(image, seed), expected)
    assert torch.equal(module.to(torch.float32)(image), module(image))


def test_module_keeps_the_whole_model(pretrained):
    kept = EnhancementModule.of(pretrained).to_pretrained()
    assert kept._replace(weights={}) == pretrained._replace(weights={})
    assert kept.weights.keys() == pretrained.weights.keys()
    assert all(torch.equal(kept.weights[key], pretrained.weights[key]) for key in kept.weights)


def test_refuses_what_does_not_fit(pretrained):
    with pytest.raises(ValueError, match='model: the file does not fit network_g'):
        EnhancementModule.of(pretrained._replace(network_g={**pretrained.network_g, 'width': 16}))
    with pytest.raises(ValueError, match='steps: must be at most 10, the timesteps of the process, got 11'):
        EnhancementModule(pretrained.network_g, pretrained.sde, {'type': 'posterior', 'steps': 11})
    with pytest.raises(KeyError, match=r"sampler\.stps: unknown option; did you mean 'steps'\?"):
        EnhancementModule(pretrained.network_g, pretrained.sde, {'stps': 4})
    with pytest.raises(ValueError, match='network_g.type: the forward of SRVGGNetCompact does not take x_t, mu and t'):
        EnhancementModule({'type': 'SRVGGNetCompact'})


def test_tensors_alone_describe_the_model(pretrained, tmp_path):
    from safetensors.torch import load_file

    write_model(pretrained, tmp_path / 'tiny.safetensors')
    state = load_file(tmp_path / 'tiny.safetensors')  # no metadata
    model = pretrained_from_tensors(state, 'the state dict')
    assert OPTIONS_KEY in state  # the caller's is not changed
    assert model._replace(weights={}) == pretrained._replace(weights={})
    assert model.weights.keys() == pretrained.weights.keys()
    torch.save(state, tmp_path / 'tiny.pth')
    assert read_pretrained(tmp_path / 'tiny.pth').sampler == pretrained.sampler
    options = {'network_g': pretrained.network_g, 'sde': {'timesteps': 7}}
    assert read_pretrained(tmp_path / 'tiny.pth', options).sde == {'timesteps': 7}  # given ones override
    assert isinstance(read_pretrained(tmp_path / 'tiny.safetensors'), Pretrained)


def test_damaged_options_among_the_tensors_are_named(pretrained):
    for content in (torch.zeros(3, dtype=torch.uint8), torch.tensor([[1.5]]), torch.full((9,), 300)):
        with pytest.raises(ValueError, match=rf'x.pth is damaged: its tensor {OPTIONS_KEY} is not JSON'):
            pretrained_from_tensors({**pretrained.weights, OPTIONS_KEY: content}, 'x.pth')
    with pytest.raises(ValueError, match=r'x.pth holds weights without their options'):
        pretrained_from_tensors(pretrained.weights, 'x.pth')
