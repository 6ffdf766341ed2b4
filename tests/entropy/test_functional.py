import functools
import math

import pytest
import torch

from basicsr_entropy import entropy
from basicsr_entropy.entropy import DIVERGENCES, KERNELS, DensityOptions, neighbor_weights
from basicsr_entropy.entropy.backends import eager
from basicsr_entropy.entropy.reference import divergence_map

SYMMETRIC = ('hellinger', 'jensen_shannon')
ZERO_AT_EQUALITY = ('hellinger', 'relative', 'jensen_shannon')


def spatial_divergence(pred, target, weights, divergence='hellinger', backend='eager', **options):
    return entropy.spatial_divergence(pred, target, weights, divergence, DensityOptions(**options), backend=backend)


def spatial_entropy(image, weights, **options):
    return entropy.spatial_entropy(image, weights, DensityOptions(**options), backend='eager')


def images(shape=(2, 3, 9, 11), dtype=torch.float64):
    """A prediction near its target, both slightly outside [0, 1]."""
    target = torch.rand(shape, dtype=dtype) * 1.2 - 0.1
    return (target + 0.1 * torch.randn(shape, dtype=dtype)).requires_grad_(), target


def weights(dtype=torch.float64):
    return neighbor_weights('random', dtype=dtype)


def relative_error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('case', range(5))
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_meets_the_published_values_and_gradients(golden, case, dtype, tolerance):
    # float32 is compared with the published float64 numbers, because the published float32 ones are up to 7 % off, from
    # cancellation in s(1 - s)
    numbers = {key[2:]: value for key, value in golden('relative_entropy').items() if key.startswith(f'{case}_')}
    weight = numbers.get('weight', torch.ones(1, 1, 3, 3)).to(dtype)[0, 0].clone()
    weight[1, 1] = 0
    pred, target = numbers['pred'].to(dtype).requires_grad_(), numbers['target'].to(dtype)
    options = {
        'levels': int(numbers['levels']),
        'bandwidth': float(numbers['bandwidth']),
        'neighbor_norm': 'published',
    }
    loss = spatial_divergence(pred, target, weight, divergence='relative', **options).mean()
    loss.backward()
    assert loss.item() == pytest.approx(numbers['relative_64'].item(), rel=tolerance)
    assert relative_error(pred.grad, numbers['grad_64']) < tolerance
    entropy = spatial_entropy(target, weight, **options).mean()
    assert entropy.item() == pytest.approx(numbers['shannon'].item(), rel=tolerance)


@pytest.mark.parametrize('divergence', DIVERGENCES)
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'windows': (3,)},
        {'windows': (7, 1)},
        {'windows': 'global'},
        {'kernel': 'sech'},
        {'kernel': 'gaussian', 'bandwidth': 0.8},
        {'value_range': (-0.2, 1.2)},
        {'neighbor_norm': 'published', 'bandwidth': 0.7},
    ],
    ids=str,
)
def test_agrees_with_the_reference_formula(divergence, options):
    pred, target = images()
    weight = weights()
    actual = spatial_divergence(pred, target, weight, divergence=divergence, levels=6, **options)
    direct = dict(options)
    published = direct.pop('neighbor_norm', 'channel') == 'published'
    direct = {'bandwidth': 0.5, 'windows': (1, 3, 5), **direct, 'published': published, 'levels': 6, 'weights': weight}
    expected = divergence_map(divergence, pred, target, **direct)
    assert relative_error(actual, expected) < 1e-12
    upstream = torch.rand_like(expected)
    (grad,) = torch.autograd.grad(actual, pred, upstream)
    (expected_grad,) = torch.autograd.grad(expected, pred, upstream)
    assert relative_error(grad, expected_grad) < 1e-10


