"""The loss in PyTorch's transforms: operators, compilation, export, autocast and torch.func."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

from basicsr_entropy.entropy.backends import _import_triton
from basicsr_entropy.entropy.backends.operators import Settings
from basicsr_entropy.losses import SpatialEntropyLoss

SETTINGS = Settings('hellinger', 'logistic', 4, [0, 1], False)
GPU = torch.cuda.is_available()


def device_of(backend):
    return 'cuda' if backend == 'triton' and GPU else 'cpu'


def arguments(backend, dtype=torch.float32, requires_grad=True):
    """Images in levels, bandwidth and scale."""
    device = device_of(backend)
    size = (1, 2, 2) if backend == 'triton' else (2, 2, 3)
    images = [3 * torch.rand(*size, dtype=dtype, device=device) for _ in range(4)]
    for image in images[:2]:
        image.requires_grad_(requires_grad)
    return *images, torch.full_like(images[0][:, 0, :1], 0.5), torch.full_like(images[0][:, 0, :1], 4.0)


def images(backend='compiled'):
    size = (1, 1, 2, 2) if backend == 'triton' else (2, 1, 9, 10)  # Triton's interpreter is slow
    target = torch.rand(*size, device=device_of(backend))
    return target + 0.05 * torch.randn_like(target), target


def entropy_loss(backend, **options):
    return SpatialEntropyLoss(**{'levels': 5, 'windows': [1, 3], 'neighbor': 'gaussian', 'backend': backend, **options})


def value_and_grad(loss, pred, target):
    pred = pred.clone().requires_grad_()
    value = loss(pred, target)
    value.sum().backward()
    return value.detach(), pred.grad


@pytest.mark.parametrize('backend', ['compiled', 'triton'])
def test_operators_of_fused_backends(backend):
    assert backend != 'triton' or _import_triton()  # defines its operators
    given, operators = arguments(backend), torch.ops.basicsr_entropy
    opcheck(getattr(operators, f'{backend}_map').default, (*given, *SETTINGS))
    weight = torch.rand_like(given[0].detach())
    opcheck(getattr(operators, f'{backend}_sum').default, (*given, weight, *SETTINGS))


def test_operators_of_the_eager_backend():
    given, operators = arguments('eager', torch.float64), torch.ops.basicsr_entropy
    opcheck(operators.eager.default, (*given, *SETTINGS))
    _, totals = operators.eager(*(each.detach() for each in given), *SETTINGS)
    upstream = torch.rand_like(given[0].detach()).requires_grad_()
    # compiled graphs have no second derivatives, and tracing them takes long
    checks = ('test_schema', 'test_autograd_registration', 'test_faketensor')
    opcheck(operators.eager_gradient.default, (*given, totals, upstream, *SETTINGS), test_utils=checks)


def test_operators_reject_tensors_that_a_kernel_would_misread():
    given, operator = arguments('compiled', requires_grad=False), torch.ops.basicsr_entropy.compiled_map
    with pytest.raises(ValueError, match='compiled: needs float32 tensors on one device, got torch.float64'):
        operator(given[0].double(), *given[1:], *SETTINGS)
    with pytest.raises(ValueError, match=r'compiled: needs images \(P, H, W\)'):
        operator(given[0], given[1][:1], *given[2:], *SETTINGS)
    for each in range(4):  # in any memory layout
        strided = [image.mT.contiguous().mT if index == each else image for index, image in enumerate(given)]
        torch.testing.assert_close(operator(*strided, *SETTINGS), operator(*given, *SETTINGS))


@pytest.mark.parametrize('backend', ['eager', 'compiled', 'triton'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'reduction': 'none'},
        {'levels': [2, 5], 'bandwidth': 'silverman'},
        {'align': 'local', 'unit_mass': True},
        {'windows': 'global'},
    ],
    ids=str,
)
def test_compiles_without_a_graph_break(backend, options):
    torch._dynamo.reset()
    loss, pair = entropy_loss(backend, **options), images(backend)
    actual = value_and_grad(torch.compile(loss, backend='aot_eager', fullgraph=True), *pair)
    for each, expected in zip(actual, value_and_grad(loss, *pair)):
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_training_step_compiled_by_inductor():
    torch._dynamo.reset()
    network, loss, (lq, gt) = torch.nn.Conv2d(1, 1, 3, padding=1), entropy_loss('compiled', align='local'), images()

    def step(lq, gt):
        return loss(network(lq), gt)

    def run(step):
        network.zero_grad()
        value = step(lq, gt)
        value.backward()
        return value.detach(), network.weight.grad.clone()

    expected = run(step)
    for each, right in zip(run(torch.compile(step)), expected):
        torch.testing.assert_close(each, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('backend', ['eager', 'compiled', 'triton'])
def test_exports(backend):
    loss, pair = entropy_loss(backend), images(backend)
    exported = torch.export.export(loss, pair).module()
    torch.testing.assert_close(exported(*pair), loss(*pair))


@pytest.mark.parametrize('backend', ['eager', 'compiled'])
@pytest.mark.parametrize('options', [{}, {'align': 'local'}, {'windows': 'global'}], ids=str)
def test_the_batch_is_no_constant(backend, options):
    loss, pair = entropy_loss(backend, **options), images(backend)
    batch = torch.export.Dim('batch')
    given = tuple(each.repeat(2, 1, 1, 1) for each in pair)
    exported = torch.export.export(loss, given, dynamic_shapes=[{0: batch}] * 2)
    larger = [each.repeat(5, 1, 1, 1) for each in pair]
    torch.testing.assert_close(exported.module()(*larger), loss(*larger))
    torch._dynamo.reset()
    counter = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(loss, backend=counter)
    for size in range(2, 6):
        compiled(*(each.repeat(size, 1, 1, 1) for each in pair))
    assert counter.frame_count <= 2


@pytest.mark.filterwarnings('error')  # PyTorch warns where it loops over a batch
@pytest.mark.parametrize('backend', ['eager', 'compiled', 'triton'])
@pytest.mark.parametrize('options', [{}, {'reduction': 'none'}, {'windows': 'global'}], ids=str)
def test_transforms_of_torch_func(backend, options):
    loss, (pred, target) = entropy_loss(backend, **options), images(backend)

    def total(image):
        return loss(image, target).sum()

    _, expected = value_and_grad(loss, pred, target)
    torch.testing.assert_close(torch.func.grad(total)(pred), expected)
    batch = torch.stack((pred, 0.9 * pred))
    torch.testing.assert_close(torch.func.vmap(total)(batch), torch.stack([total(each) for each in batch]))
    gradients = torch.func.vmap(torch.func.grad(total))(batch)
    torch.testing.assert_close(gradients[0], expected)


@pytest.mark.parametrize('backend', ['eager', 'compiled', 'triton'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_forward_mode_is_an_error(backend, reduction):
    loss, (pred, target) = entropy_loss(backend, reduction=reduction), images(backend)

    def total(image):
        return loss(image, target).sum()

    with pytest.raises(NotImplementedError, match='use reverse mode, such as torch.func.vjp'):
        torch.func.jvp(total, (pred,), (pred,))


@pytest.mark.filterwarnings('error')  # PyTorch warns where it loops over a batch
@pytest.mark.parametrize('backend', ['eager', 'compiled', 'triton'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
@pytest.mark.parametrize('dims', [(0, None), (None, 1), (3, 2)], ids=str)
def test_vmap_over_any_dimension_of_either_image(backend, reduction, dims):
    loss, pair = entropy_loss(backend, reduction=reduction, levels=[2, 5]), images(backend)
    batches = [
        image if dim is None else torch.stack([scale * image for scale in (1, 0.9, 0.8)], dim)
        for image, dim in zip(pair, dims)
    ]
    each = [
        [image if dim is None else image.select(dim, index) for image, dim in zip(batches, dims)] for index in range(3)
    ]

    def total(pred, target):
        return loss(pred, target).sum()

    with_gradient = torch.func.grad_and_value(total)
    gradients, values = torch.func.vmap(with_gradient, dims)(*batches)
    expected = [with_gradient(*items) for items in each]
    torch.testing.assert_close(values, torch.stack([value for _, value in expected]))
    torch.testing.assert_close(gradients, torch.stack([gradient for gradient, _ in expected]))


@pytest.mark.parametrize('backend', ['compiled', 'triton'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_second_derivatives_of_fused_backends_are_an_error(backend, reduction):
    loss, (pred, target) = entropy_loss(backend, reduction=reduction), images(backend)
    pred.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(pred, target).sum(), pred, create_graph=True)
    with pytest.raises(NotImplementedError, match="for second derivatives choose 'eager'"):
        (gradient.square().sum() + pred.sum()).backward()
    with pytest.raises(NotImplementedError, match="for second derivatives choose 'eager'"):
        torch.func.jacrev(torch.func.grad(lambda image: loss(image, target).sum()))(pred.detach())


def test_autocast_changes_nothing():
    loss, pair = entropy_loss('compiled', align='local'), images()

    def under_autocast(pred, target):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            return loss(pred, target)

    for actual, expected in zip(value_and_grad(under_autocast, *pair), value_and_grad(loss, *pair)):
        torch.testing.assert_close(actual, expected)


def test_weights_of_neighbors_are_drawn_anew_in_a_compiled_loss():
    torch._dynamo.reset()
    loss = torch.compile(SpatialEntropyLoss(levels=5), backend='aot_eager', fullgraph=True)
    pair = images()
    assert loss(*pair) != loss(*pair)
