import pytest
import torch
from torch import nn

from basicsr_entropy.config.outline import TooLarge, outline


def layers(count: int, width: int = 3) -> nn.Module:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(count)))


def test_has_shapes_and_no_memory():
    net = outline(lambda: layers(2, 10**9), most=4)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == {
        f'{index}.{name}': shape for index in range(2) for name, shape in (('weight', (10**9,) * 2), ('bias', (10**9,)))
    }
    assert all(each.is_meta for each in net.parameters())


@pytest.mark.parametrize(('count', 'width'), [(3, 3), (10**400, 3), (1, 10**15)])
def test_stops_at_what_is_too_large(count, width):
    with pytest.raises(TooLarge, match='the network (has more than 4 weights|is too large)'):
        outline(lambda: layers(count, width), most=4)


def test_leaves_other_networks_alone():
    with pytest.raises(TooLarge):
        outline(lambda: layers(3), most=4)
    with pytest.raises(KeyError, match='mine'):
        outline(lambda: {}['mine'], most=4)
    assert len(list(layers(9).parameters())) == 18
    assert torch.zeros(1).device.type == 'cpu'