@pytest.mark.parametrize('divergence', DIVERGENCES)
def test_does_not_depend_on_strips_and_blocks(monkeypatch, divergence):
    pred, target = images()
    weight = weights()

    def value_and_grad():
        loss = spatial_divergence(pred, target, weight, divergence=divergence, levels=5)
        return loss, torch.autograd.grad(loss.sum(), pred)[0]

    whole = value_and_grad()
    # strips of a few rows of one plane with one or two bins per block, or everything at once
    for budget in (eager.Budget(40, 300), eager.GPU_BUDGET):
        monkeypatch.setattr(eager, 'CPU_BUDGET', budget)
        for cut, expected in zip(value_and_grad(), whole):
            torch.testing.assert_close(cut, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('divergence', DIVERGENCES)
@pytest.mark.parametrize('options', [{}, {'windows': 'global'}, {'unit_mass': True}, {'gray': True}], ids=str)
def test_gradcheck(divergence, options):
    pred = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    target, weight = torch.rand_like(pred).detach(), weights()

    def loss(image):
        return spatial_divergence(image, target, weight, divergence=divergence, levels=4, **options)

    assert torch.autograd.gradcheck(loss, pred)


@pytest.mark.parametrize('kernel', KERNELS)
def test_gradcheck_of_entropy(kernel):
    image = torch.rand(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = weights()
    assert torch.autograd.gradcheck(lambda x: spatial_entropy(x, weight, levels=4, kernel=kernel), image)


@pytest.mark.parametrize('divergence', ZERO_AT_EQUALITY)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('windows', [(1, 3, 5), 'global'])
def test_is_zero_without_gradient_at_equality(divergence, dtype, windows):
    target = torch.rand(1, 3, 8, 8, dtype=dtype)
    pred = target.clone().requires_grad_()
    # with unit mass: the published relative divergence has a gradient where the range cuts densities off
    loss = spatial_divergence(pred, target, weights(), divergence=divergence, levels=8, unit_mass=True, windows=windows)
    loss.sum().backward()
    assert loss.abs().max() < 1e-6
    assert pred.grad.abs().max() < (1e-3 if dtype == torch.float32 else 1e-6)


def test_hellinger_and_jensen_shannon_are_zero_at_equality_without_unit_mass():
    target = torch.rand(1, 3, 8, 8)
    for divergence in SYMMETRIC:
        pred = target.clone().requires_grad_()
        spatial_divergence(pred, target, weights(), divergence=divergence).sum().backward()
        assert (pred.grad == 0).all()


@pytest.mark.parametrize('divergence', SYMMETRIC)
def test_symmetry(divergence):
    pred, target = images()
    weight = weights()
    there = spatial_divergence(pred.detach(), target, weight, divergence=divergence, levels=6)
    back = spatial_divergence(target, pred.detach(), weight, divergence=divergence, levels=6)
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize('divergence', ZERO_AT_EQUALITY)
def test_divergences_of_unit_mass_densities_lie_between_zero_and_their_bound(divergence):
    pred, target = images()
    options = {'divergence': divergence, 'levels': 8, 'unit_mass': True}
    inner = spatial_divergence(pred.detach(), target, weights(), **options)[..., 2:-2, 2:-2]
    assert inner.min() > 0
    bound = {'hellinger': 1.0, 'jensen_shannon': 0.6931472, 'relative': float('inf')}[divergence]
    assert inner.max() < bound


def test_does_not_depend_on_how_a_batch_is_split():
    pred, target = images((4, 2, 8, 8))
    weight = weights()
    whole = spatial_divergence(pred, target, weight, levels=6)
    parts = [spatial_divergence(pred[i : i + 1], target[i : i + 1], weight, levels=6) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(parts))


@pytest.mark.parametrize('divergence', DIVERGENCES)
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('levels', [2, 32])
def test_stays_finite_on_extreme_images(divergence, kernel, levels):
    """Constant, black, white and 8-bit images against each other, in float32."""
    eight_bit = torch.randint(0, 256, (1, 1, 6, 6)) / 255
    extremes = [torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 6, 6), torch.full((1, 1, 6, 6), 0.3), eight_bit]
    for target in extremes:
        for start in extremes:
            pred = start.clone().requires_grad_()
            options = {'divergence': divergence, 'kernel': kernel, 'levels': levels}
            loss = spatial_divergence(pred, target, neighbor_weights('normal'), **options).mean()
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(pred.grad).all()


def test_float32_agrees_with_float64_for_distant_images():
    pred, target = torch.rand(1, 3, 16, 16, dtype=torch.float64), torch.rand(1, 3, 16, 16, dtype=torch.float64) ** 4
    weight = weights()
    for divergence in DIVERGENCES:
        results = []
        for dtype in (torch.float32, torch.float64):
            image = pred.to(dtype).requires_grad_()
            loss = spatial_divergence(image, target.to(dtype), weight, divergence=divergence).mean()
            results.append((loss.double(), torch.autograd.grad(loss, image)[0].double()))
        assert relative_error(results[0][0], results[1][0]) < 1e-5
        assert relative_error(results[0][1], results[1][1]) < 1e-4


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    pred, target = (image.detach().to(dtype) for image in images(dtype=torch.float32))
    weight = weights()
    pred.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = spatial_divergence(pred, target, weight, levels=6)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, spatial_divergence(pred.float(), target.float(), weight, levels=6))
    loss.mean().backward()
    assert pred.grad.dtype == dtype


