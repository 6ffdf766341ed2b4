import pytest
import torch
from basicsr.archs import build_network
from helpers import FIXTURES

from basicsr_entropy.archs.layers import ChannelLayerNorm, SinusoidalTimeEmbedding, batch_of_timesteps

SMALL = {
    'ConditionalNAFNet': {'width': 8, 'enc_blk_nums': [1, 2], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1]},
    'ConditionalUNet': {'nf': 8, 'depth': 2},
}


def build(name, **changes):
    return build_network({'type': name, **SMALL[name], **changes}).eval()


@pytest.mark.parametrize(
    ('name', 'file'), [('ConditionalNAFNet', 'conditional_nafnet'), ('ConditionalUNet', 'conditional_unet')]
)
def test_meets_the_published_outputs_with_the_published_weights(golden, name, file):
    numbers = golden(file)
    net = build(name)
    net.load_state_dict({key[3:]: value for key, value in numbers.items() if key.startswith('sd:')}, strict=True)
    with torch.no_grad():
        out = net(numbers['xt'], numbers['mu'], numbers['t'])
    assert ((out - numbers['out']).abs().max() / numbers['out'].abs().max()).item() < 1e-5


def test_published_nafnet_has_the_keys_and_shapes_of_the_released_checkpoint():
    with torch.device('meta'):
        net = build_network({'type': 'ConditionalNAFNet'})
    keys = dict(line.split(' ', 1) for line in (FIXTURES / 'refusion_lolv1_keys.txt').read_text().splitlines())
    assert {key: str(tuple(value.shape)) for key, value in net.state_dict().items()} == keys


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (8, 8), (13, 21)])
def test_supports_images_of_any_size(name, size):
    x, mu = torch.rand(2, 2, 3, *size)
    assert build(name)(x, mu, torch.tensor([1.0, 99.5])).shape == x.shape


@pytest.mark.parametrize('name', SMALL)
def test_the_timestep_may_be_a_number_or_one_per_image(name):
    net = build(name)
    for parameter in net.parameters():  # zero-initialized gains would hide the timestep
        torch.nn.init.normal_(parameter, std=0.2)
    x, mu = torch.rand(2, 2, 3, 8, 8)
    with torch.no_grad():
        together = net(x, mu, torch.tensor([3, 70]))
        torch.testing.assert_close(net(x, mu, 3)[0], together[0])
        torch.testing.assert_close(net(x, mu, torch.tensor([70.0]))[1], together[1])
        torch.testing.assert_close(net(x, mu, torch.tensor([3, 70]).view(2, 1, 1, 1)), together)
        assert not torch.allclose(net(x, mu, 70)[0], together[0])
    with pytest.raises(ValueError, match='t: must be one timestep, or one per image of the 2 in the batch, got 3'):
        net(x, mu, torch.tensor([1, 2, 3]))


@pytest.mark.parametrize('name', SMALL)
def test_every_parameter_gets_a_gradient(name):
    net = build(name)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    net(*torch.rand(2, 2, 3, 8, 8), torch.tensor([3, 70])).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())


def test_supports_other_numbers_of_channels():
    x, mu = torch.rand(2, 1, 1, 8, 8)
    assert build('ConditionalNAFNet', img_channel=1)(x, mu, 5).shape == x.shape
    assert build('ConditionalUNet', in_nc=1, out_nc=1)(x, mu, 5).shape == x.shape


def test_half_precision_runs():
    net = build('ConditionalNAFNet').to(torch.bfloat16)
    x, mu = torch.rand(2, 1, 3, 8, 8, dtype=torch.bfloat16)
    assert net(x, mu, torch.tensor([5])).dtype == torch.bfloat16


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_normalisation_is_accurate_for_large_values_in_half_precision(dtype):
    norm, x = ChannelLayerNorm(8), 2000 * torch.randn(1, 8, 3, 3)
    scale, shift = torch.rand(2, 1, 8, 1, 1)
    expected = norm(x, scale, shift)
    halves = norm.to(dtype)(x.to(dtype), scale.to(dtype), shift.to(dtype))
    assert halves.dtype == dtype
    torch.testing.assert_close(halves.float(), expected, rtol=0.02, atol=0.02)


def test_rejects_invalid_shapes():
    with pytest.raises(
        ValueError, match=r'^dec_blk_nums: must have as many levels as enc_blk_nums \[1\], got \[1, 1\]'
    ):
        build('ConditionalNAFNet', enc_blk_nums=[1])
    with pytest.raises(ValueError, match='^width: must be an even integer of at least 4, got 3'):
        build('ConditionalNAFNet', width=3)
    with pytest.raises(ValueError, match='^depth: must be an integer of at least 1'):
        build('ConditionalUNet', depth=0)


@pytest.mark.parametrize('name', SMALL)
def test_half_precision_tells_a_thousand_timesteps_apart(name):
    t, x = torch.arange(1, 1001), torch.rand(1, 3, 8, 8, dtype=torch.bfloat16)
    embedding = SinusoidalTimeEmbedding(16).bfloat16()
    embedded = embedding(batch_of_timesteps(t, x.expand(1000, -1, -1, -1)))
    assert embedded.dtype == torch.bfloat16
    assert len(embedded.unique(dim=0)) > 990
    assert build(name).bfloat16()(x, x, torch.tensor([506.0])).dtype == torch.bfloat16
