import json

import pytest
import torch
from helpers import train_options
from safetensors import safe_open
from safetensors.torch import save_file

import basicsr_entropy
from basicsr_entropy.config import build
from basicsr_entropy.inference.pretrained import METADATA_KEY, read_pretrained, write_pretrained


@pytest.fixture
def options(tmp_path):
    return train_options(tmp_path)


@pytest.fixture
def weights(tmp_path, options):
    """A checkpoint as BasicSR writes it, with EMA weights."""
    from basicsr.utils.registry import ARCH_REGISTRY

    state = build(ARCH_REGISTRY, options['network_g'], 'network_g').state_dict()
    averaged = {key: value + torch.rand_like(value) for key, value in state.items()}
    torch.save({'params': state, 'params_ema': averaged}, tmp_path / 'net.pth')
    return tmp_path / 'net.pth'


def test_round_trip_is_exact(tmp_path, options, weights):
    out = tmp_path / 'models/tiny.safetensors'
    write_pretrained(options, weights, out)
    read = read_pretrained(out)
    averaged = torch.load(weights)['params_ema']
    assert read.weights.keys() == averaged.keys()
    assert all(torch.equal(read.weights[key], averaged[key]) for key in averaged)
    assert (read.network_g, read.sde) == (options['network_g'], options['sde'])
    assert read.sampler == {'type': 'posterior', 'steps': 2}
    with safe_open(out, 'pt') as file:
        assert json.loads(file.metadata()[METADATA_KEY])['version'] == basicsr_entropy.__version__
    assert [path.name for path in out.parent.iterdir()] == ['tiny.safetensors']


def test_plain_weights_need_options(tmp_path, options, weights):
    message = r'net.pth holds weights without their options; .* \(options=\.\.\.\), or an exported model file'
    with pytest.raises(ValueError, match=message):
        read_pretrained(weights)
    assert read_pretrained(weights, options).network_g == options['network_g']
    save_file({'a': torch.ones(1)}, tmp_path / 'plain.safetensors')
    with pytest.raises(ValueError, match='plain.safetensors holds weights without their options'):
        read_pretrained(tmp_path / 'plain.safetensors')


def test_given_options_override_those_in_the_file(tmp_path, options, weights):
    write_pretrained(options, weights, tmp_path / 'tiny.safetensors')
    options['sde'] = {'timesteps': 7}
    assert read_pretrained(tmp_path / 'tiny.safetensors', options).sde == {'timesteps': 7}


def test_refused_input_leaves_no_file(tmp_path, options, weights):
    out = tmp_path / 'tiny.safetensors'
    with pytest.raises(ValueError, match='^weights: .*net.pth does not fit network_g'):
        write_pretrained({**options, 'network_g': {**options['network_g'], 'width': 16}}, weights, out)
    with pytest.raises(KeyError, match='network_g: missing'):
        write_pretrained({}, weights, out)
    with pytest.raises(ValueError, match='network_g.type: the forward of SRVGGNetCompact does not take x_t, mu and t'):
        write_pretrained({**options, 'network_g': {'type': 'SRVGGNetCompact'}}, weights, out)
    with pytest.raises(FileNotFoundError, match='^weights: no file .*absent.pth'):
        write_pretrained(options, tmp_path / 'absent.pth', out)
    with pytest.raises(ValueError, match=r'must end in .safetensors'):
        write_pretrained(options, weights, tmp_path / 'tiny.pth')
    assert not out.exists()
    out.write_text('mine')
    with pytest.raises(FileExistsError, match='^out: .*tiny.safetensors exists'):
        write_pretrained(options, weights, out)
    assert out.read_text() == 'mine'


def test_damaged_files_are_named(tmp_path, options, weights):
    with pytest.raises(FileNotFoundError, match='no model file absent.safetensors'):
        read_pretrained('absent.safetensors')
    out = tmp_path / 'tiny.safetensors'
    write_pretrained(options, weights, out)
    for content in (out.read_bytes()[:-9], b'', b'no safetensors file'):
        out.write_bytes(content)
        with pytest.raises(ValueError, match='tiny.safetensors is not a safetensors file, or is damaged'):
            read_pretrained(out)