def test_silverman_bandwidth_follows_the_spread_of_the_target():
    weight = weights()
    wide = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    flat = torch.full_like(wide, 0.5)
    pred = wide.flip(-1)
    rule = wide.std(unbiased=False) * 31 * 144 ** (-1 / 6)
    for target, expected in ((wide, rule.item()), (flat, 0.5)):
        options = {'kernel': 'gaussian', 'levels': 32}
        ruled = spatial_divergence(pred, target, weight, bandwidth='silverman', **options)
        torch.testing.assert_close(ruled, spatial_divergence(pred, target, weight, bandwidth=expected, **options))
    assert rule > 0.5


def test_straight_through_gives_values_outside_the_range_a_gradient():
    target, weight = torch.full((1, 1, 6, 6), 0.2), weights()
    pred = torch.full((1, 1, 6, 6), -0.1, requires_grad=True)
    spatial_divergence(pred, target, weight, levels=8).sum().backward()
    assert (pred.grad == 0).all()
    pred.grad = None
    spatial_divergence(pred, target, weight, levels=8, clamp_grad='straight_through').sum().backward()
    assert (pred.grad < 0).all()  # descent raises the prediction


@pytest.mark.parametrize('levels', [8, 16])
def test_unit_mass_keeps_dark_predictions_from_being_pushed_to_black(levels):
    """For distant images Hellinger is half the sum of the masses: without unit mass it decreases where mass is lost."""
    target, weight = torch.full((1, 1, 7, 7), 0.45, dtype=torch.float64), neighbor_weights('uniform')

    def pull(unit_mass):
        pred = torch.full_like(target, 0.02, requires_grad=True)
        spatial_divergence(pred, target, weight, levels=levels, unit_mass=unit_mass).sum().backward()
        return -pred.grad[0, 0, 3, 3].item()

    assert pull(unit_mass=False) < 0 < pull(unit_mass=True)


def test_gray_compares_luma():
    pred, target = images()
    weight = weights()
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)
    expected = spatial_divergence(
        (pred * luma).sum(1, keepdim=True), (target * luma).sum(1, keepdim=True), weight, levels=6
    )
    torch.testing.assert_close(spatial_divergence(pred, target, weight, levels=6, gray=True), expected)
    with pytest.raises(ValueError, match='1 or 3 channels, got 2'):
        spatial_divergence(pred[:, :2], target[:, :2], weight, gray=True)


