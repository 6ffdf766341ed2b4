"""Fast backends against the exact one. Without a GPU, Triton runs in its interpreter, on few pixels."""

import itertools
import logging
import math
import subprocess

import pytest
import torch
from skimage import data

from basicsr_entropy.entropy import (
    DIVERGENCES,
    KERNELS,
    DensityOptions,
    neighbor_weights,
    spatial_divergence,
    spatial_entropy,
)
from basicsr_entropy.entropy.backends import compiled
from basicsr_entropy.entropy.kernels import TRUNCATED_MASS

FAST = ('compiled', 'triton')
GPU = torch.cuda.is_available()


def place(backend):
    """Device of a backend, and an image size for which it takes little time."""
    if backend == 'triton':
        return ('cuda', (40, 56)) if GPU else ('cpu', (3, 4))
    return 'cpu', (25, 21)


def photographs(size, channels=1):
    """A noisy dark version of a photograph, and the photograph."""
    height, width = size
    crop = data.astronaut()[90 : 90 + height, 200 : 200 + width, :channels]
    target = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    return 0.4 * target + 0.02 * torch.randn_like(target), target


def near(size, channels=1):
    _, target = photographs(size, channels)
    return target + 0.04 * torch.randn_like(target), target


def noise(size, channels=1):
    target = torch.rand(1, channels, *size)
    return target + 0.1 * torch.randn_like(target), target


def value_and_grad(pred, target, weights, divergence, backend, **options):
    options = DensityOptions(**options)
    pred = pred.detach().clone().requires_grad_()
    if divergence == 'shannon':
        result = spatial_entropy(pred, weights, options, backend=backend)
    else:
        result = spatial_divergence(pred, target, weights, divergence, options, backend=backend)
    (gradient,) = torch.autograd.grad(result.mean(), pred)
    return result.detach(), gradient


def exact(pred, target, weights, divergence, **options):
    return value_and_grad(pred.cpu().double(), target.cpu().double(), weights.cpu(), divergence, 'eager', **options)


def agree(pair, divergence, backend, weights=None, tolerance=1e-4, **options):
    device, _ = place(backend)
    pred, target = (image.to(device) for image in pair)
    weights = neighbor_weights('gaussian', device=device) if weights is None else weights.to(device)
    actual = value_and_grad(pred, target, weights, divergence, backend, **options)
    for fast, right in zip(actual, exact(pred, target, weights, divergence, **options)):
        assert fast.dtype == torch.float32
        assert (fast.cpu() - right).norm() <= tolerance * right.norm()


@pytest.mark.parametrize(
    ('backend', 'pair', 'levels'),
    [
        ('compiled', photographs, 32),
        ('compiled', near, 32),
        ('compiled', noise, 32),
        ('triton', photographs, 32 if GPU else 10),
        ('triton', noise, 32 if GPU else 10),
    ],
)
@pytest.mark.parametrize('divergence', [*DIVERGENCES, 'shannon'])
def test_agrees_with_the_exact_values_and_gradients(backend, pair, levels, divergence):
    agree(pair(place(backend)[1]), divergence, backend, levels=levels)


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize(
    'options',
    [
        {'levels': 13},
        {'windows': (9, 1)},
        {'windows': (1,)},
        {'kernel': 'sech'},
        {'kernel': 'gaussian', 'bandwidth': 0.8},
        {'unit_mass': True},
        {'unit_mass': True, 'kernel': 'gaussian'},
        {'bandwidth': 'silverman'},
        {'neighbor_norm': 'published', 'bandwidth': 0.7},
        {'value_range': (0.1, 0.8), 'clamp_grad': 'straight_through'},
        {'levels': (2, 10)},
    ],
    ids=str,
)
def test_agrees_with_every_option(backend, options):
    # one divergence is enough: the code of options and of divergences is independent
    agree(near(place(backend)[1]), 'hellinger', backend, **{'levels': 10, **options})


@pytest.mark.parametrize('size', [(1, 17), (17, 1)])
def test_agrees_on_windows_whose_sums_take_several_products(size):
    agree(near(size), 'hellinger', 'triton', levels=3, windows=(3, 15))


