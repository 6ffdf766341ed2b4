import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_entropy.archs import ConditionalNAFNet
from basicsr_entropy.archs.global_mean import GlobalMean, global_mean_statistics
from basicsr_entropy.diffusion import MeanRevertingSDE, Sampler, sample
from basicsr_entropy.diffusion.ensemble import SelfEnsemble
from basicsr_entropy.diffusion.tiling import (
    MODES,
    TiledNetwork,
    Tiling,
    _cells,
    _overlapping,
    no_global_statistics,
    sample_tiled,
    transfer,
)

T = torch.tensor([5.0])


def local(x_t, mu, t):
    """A network with a receptive field of three pixels in each direction."""
    return F.avg_pool2d(x_t - mu, 7, 1, 3, count_include_pad=False)


def moody(x_t, mu, t):
    """A network whose output depends on the mean of its input, as with global pooling."""
    return mu + mu.mean(dim=(-2, -1), keepdim=True)


def ramp(height, width):
    """A scene that brightens from one corner to the other."""
    return (torch.linspace(0, 0.5, height)[:, None] + torch.linspace(0, 0.5, width)).expand(1, 3, -1, -1).contiguous()


def seams(image, starts):
    """Largest mean difference of adjacent columns where tiles start, divided by the mean difference elsewhere."""
    steps = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(0, 1, 2))
    at_starts = torch.zeros_like(steps, dtype=torch.bool)
    at_starts[[start - 1 for start in starts]] = True
    return (steps[at_starts].max() / steps[~at_starts].mean()).item()


@pytest.mark.parametrize(
    ('units', 'size', 'overlap'), [(100, 16, 4), (17, 16, 15), (33, 16, 0), (9, 16, 3), (400, 7, 2)]
)
def test_tiles_cover_an_axis_with_the_minimum_overlap(units, size, overlap):
    spans = _overlapping(units, size, overlap)
    assert (spans[0][0], spans[-1][1]) == (0, units)
    assert all(stop - start == min(size, units) for start, stop in spans)
    assert all(a[1] - b[0] >= overlap for a, b in itertools.pairwise(spans))
    for shift in (0, 0.5, 0.25, 0.75):
        cells = _cells(units, size, shift)
        assert (cells[0][0], cells[-1][1]) == (0, units)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(cells))
        assert all(0 < stop - start <= size for start, stop in cells)


def test_no_interlaced_cell_is_larger_than_a_tile():
    for units, size, shift in itertools.product(range(1, 90), range(1, 24), (0, 0.5, 0.25, 0.75)):
        cells = _cells(units, size, shift)
        assert max(stop - start for start, stop in cells) <= size
        assert [start for start, _ in cells[1:]] == [stop for _, stop in cells[:-1]]


def test_tiles_smaller_than_the_multiple_are_an_error():
    process, mu = MeanRevertingSDE(prediction='x0'), torch.rand(1, 3, 20, 20)
    for mode in ('per_step', 'interlace'):
        with pytest.raises(ValueError, match='^size: must be at least 8, to which the network pads, got 7'):
            sample_tiled(process, moody, mu, Tiling(7, 0, mode), Sampler(steps=1), multiple=8)


def test_an_image_reduced_to_a_pixel_stays_finite():
    process, mu = MeanRevertingSDE(prediction='x0'), torch.rand(1, 3, 9, 7)
    result = sample_tiled(process, lambda x_t, mu, t: mu, mu, Tiling(1, 0, 'downscale'), Sampler(steps=2))
    assert result.isfinite().all()


@pytest.mark.parametrize('shape', [(64, 80), (61, 83), (200, 30)])
@pytest.mark.parametrize('multiple', [1, 8])
@pytest.mark.parametrize('mode', ['per_step', 'interlace'])
def test_tiling_a_pointwise_network_changes_nothing(shape, multiple, mode):
    seen = []

    def pointwise(x_t, mu, t):
        seen.append(x_t.shape[-2:])
        return 2 * x_t - mu

    x_t, mu = torch.rand(2, 2, 3, *shape, dtype=torch.float64)
    tiled = TiledNetwork(pointwise, Tiling(32, 8, mode), multiple)
    for step in range(3):
        torch.testing.assert_close(tiled.at_step(step, 3)(x_t, mu, T), pointwise(x_t, mu, T))
    tiles = [shape for shape in seen if shape != x_t.shape[-2:]]
    assert max(max(shape) for shape in tiles) <= 32


def test_tiling_a_local_network_changes_little_at_the_edges_of_tiles():
    x_t, mu = torch.rand(2, 1, 3, 96, 96, dtype=torch.float64)
    error = (TiledNetwork(local, Tiling(48, 24)).at_step(0, 1)(x_t, mu, T) - local(x_t, mu, T)).abs()
    # the blending weight is near zero at the edge of a tile
    assert error.max() < 0.02
    assert error.mean() < 1e-3


def test_tiles_start_at_multiples():
    starts = []

    def network(x_t, mu, t):
        starts.append((int(mu[0, 0, 0, 0]), int(mu[0, 1, 0, 0])))
        return x_t

    mu = torch.stack(torch.meshgrid(torch.arange(99.0), torch.arange(75.0), indexing='ij'))[None]
    for mode in ('per_step', 'interlace'):
        tiled = TiledNetwork(network, Tiling(40, 8, mode), multiple=16)
        for step in range(5):
            tiled.at_step(step, 5)(mu, mu, T)
    assert len(set(starts)) > 4
    assert all(start % 16 == 0 for pair in starts for start in pair)