def test_memory_does_not_grow_with_the_number_of_bins_times_pixels():
    """In the published setting, a batch of 8 images of 3x128x128 at 32 levels, one tensor of all bins takes 3 GB."""
    import resource

    pred, target = torch.rand(8, 3, 128, 128, requires_grad=True), torch.rand(8, 3, 128, 128)
    # one window is enough to measure how much is held in memory at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spatial_divergence(pred, target, weights(), windows=(1,)).mean().backward()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    assert grown < 200  # MB


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'divergence': 'helinger'}, 'divergence: must be one of hellinger'),
        ({'kernel': 'box'}, 'kernel: must be one of'),
        ({'levels': 1}, 'levels: must be an integer from 2 to 1024, or a list of such integers, got 1'),
        ({'levels': 8.5}, 'levels: must be'),
        ({'levels': True}, 'levels: must be'),
        ({'windows': (1, 4)}, 'odd side lengths'),
        ({'windows': (3, 3)}, 'different odd'),
        ({'windows': ()}, 'windows: must be'),
        ({'windows': 'local'}, "windows: must be 'global'"),
        ({'levels': 1025}, 'levels: must be an integer from 2 to 1024'),
        ({'levels': [8, 1025]}, 'levels: must be an integer from 2 to 1024'),
        ({'windows': [511]}, "windows: must be at most 31 pixels wide, got \\[511\\]; use 'global'"),
        ({'bandwidth': 0}, 'bandwidth: must be a number of levels from 0.001 to 1000'),
        ({'bandwidth': 1e-20}, 'bandwidth: must be a number of levels from 0.001'),
        ({'bandwidth': float('inf')}, 'bandwidth: must be a number of levels from 0.001'),
        ({'bandwidth': float('nan')}, 'bandwidth: must be a number of levels from 0.001'),
        ({'bandwidth': 'scott'}, "or 'silverman'"),
        ({'neighbor_norm': 'none'}, 'neighbor_norm: must be one of'),
        ({'value_range': (1, 0)}, 'value_range: must be two numbers'),
        ({'value_range': (0, math.inf)}, 'value_range: must be two numbers'),
        ({'value_range': None}, 'value_range: must be two numbers'),
        ({'bandwidth': [0.5]}, 'bandwidth: must be a number of levels'),
        ({'clamp_grad': 'soft'}, 'clamp_grad: must be one of'),
        ({'backend': 'cuda'}, 'backend: must be one of auto, eager'),
    ],
    ids=str,
)
def test_rejects_options_out_of_range(change, message):
    image = torch.rand(1, 1, 6, 6)
    with pytest.raises(ValueError, match=message):
        spatial_divergence(image, image, weights(), **change)


@pytest.mark.parametrize('backend', entropy.BACKENDS)
def test_rejects_invalid_images(backend):
    spatial_divergence = functools.partial(entropy.spatial_divergence, backend=backend)
    good, weight = torch.rand(1, 3, 6, 6), weights()
    with pytest.raises(TypeError, match='pred: must be a floating-point tensor, got torch.uint8'):
        spatial_divergence(torch.zeros(1, 3, 6, 6, dtype=torch.uint8), good, weight)
    with pytest.raises(TypeError, match='target: must be a floating-point tensor, got ndarray'):
        spatial_divergence(good, good.numpy(), weight)
    for other in (good[0], good[..., :5], torch.rand(2, 3, 6, 6)):
        with pytest.raises(ValueError, match='^pred: must be non-empty and have the same shape'):
            spatial_divergence(good, other, weight)
    with pytest.raises(ValueError, match='non-empty'):
        spatial_divergence(good[:0], good[:0], weight)