def test_agrees_on_several_planes_and_gray():
    for backend in FAST:
        _, size = place(backend)
        for gray in (False, True):
            agree(near(size, channels=3), 'hellinger', backend, levels=10, gray=gray)


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('unit_mass', [False, True])
def test_agrees_where_neighbor_values_are_out_of_range(backend, unit_mass):
    weights = torch.tensor([[1.0, -1, 1], [-1, 0, 1], [-1, 1, -0.9]])  # of sum 0.1: neighbor values far out of range
    agree(near(place(backend)[1]), 'hellinger', backend, weights, levels=10, unit_mass=unit_mass)


@pytest.mark.parametrize('kernel', KERNELS)
def test_agrees_on_single_pixels_without_mass_where_the_target_has_it(kernel):
    _, target = near((25, 21))
    pred = (target + 0.8) % 1  # 15 levels away or 4, where the Gaussian kernel underflows or is tiny
    agree((pred, target), 'hellinger', 'compiled', levels=20, kernel=kernel, windows=(1,))


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('offset', [0.02, 0.15, 0.6])
def test_truncation_error_is_within_its_bound(kernel, offset):
    """The bounds derived in compiled.py, at every pixel, near the target and far from it."""
    target = 0.2 + 0.1 * torch.rand(1, 1, 12, 12, dtype=torch.float64)
    pred = target + offset * torch.rand_like(target)
    weights, rounding = neighbor_weights('uniform'), 1e-5
    bounds = {
        'relative': 2 * TRUNCATED_MASS * math.log(1e10),
        'cross': 2 * TRUNCATED_MASS * math.log(1e10),
        'jensen_shannon': math.log(2) * 2 * TRUNCATED_MASS,
    }
    for divergence, bound in bounds.items():
        fast, _ = value_and_grad(pred.float(), target.float(), weights, divergence, 'compiled', kernel=kernel)
        right, _ = exact(pred, target, weights, divergence, kernel=kernel)
        assert ((fast - right).abs() <= bound + rounding * (1 + right.abs())).all()
    fast, _ = value_and_grad(pred.float(), target.float(), weights, 'hellinger', 'compiled', kernel=kernel, windows=[5])
    right, _ = exact(pred, target, weights, 'hellinger', kernel=kernel, windows=[5])
    assert ((fast**2 - right**2).abs() <= 2 * TRUNCATED_MASS + rounding * (1 + right**2)).all()


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize(('kernel', 'bandwidth'), [('gaussian', 0.03), ('logistic', 0.005), ('sech', 0.005)])
def test_agrees_with_unit_mass_of_a_narrow_kernel(backend, kernel, bandwidth):
    """Between two levels all densities underflow."""
    options = {'levels': 10, 'unit_mass': True, 'kernel': kernel, 'bandwidth': bandwidth}
    # a rounded value changes the densities by its distance in bandwidths
    agree(near(place(backend)[1]), 'hellinger', backend, tolerance=1e-3, **options)


