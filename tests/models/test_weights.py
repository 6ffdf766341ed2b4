import pytest
import torch
from torch import nn

from basicsr_entropy.models.weights import load_weights, read_weights


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def save(tmp_path, content):
    torch.save(content, tmp_path / 'net.pth')
    return str(tmp_path / 'net.pth')


@pytest.mark.parametrize(
    'wrap',
    [
        lambda weights: weights,
        lambda weights: {f'module.{key}': value for key, value in weights.items()},
        lambda weights: {'params': weights},
        lambda weights: {'params': {f'module.{key}': value for key, value in weights.items()}},
    ],
    ids=['bare', 'bare-module', 'params', 'params-module'],
)
def test_reads_every_kind_of_file(tmp_path, net, wrap):
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    path = save(tmp_path, wrap(net.state_dict()))
    assert load_weights(other, read_weights(path), path) == []
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters()))


def test_takes_the_averaged_weights_where_asked(tmp_path, net):
    averaged = {key: value + 1 for key, value in net.state_dict().items()}
    path = save(tmp_path, {'params': net.state_dict(), 'params_ema': averaged})
    assert torch.equal(read_weights(path, 'params_ema')['0.bias'], net[0].bias + 1)
    assert torch.equal(read_weights(path)['0.bias'], net[0].bias)


def test_another_key_than_those_of_the_file_is_refused(tmp_path, net):
    path = save(tmp_path, {'params': net.state_dict()})
    with pytest.raises(ValueError, match="no state dict under 'param_ema', but params"):
        read_weights(path, 'param_ema')
    assert read_weights(path, 'params_ema').keys() == net.state_dict().keys()  # a run without averaged weights


def test_refuses_what_is_no_state_dict(tmp_path):
    with pytest.raises(FileNotFoundError, match='path.pretrain_network_g: no file'):
        read_weights(str(tmp_path / 'absent.pth'))
    (tmp_path / 'net.pth').write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='net.pth is not a PyTorch checkpoint'):
        read_weights(str(tmp_path / 'net.pth'))
    with pytest.raises(ValueError, match="no state dict under 'params', but epoch, iter"):
        read_weights(save(tmp_path, {'epoch': 1, 'iter': 2}))


def test_says_what_does_not_fit(net):
    weights = {
        '0.weight': torch.zeros(3, 5),
        '0.bias': torch.zeros(3),
        '1.weight': torch.zeros(1, 3),
        'x': torch.ones(1),
    }
    with pytest.raises(ValueError, match='1.bias are missing; x are unknown; 0.weight have a different shape'):
        load_weights(net, weights, 'net.pth')
    troubles = load_weights(net, weights, 'net.pth', strict=False)
    assert len(troubles) == 3
    assert (net[0].bias == 0).all()
    assert not (net[0].weight == 0).any()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e300], ids=str)
@pytest.mark.parametrize('strict', [True, False])
def test_weights_that_are_not_finite_are_named(net, value, strict):
    weights = {key: each.double() for key, each in net.state_dict().items()}
    weights['1.weight'][0, 2] = value
    before = net[0].bias.clone()
    weights['0.bias'] += 1
    with pytest.raises(ValueError, match=r'^model: net.pth holds NaN or infinite weights, in 1.weight: the training'):
        load_weights(net, weights, 'net.pth', strict, option='model')
    assert torch.equal(net[0].bias, before)
