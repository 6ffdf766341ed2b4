import pytest
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from basicsr_entropy.models.networks import check_conditional_network

FITTING = 'use ConditionalNAFNet, ConditionalUNet, or register a network of your own whose forward takes x_t, mu and t'


@pytest.fixture
def register(monkeypatch):
    def register(forward):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Mine', type('Mine', (nn.Module,), {'forward': forward}))

    return register


@pytest.mark.parametrize(
    'forward',
    [
        lambda self, x_t, mu, t: x_t,
        lambda self, noisy, condition, time: noisy,
        lambda self, x_t, mu, t, text=None: x_t,
        lambda self, *inputs: inputs[0],
    ],
)
def test_networks_of_three_inputs_fit_whatever_their_names(register, forward):
    register(forward)
    check_conditional_network({'type': 'Mine'}, 'network_g')


@pytest.mark.parametrize(
    'forward',
    [
        lambda self, x: x,
        lambda self, x, t: x,
        lambda self, x, scale=1, flow=None: x,  # three by accident
        lambda self, x_t, mu, t, text: x_t,
    ],
)
def test_other_networks_are_refused(register, forward):
    register(forward)
    with pytest.raises(
        ValueError, match=f'network_g.type: the forward of Mine does not take x_t, mu and t, .*{FITTING}'
    ):
        check_conditional_network({'type': 'Mine'}, 'network_g')


@pytest.mark.parametrize('command', ['train', 'test'])
def test_command_line_names_the_networks_that_fit(run, write_options, command):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 1}
    code, _, err = run(command, '-opt', write_options(network_g=network, scale=1))
    assert code == 1
    error = next(line for line in err.splitlines() if line.startswith('basicsr-entropy: error: '))
    assert 'network_g.type: the forward of SRVGGNetCompact does not take x_t, mu and t' in error
    assert FITTING in error
