import torch
from torch import nn

from basicsr_entropy.models.complexity import complexity


class Net(nn.Module):
    """A network that learns from what it is called on, and draws random numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5))
        self.body[1].eval()  # frozen

    def forward(self, x_t: torch.Tensor, mu: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.body(x_t - mu) + torch.rand(())


def test_counts_without_changing_the_network_or_the_generator():
    net = Net(3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    assert complexity(net, 3, torch.device('cpu')).startswith(
        'One evaluation at 128x128: 0.00 GFLOPs (multiply-adds), '
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_for_other_images_is_not_counted():
    assert complexity(Net(1), 3, torch.device('cpu')) == 'Network of 0.00 M parameters'
