import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_entropy.archs import ConditionalNAFNet
from basicsr_entropy.archs.global_mean import GlobalMean, gathered_means
from basicsr_entropy.diffusion import MeanRevertingSDE, Sampler, sample
from basicsr_entropy.diffusion.ensemble import self_ensembled
from basicsr_entropy.diffusion.tiling import (
    MODES,
    Tiling,
    _cells,
    _overlapping,
    no_statistics,
    sample_tiled,
    tiled_network,
    transfer,
)

T = torch.tensor([5.0])


def local(x_t, mu, t):
    """A network that looks three pixels far."""
    return F.avg_pool2d(x_t - mu, 7, 1, 3, count_include_pad=False)


def moody(x_t, mu, t):
    """A network that sees the mean of what it is given, as global pooling does."""
    return mu + mu.mean(dim=(-2, -1), keepdim=True)


def ramp(height, width):
    """A scene that brightens from one corner to the other."""
    return (torch.linspace(0, 0.5, height)[:, None] + torch.linspace(0, 0.5, width)).expand(1, 3, -1, -1).contiguous()


def seams(image, starts):
    """Largest mean step between columns where tiles begin, beside the mean step elsewhere."""
    steps = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(0, 1, 2))
    at_starts = torch.zeros_like(steps, dtype=torch.bool)
    at_starts[[start - 1 for start in starts]] = True
    return (steps[at_starts].max() / steps[~at_starts].mean()).item()


@pytest.mark.parametrize(
    ('units', 'size', 'overlap'), [(100, 16, 4), (17, 16, 15), (33, 16, 0), (9, 16, 3), (400, 7, 2)]
)
def test_tiles_cover_an_axis_and_share_what_they_must(units, size, overlap):
    spans = _overlapping(units, size, overlap)
    assert (spans[0][0], spans[-1][1]) == (0, units)
    assert all(stop - start == min(size, units) for start, stop in spans)
    assert all(a[1] - b[0] >= overlap for a, b in itertools.pairwise(spans))
    for shift in (0, 0.5, 0.25, 0.75):
        cells = _cells(units, size, shift)
        assert (cells[0][0], cells[-1][1]) == (0, units)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(cells))
        assert all(0 < stop - start <= size for start, stop in cells)


@pytest.mark.parametrize('shape', [(64, 80), (61, 83), (200, 30)])
@pytest.mark.parametrize('multiple', [1, 8])
@pytest.mark.parametrize('mode', ['per_step', 'interlace'])
def test_tiles_of_a_pointwise_network_are_the_whole_image(shape, multiple, mode):
    seen = []

    def pointwise(x_t, mu, t):
        seen.append(x_t.shape[-2:])
        return 2 * x_t - mu

    x_t, mu = torch.rand(2, 2, 3, *shape, dtype=torch.float64)
    tiled = tiled_network(pointwise, Tiling(32, 8, mode), evaluations=3, multiple=multiple)
    for t in (T, T - 1, T - 2):
        torch.testing.assert_close(tiled(x_t, mu, t), pointwise(x_t, mu, t))
    tiles = [shape for shape in seen if shape != x_t.shape[-2:]]
    assert max(max(shape) for shape in tiles) <= 32


def test_tiles_of_a_local_network_differ_at_their_edges_only():
    x_t, mu = torch.rand(2, 1, 3, 96, 96, dtype=torch.float64)
    error = (tiled_network(local, Tiling(48, 24), 1)(x_t, mu, T) - local(x_t, mu, T)).abs()
    # blended, the edge of a tile weighs next to nothing
    assert error.max() < 0.02
    assert error.mean() < 1e-3


def test_tiles_begin_at_multiples():
    starts = []

    def network(x_t, mu, t):
        starts.append((int(mu[0, 0, 0, 0]), int(mu[0, 1, 0, 0])))
        return x_t

    mu = torch.stack(torch.meshgrid(torch.arange(99.0), torch.arange(75.0), indexing='ij'))[None]
    for mode in ('per_step', 'interlace'):
        tiled = tiled_network(network, Tiling(40, 8, mode), 5, multiple=16)
        for step in range(5):
            tiled(mu, mu, T - step)
    assert len(set(starts)) > 4
    assert all(start % 16 == 0 for pair in starts for start in pair)


def test_blended_tiles_leave_no_seams():
    image, starts = ramp(64, 192), [start for start, _ in _overlapping(192, 64, 32)[1:]]
    blended = tiled_network(moody, Tiling(64, 32), 1)(image, image, T)
    assert seams(blended, starts) < 1.5
    hard = tiled_network(moody, Tiling(64, 0), 1)(image, image, T)
    assert seams(hard, [start for start, _ in _overlapping(192, 64, 0)[1:]]) > 10  # so that the measure sees them


class Moody(nn.Module):
    """`moody` as a network of this package would be."""

    def __init__(self):
        super().__init__()
        self.mean = GlobalMean()

    def forward(self, x_t, mu, t):
        return mu + self.mean(mu)


@pytest.mark.parametrize('views', [lambda network: network, self_ensembled], ids=['one view', 'eight views'])
def test_tiles_share_the_statistics_of_the_whole_image(views):
    net, image = Moody(), ramp(96, 160)
    whole = net(image, image, T)
    error = {}
    for name, share in (('apart', no_statistics), ('shared', partial(gathered_means, net))):
        tiled = views(tiled_network(net, Tiling(48, 16), 1, 2, share))
        error[name] = (tiled(image, image, T) - whole).abs().max().item()
    assert error['apart'] > 0.2
    assert error['shared'] < 1e-5
    assert torch.equal(net(image, image, T), whole)  # nothing is held afterwards