@pytest.mark.parametrize('backend', entropy.BACKENDS)
@pytest.mark.parametrize(
    'options', [{'windows': [3]}, {'windows': [3], 'clamp_grad': 'straight_through'}, {'windows': 'global'}], ids=str
)
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_a_value_that_is_not_finite_makes_its_plane_nan(backend, options, bad):
    device = 'cuda' if backend == 'triton' and torch.cuda.is_available() else 'cpu'
    weight, options = weights().to(device), DensityOptions(levels=3, **options)
    for place in ('pred', 'target'):
        given = {name: torch.rand(2, 1, 2, 2, device=device) for name in ('pred', 'target')}
        given[place][1, 0, 1, 1] = bad
        pred = given['pred'].requires_grad_()
        map_ = entropy.spatial_divergence(pred, given['target'], weight, options=options, backend=backend)
        assert map_[0].isfinite().all()
        assert map_[1].isnan().all()
        pixel_weight = torch.ones(1, 1, 1, 1, device=device)
        total = entropy.spatial_divergence(
            pred, given['target'], weight, options=options, pixel_weight=pixel_weight, backend=backend
        )
        assert total.isnan()
        for result in (map_.sum(), total):
            (gradient,) = torch.autograd.grad(result, pred)
            assert gradient[1].isnan().all()
            assert gradient[0].isfinite().all()


@pytest.mark.parametrize('backend', ['eager', 'compiled'])
def test_a_gradient_scaler_skips_a_step_that_is_not_finite(backend):
    parameter = torch.nn.Parameter(torch.rand(1, 1, 6, 6))
    optimizer, scaler = torch.optim.SGD([parameter], lr=1.0), torch.amp.GradScaler('cpu')
    before, pred = parameter.detach().clone(), parameter * torch.full((6, 1), float('inf'))
    loss = entropy.spatial_divergence(
        pred, torch.rand(1, 1, 6, 6), weights(), options=DensityOptions(levels=4), backend=backend
    )
    scaler.scale(loss.mean()).backward()
    scaler.step(optimizer)
    assert torch.equal(parameter, before)
    scale = scaler.get_scale()
    scaler.update()
    assert scaler.get_scale() < scale


def test_straight_through_keeps_the_value_far_outside_the_range():
    target, weight = torch.rand(1, 1, 6, 6), weights()
    pred = torch.where(torch.rand(1, 1, 6, 6) > 0.5, 1e6, -1e6)
    results = [
        spatial_divergence(pred, target, weight, levels=8, clamp_grad=each) for each in ('zero', 'straight_through')
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize('divergence', [*DIVERGENCES, 'shannon'])
@pytest.mark.parametrize('unit_mass', [False, True])
def test_second_derivatives_of_the_eager_backend(divergence, unit_mass):
    pred = (0.2 + 0.6 * torch.rand(1, 1, 3, 4, dtype=torch.float64)).requires_grad_()
    target, weight = torch.rand_like(pred).detach(), weights()

    def loss(image):
        if divergence == 'shannon':
            return spatial_entropy(image, weight, levels=3, windows=(1, 3), unit_mass=unit_mass)
        return spatial_divergence(
            image, target, weight, divergence=divergence, levels=3, windows=(1, 3), unit_mass=unit_mass
        )

    assert torch.autograd.gradgradcheck(loss, pred)


@pytest.mark.parametrize('divergence', DIVERGENCES)
@pytest.mark.parametrize('windows', [(1, 3, 5), 'global'])
def test_second_derivatives_agree_with_the_reference_formula(divergence, windows):
    pred, target = torch.rand(2, 1, 1, 3, 4, dtype=torch.float64)
    weight = weights()

    def loss(image):
        return spatial_divergence(image, target, weight, divergence=divergence, levels=4, windows=windows).sum()

    expected = torch.autograd.functional.hessian(
        lambda image: divergence_map(divergence, image, target, weights=weight, levels=4, windows=windows).sum(), pred
    )
    assert relative_error(torch.autograd.functional.hessian(loss, pred), expected) < 1e-9
    assert relative_error(torch.func.jacrev(torch.func.jacrev(loss))(pred), expected) < 1e-9


def test_second_derivatives_of_hellinger_stay_finite_where_densities_underflow():
    target, weight = torch.full((1, 1, 4, 4), 0.1), weights()
    pred = torch.full_like(target, 0.9, requires_grad=True)
    loss = spatial_divergence(pred, target, weight, levels=32).sum()
    (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), pred)
    assert second.isfinite().all()