@pytest.mark.parametrize('backend', ['eager', *FAST])
def test_unit_mass_stays_finite_for_far_neighbor_values(backend):
    device, size = place(backend)
    # of sum 0.001: neighbor values of thousands of levels
    weights = torch.tensor([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1.001]], device=device)
    options = {'levels': 10, 'unit_mass': True, 'kernel': 'gaussian'}
    pair = [image.to(device) for image in near(size)]
    for each in value_and_grad(*pair, weights, 'hellinger', backend, **options):
        assert torch.isfinite(each).all()


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('default', [torch.float64, torch.bfloat16, torch.float16, 'meta'], ids=str)
def test_does_not_depend_on_torch_defaults(backend, default):
    device, size = place(backend)
    pair = [image.to(device) for image in near(size)]
    weights = neighbor_weights('uniform', device)
    expected = value_and_grad(*pair, weights, 'hellinger', backend, levels=10)
    with torch.device(default if isinstance(default, str) else device):
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(before if isinstance(default, str) else default)
            actual = value_and_grad(*pair, weights, 'hellinger', backend, levels=10)
        finally:
            torch.set_default_dtype(before)
    for each, right in zip(actual, expected):
        torch.testing.assert_close(each, right, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('divergence', ['hellinger', 'jensen_shannon'])
@pytest.mark.parametrize('kernel', KERNELS)
def test_value_and_gradient_vanish_at_equality(backend, divergence, kernel):
    device, size = place(backend)
    target, weights = noise(size)[1].to(device), neighbor_weights('random', device)
    value, gradient = value_and_grad(target, target, weights, divergence, backend, levels=10, kernel=kernel)
    assert value.abs().max() < 1e-6
    assert gradient.abs().max() < 1e-9


@pytest.mark.parametrize(('kernel', 'bandwidth'), [('gaussian', 0.1), ('logistic', 0.02), ('logistic', 0.01)])
def test_hellinger_of_a_narrow_kernel_is_not_rounded_below_zero(kernel, bandwidth):
    target = torch.rand(8, 3, 64, 64)
    pred, weights = target + 0.03 * torch.randn_like(target), neighbor_weights('uniform')
    options = {'levels': 9, 'windows': (1, 3), 'kernel': kernel, 'bandwidth': bandwidth}
    for each in value_and_grad(pred, target, weights, 'hellinger', 'compiled', **options):
        assert each.isfinite().all()


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('divergence', DIVERGENCES)
def test_stays_finite_on_extreme_images(backend, divergence):
    device, size = place(backend)
    size = size if GPU or backend == 'compiled' else (2, 2)
    weights = neighbor_weights('uniform', device)
    images = [torch.full((1, 1, *size), value, device=device) for value in (0.0, 0.3, 1.0)]
    for pred, target in itertools.product(images, images):
        for each in value_and_grad(pred, target, weights, divergence, backend, levels=32 if GPU else 10):
            assert torch.isfinite(each).all()


@pytest.mark.parametrize('backend', ['eager', *FAST])
def test_a_weighted_sum_is_the_sum_of_the_weighted_map(backend):
    device, size = place(backend)
    pred, target = (image.to(device).requires_grad_(k == 0) for k, image in enumerate(near(size)))
    weights, pixel_weight = neighbor_weights('uniform', device), torch.rand(1, 1, *size, device=device)
    options = DensityOptions(levels=10)
    divergence = spatial_divergence(pred, target, weights, options=options, backend=backend)
    total = spatial_divergence(pred, target, weights, options=options, pixel_weight=pixel_weight, backend=backend)
    torch.testing.assert_close(total, (divergence * pixel_weight).sum())
    (expected,) = torch.autograd.grad(3 * (divergence * pixel_weight).sum(), pred)
    (gradient,) = torch.autograd.grad(3 * total, pred)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        again = spatial_divergence(pred, target, weights, options=options, pixel_weight=pixel_weight, backend=backend)
    torch.testing.assert_close(again, total)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    pred, target = (image.to(dtype) for image in near((12, 12)))
    weights = neighbor_weights('uniform')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, gradient = value_and_grad(pred, target, weights, 'hellinger', 'compiled', levels=10)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(
        value, value_and_grad(pred.float(), target.float(), weights, 'hellinger', 'compiled', levels=10)[0]
    )


def test_the_widest_window_and_many_levels(monkeypatch):
    pair, weights = near((5, 6)), neighbor_weights('uniform')
    # unoptimized: the loops over many levels and a large window take long to compile
    monkeypatch.setattr(compiled, 'FLAGS', compiled.FLAGS.replace('-O3', '-O1'))
    for options in ({'levels': 4, 'windows': [31]}, {'levels': 1024, 'windows': [1]}):
        values = [value_and_grad(*pair, weights, 'hellinger', each, **options)[0] for each in ('compiled', 'eager')]
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)


def test_auto_selects_the_backend_for_the_images(monkeypatch):
    taken = []
    monkeypatch.setattr(compiled, 'is_available', lambda *arguments: taken.append(arguments[0]))
    weights = neighbor_weights('uniform')
    for dtype in (torch.float64, torch.bfloat16, torch.float32):
        pred, target = (image.to(dtype) for image in near((6, 6)))
        spatial_divergence(pred, target, weights, options=DensityOptions(levels=4))
    assert taken == ['hellinger', 'hellinger']  # not in float64