def test_blended_tiles_leave_no_seams():
    image, starts = ramp(64, 192), [start for start, _ in _overlapping(192, 64, 32)[1:]]
    blended = TiledNetwork(moody, Tiling(64, 32)).at_step(0, 1)(image, image, T)
    assert seams(blended, starts) < 1.5
    hard = TiledNetwork(moody, Tiling(64, 0)).at_step(0, 1)(image, image, T)
    assert seams(hard, [start for start, _ in _overlapping(192, 64, 0)[1:]]) > 10  # the measure detects seams


class Moody(nn.Module):
    """`moody` with the global mean layer of this package's networks."""

    def __init__(self):
        super().__init__()
        self.mean = GlobalMean()

    def forward(self, x_t, mu, t):
        return mu + self.mean(mu)


@pytest.mark.parametrize('views', [lambda network: network, SelfEnsemble], ids=['one view', 'eight views'])
def test_tiles_use_the_statistics_of_the_whole_image(views):
    net, image = Moody(), ramp(96, 160)
    whole = net(image, image, T)
    error = {}
    for name, statistics in (('per tile', no_global_statistics), ('global', partial(global_mean_statistics, net))):
        tiled = views(TiledNetwork(net, Tiling(48, 16), 2, statistics)).at_step(0, 1)
        error[name] = (tiled(image, image, T) - whole).abs().max().item()
    assert error['per tile'] > 0.2
    assert error['global'] < 1e-5
    assert torch.equal(net(image, image, T), whole)  # the statistics are reset afterwards


@pytest.mark.parametrize('shape', [(96, 160), (91, 150)])
def test_tiling_a_deep_network_with_global_means_changes_little(shape):
    """Each global mean depends on the global means of earlier layers."""
    net = ConditionalNAFNet(width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    image, error = ramp(*shape), {}
    x_t = image + 0.1 * torch.randn_like(image)
    with torch.no_grad():
        whole = net(x_t, image, T)
        for name, statistics in (('per tile', no_global_statistics), ('global', partial(global_mean_statistics, net))):
            tiled = TiledNetwork(net, Tiling(64, 32), net.size_multiple, statistics).at_step(0, 1)
            error[name] = ((tiled(x_t, image, T) - whole).norm() / whole.norm()).item()
    assert error['per tile'] > 0.1
    assert error['global'] < 0.01


def test_interlaced_tiles_move_and_are_blended_last():
    image, stops = ramp(64, 160), []

    def network(x_t, mu, t):
        stops.append(x_t.shape[-1])
        return moody(x_t, mu, t)

    tiled, widths = TiledNetwork(network, Tiling(64, 32, 'interlace')), []
    for step in range(5):
        stops.clear()
        last = tiled.at_step(step, 5)(image, image, T)
        widths.append(tuple(stops))
    assert len(set(widths[:4])) == 4
    assert all(sum(each) == 160 for each in widths[:4])
    assert sum(widths[4]) > 160
    assert seams(last, [start for start, _ in _overlapping(160, 64, 32)[1:]]) < 1.5


@pytest.mark.parametrize('mode', MODES)
def test_images_that_fit_into_a_tile_are_sampled_whole(mode):
    mu, process = torch.rand(1, 3, 30, 32), MeanRevertingSDE(timesteps=5, prediction='residual')
    draw = [torch.Generator().manual_seed(1) for _ in range(2)]
    whole = sample(process, moody, mu, Sampler(steps=3), generator=draw[0])
    assert torch.equal(
        whole, sample_tiled(process, moody, mu, Tiling(32, 8, mode), sampler=Sampler(steps=3), generator=draw[1])
    )


def test_all_tiles_belong_to_one_diffusion_state():
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
    # a uniform gain of four is transferred to every pixel
    assert (result / (4 * mu) - 1).abs().median() < 0.05


def test_transfer_is_exact_for_affine_changes():
    reduced = torch.rand(1, 3, 20, 30) + 0.1
    image = F.interpolate(reduced, size=(60, 90), mode='bilinear')
    torch.testing.assert_close(transfer(image, reduced, 3 * reduced), 3 * image, rtol=0.02, atol=0.02)


def test_self_ensemble_averages_eight_views():
    seen = []

    def network(x_t, mu, t):
        seen.append(mu.clone())
        return torch.zeros_like(x_t) + torch.arange(x_t.shape[-1])  # differs between views

    x_t, mu = torch.rand(2, 1, 3, 4, 6)
    out = SelfEnsemble(network).at_step(0, 1)(x_t, mu, T)
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 8
    for other in (out.flip(-1), out.flip(-2)):
        torch.testing.assert_close(out, other)
    pointwise = lambda x_t, mu, t: x_t * mu  # noqa: E731
    torch.testing.assert_close(SelfEnsemble(pointwise).at_step(0, 1)(x_t, mu, T), x_t * mu)


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
def test_rejects_invalid_tiles(values, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        Tiling(**values)
