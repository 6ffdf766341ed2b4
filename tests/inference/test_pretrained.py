import json

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers import train_options
from safetensors import safe_open
from safetensors.torch import save_file

import basicsr_entropy
from basicsr_entropy.archs.conditional_nafnet_arch import ConditionalNAFNet
from basicsr_entropy.config import build
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.pretrained import METADATA_KEY, read_pretrained, write_pretrained


@pytest.fixture
def options(tmp_path):
    return train_options(tmp_path)


@pytest.fixture
def weights(tmp_path, options):
    """A checkpoint as BasicSR writes it, with EMA weights."""
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


@pytest.fixture
def hostile(tmp_path, options, weights):
    """Writes a model file with other options or weights than those of the tiny model."""
    state = torch.load(weights)['params']

    def write(network=None, sde=None, sampler=None, content=None, scale=1.0):
        stored = {
            'network_g': {**options['network_g'], **(network or {})},
            'sde': {**options['sde'], **(sde or {})},
            'sampler': {} if sampler is None else sampler,
        }
        path = tmp_path / 'hostile.safetensors'
        metadata = {METADATA_KEY: json.dumps(stored) if content is None else content}
        save_file({key: value * scale for key, value in state.items()}, path, metadata)
        return path

    return write


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        # networks that download or read files
        (
            {'network': {'type': 'VGGFeatureExtractor'}},
            'network_g.type: a model file may name ConditionalNAFNet or Con',
        ),
        ({'network': {'type': 'SpyNet', 'load_path': '/etc/passwd'}}, "network_g.type: .*, got 'SpyNet'; give the opt"),
        ({'network': {'type': ['ConditionalNAFNet']}}, r"network_g.type: .*, got \['ConditionalNAFNet'\]"),
        # what would be built for ever, or fill the memory
        ({'network': {'middle_blk_num': 10**9}}, 'the file does not fit network_g, whose options describe a larger'),
        ({'network': {'enc_blk_nums': [0] * 9999, 'dec_blk_nums': [0] * 9999}}, 'options describe a larger network'),
        ({'network': {'width': 10**15}}, 'options describe a larger network|have a different shape'),
        ({'network': {'width': 10**7}}, 'the file does not fit network_g .*have a different shape'),
        ({'sde': {'timesteps': 1e12}}, 'sde.timesteps: must be at most 10000 in a model file'),
        ({'sampler': {'steps': 10**9}}, 'steps: must be at most 10'),
        # values that are none
        ({'sde': {'eps': float('nan')}}, 'sde.eps: must be a number, got nan'),
        ({'scale': float('nan')}, 'model: the file holds NaN or infinite weights, in '),
        # options that are none
        (
            {'content': '[]'},
            'hostile.safetensors is damaged: its options must have the sections network_g, sde, sampler',
        ),
        ({'content': '{"network_g": {}}'}, 'hostile.safetensors is damaged: its options must have the sections'),
        ({'content': '{"network_g": {}, "sde": [], "sampler": 1}'}, 'is damaged: its options must have the sections'),
        ({'content': '[' * 100_000}, 'hostile.safetensors is not a safetensors file, or is damaged'),
        ({'content': '{'}, 'hostile.safetensors is not a safetensors file, or is damaged'),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_hostile_model_file_is_refused(hostile, changes, message):
    with pytest.raises(ValueError, match=message):
        Enhancer.from_pretrained(hostile(**changes), device='cpu')


def test_output_that_is_not_finite_is_an_error_and_no_black_image(hostile, tmp_path):
    enhancer = Enhancer.from_pretrained(hostile(scale=1e30), device='cpu', steps=1)
    with pytest.raises(ValueError, match='the output of the model holds NaN or infinite values'):
        enhancer(np.full((8, 8, 3), 20, np.uint8))


def test_a_network_of_another_package_needs_the_option_file(hostile, options, tmp_path, monkeypatch):
    class Foreign(ConditionalNAFNet):
        """A network that another package registered."""

    Foreign.__module__ = 'foreign'
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Foreign', Foreign)
    path = hostile(network={'type': 'Foreign'})
    with pytest.raises(ValueError, match=r"got 'Foreign'; give the option file of another network that you trust"):
        Enhancer.from_pretrained(path, device='cpu')
    options['network_g']['type'] = 'Foreign'
    assert isinstance(Enhancer.from_pretrained(path, options=options, device='cpu').net, Foreign)


@pytest.mark.parametrize(
    ('section', 'content', 'message'),
    [
        ('sampler', {'type': 'posterior', 'zzz': 1}, 'sampler.zzz: unknown option'),
        ('sampler', {'steps': 'many'}, 'sampler.steps: must be'),
        ('sde', {'condition': 5}, 'sde.condition: must be a mapping of options, got 5'),
    ],
)
def test_damaged_sections_of_a_model_file_are_named(section, content, message):
    model = read_pretrained('night_small')
    with pytest.raises((KeyError, ValueError), match=message):
        Enhancer(model._replace(**{section: content}))