def test_rejects_unsupported_devices_and_types():
    pred, target = (image.double() for image in near((6, 6)))
    with pytest.raises(ValueError, match="backend: 'compiled' supports float32 on cpu only, got torch.float64 on cpu"):
        spatial_divergence(pred, target, neighbor_weights('uniform'), backend='compiled')
    with pytest.raises(ValueError, match="backend: 'triton' supports float32 on cuda only, got torch.float64 on cpu"):
        spatial_divergence(pred, target, neighbor_weights('uniform'), backend='triton')
    with pytest.raises(ValueError, match='backend: must be one of auto, eager, compiled, triton'):
        spatial_divergence(pred, target, neighbor_weights('uniform'), backend='fast')


def test_does_not_depend_on_threads_or_bands(monkeypatch):
    pair, weights = near((37, 19), channels=2), neighbor_weights('uniform')
    threads, results = torch.get_num_threads(), []
    try:
        for count, rows in ((1, 1000), (2, 5), (3, 16)):
            torch.set_num_threads(count)
            monkeypatch.setattr(compiled, 'MIN_ROWS', rows)
            monkeypatch.setattr(compiled, 'MAX_ROWS', rows)
            results.append(value_and_grad(*pair, weights, 'hellinger', 'compiled', levels=10))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
        torch.testing.assert_close(result[1], results[0][1], rtol=1e-5, atol=1e-9)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """No library is loaded, and the cache on disk is empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    compiled._library.cache_clear()
    compiled._warn_once.cache_clear()
    yield tmp_path / 'cache/basicsr_entropy'
    compiled._library.cache_clear()


def test_compiled_code_is_cached_on_disk(fresh, monkeypatch):
    assert compiled.is_available('cross', 2, (0,))
    (library,) = fresh.iterdir()
    compiled._library.cache_clear()
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('compiled again'))
    assert compiled.is_available('cross', 2, (0,))
    assert list(fresh.iterdir()) == [library]


def test_a_damaged_library_is_compiled_again(fresh):
    assert compiled.is_available('cross', 2, (0,))
    (library,) = fresh.iterdir()
    content = library.read_bytes()
    library.unlink()  # the loaded file stays as it is
    library.write_bytes(content[: len(content) // 2])
    compiled._library.cache_clear()
    assert compiled.is_available('cross', 2, (0,))
    assert list(fresh.iterdir()) == [library]
    assert library.read_bytes() == content


@pytest.mark.parametrize(
    ('compiler', 'reason'),
    [
        ('no-such-compiler', 'there is no C compiler (no-such-compiler)'),
        ('false', "'false' cannot compile"),
        ('gcc "-O2', '$CC is not a command (No closing quotation): gcc "-O2'),
    ],
)
def test_falls_back_to_eager_with_one_warning(fresh, monkeypatch, caplog, compiler, reason):
    monkeypatch.setenv('CC', compiler)
    pair, weights = near((6, 6)), neighbor_weights('uniform')
    with caplog.at_level(logging.WARNING):
        for levels in (4, 5, 4):
            value, _ = value_and_grad(*pair, weights, 'hellinger', 'compiled', levels=levels)
    torch.testing.assert_close(value, value_and_grad(*pair, weights, 'hellinger', 'eager', levels=4)[0])
    (record,) = caplog.records
    assert reason in record.message
    assert 'eager backend' in record.message
    assert not fresh.exists() or not list(fresh.iterdir())


def test_a_blank_compiler_is_none(fresh, monkeypatch):
    monkeypatch.setenv('CC', ' ')
    assert compiled.is_available('cross', 2, (0,))


def test_falls_back_without_a_home_folder(fresh, monkeypatch, caplog):
    def fail(path):
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(compiled.Path, 'expanduser', fail)
    value, _ = value_and_grad(*near((6, 6)), neighbor_weights('uniform'), 'hellinger', 'compiled', levels=4)
    assert torch.isfinite(value).all()
    assert 'there is no home folder for the cache' in caplog.text


def test_falls_back_where_the_cache_is_not_writable(fresh, monkeypatch, caplog):
    fresh.parent.write_text('a file in the place of the folder')
    value, _ = value_and_grad(*near((6, 6)), neighbor_weights('uniform'), 'hellinger', 'compiled', levels=4)
    assert torch.isfinite(value).all()
    assert '$XDG_CACHE_HOME' in caplog.text