@pytest.mark.parametrize('shape', [(96, 160), (91, 150)])
def test_tiles_of_a_deep_network_are_the_whole_image(shape):
    """Where each layer takes the mean of what the layers before made of theirs."""
    net = ConditionalNAFNet(width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    image, error = ramp(*shape), {}
    x_t = image + 0.1 * torch.randn_like(image)
    with torch.no_grad():
        whole = net(x_t, image, T)
        for name, share in (('apart', no_statistics), ('shared', partial(gathered_means, net))):
            tiled = tiled_network(net, Tiling(64, 32), 1, net.size_multiple, share)
            error[name] = ((tiled(x_t, image, T) - whole).norm() / whole.norm()).item()
    assert error['apart'] > 0.1
    assert error['shared'] < 0.01


def test_interlaced_tiles_move_and_are_blended_last():
    image, stops = ramp(64, 160), []

    def network(x_t, mu, t):
        stops.append(x_t.shape[-1])
        return moody(x_t, mu, t)

    tiled, widths = tiled_network(network, Tiling(64, 32, 'interlace'), evaluations=5), []
    for step in range(5):
        stops.clear()
        last = tiled(image, image, T - step)
        widths.append(tuple(stops))
    assert len(set(widths[:4])) == 4
    assert all(sum(each) == 160 for each in widths[:4])
    assert sum(widths[4]) > 160
    assert seams(last, [start for start, _ in _overlapping(160, 64, 32)[1:]]) < 1.5


@pytest.mark.parametrize('mode', MODES)
def test_samples_of_what_fits_are_untiled(mode):
    mu, process = torch.rand(1, 3, 30, 32), MeanRevertingSDE(timesteps=5, prediction='residual')
    draw = [torch.Generator().manual_seed(1) for _ in range(2)]
    whole = sample(process, moody, mu, Sampler(steps=3), generator=draw[0])
    assert torch.equal(
        whole, sample_tiled(process, moody, mu, Tiling(32, 8, mode), sampler=Sampler(steps=3), generator=draw[1])
    )


def test_one_state_is_kept_over_all_tiles():
    mu, process, states = torch.rand(1, 3, 48, 64), MeanRevertingSDE(timesteps=5, prediction='residual'), []
    draw = [torch.Generator().manual_seed(1) for _ in range(2)]
    brighter = lambda x_t, mu, t: 0.3 * mu  # noqa: E731
    whole = sample(process, brighter, mu, generator=draw[0])
    options = {'generator': draw[1], 'callback': lambda index, t, x_t, x0: states.append(x_t.shape)}
    tiled = sample_tiled(process, brighter, mu, Tiling(32, 8), **options)
    torch.testing.assert_close(whole, tiled)
    assert states == [mu.shape] * 5


def test_downscaling_samples_a_small_image_and_keeps_fine_detail():
    coarse = F.interpolate(torch.rand(1, 3, 6, 8) * 0.1 + 0.05, size=(120, 160), mode='bicubic')
    mu = coarse * (1 + 0.1 * torch.randn(1, 1, 120, 160))
    seen = []

    def brighter(x_t, mu, t):
        seen.append(tuple(mu.shape[-2:]))
        return 3 * mu

    process = MeanRevertingSDE(timesteps=3, prediction='residual')
    result = sample_tiled(process, brighter, mu, Tiling(80, 8, 'downscale'), generator=torch.Generator().manual_seed(0))
    assert set(seen) == {(60, 80)}
    assert result.shape == mu.shape
    # an even gain of four comes back as such, pixel by pixel
    assert (result / (4 * mu) - 1).abs().median() < 0.05


def test_transfer_is_exact_for_affine_changes():
    reduced = torch.rand(1, 3, 20, 30) + 0.1
    image = F.interpolate(reduced, size=(60, 90), mode='bilinear')
    torch.testing.assert_close(transfer(image, reduced, 3 * reduced), 3 * image, rtol=0.02, atol=0.02)


def test_self_ensemble_averages_eight_views():
    seen = []

    def network(x_t, mu, t):
        seen.append(mu.clone())
        return torch.zeros_like(x_t) + torch.arange(x_t.shape[-1])  # not the same seen from another side

    x_t, mu = torch.rand(2, 1, 3, 4, 6)
    out = self_ensembled(network)(x_t, mu, T)
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 8
    for other in (out.flip(-1), out.flip(-2)):
        torch.testing.assert_close(out, other)
    pointwise = lambda x_t, mu, t: x_t * mu  # noqa: E731
    torch.testing.assert_close(self_ensembled(pointwise)(x_t, mu, T), x_t * mu)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'size': 0}, 'size: must be an integer of at least 1, got 0'),
        ({'size': 3.5}, 'size: must be an integer'),
        ({'overlap': -1}, 'overlap: must be an integer of at least 0'),
        ({'size': 64, 'overlap': 64}, 'overlap: must be smaller than size=64, got 64'),
        ({'mode': 'grid'}, "mode: must be one of per_step, interlace, downscale, got 'grid'"),
    ],
)
def test_refuses_unfit_tiles(values, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        Tiling(**values)
