import pytest
import torch
from basicsr.losses import build_loss

from basicsr_entropy.entropy import DensityOptions, neighbor_weights, spatial_divergence
from basicsr_entropy.losses import SpatialEntropyLoss

UNIFORM = {'neighbor': 'uniform', 'levels': 6}


@pytest.fixture
def images():
    target = torch.rand(2, 3, 8, 8)
    return (target + 0.05 * torch.randn(2, 3, 8, 8)).requires_grad_(), target


@pytest.mark.parametrize('case', [0, 2])
def test_meets_the_published_loss_as_basicsr_builds_it(golden, case):
    numbers = {key[2:]: value for key, value in golden('relative_entropy').items() if key.startswith(f'{case}_')}
    weight = numbers.get('weight', torch.ones(1, 1, 3, 3))[0, 0].tolist()
    loss = build_loss(
        {
            'type': 'SpatialEntropyLoss',
            'divergence': 'relative',
            'levels': int(numbers['levels']),
            'bandwidth': float(numbers['bandwidth']),
            'neighbor': weight,
            'neighbor_norm': 'published',
        }
    )
    pred = numbers['pred'].requires_grad_()
    value = loss(pred, numbers['target'])
    value.backward()
    assert value.item() == pytest.approx(numbers['relative_64'].item(), rel=1e-9)
    torch.testing.assert_close(pred.grad, numbers['grad_64'], rtol=1e-9, atol=1e-12)


def test_reductions(images):
    each = SpatialEntropyLoss(reduction='none', loss_weight=3, **UNIFORM)(*images)
    assert each.shape == images[0].shape
    expected = 3 * spatial_divergence(*images, neighbor_weights('uniform'), options=DensityOptions(levels=6))
    torch.testing.assert_close(each, expected)
    for reduction, value in (('mean', each.mean()), ('sum', each.sum())):
        torch.testing.assert_close(SpatialEntropyLoss(reduction=reduction, loss_weight=3, **UNIFORM)(*images), value)


def test_element_wise_weights_select_pixels(images):
    loss, each = SpatialEntropyLoss(**UNIFORM), SpatialEntropyLoss(reduction='none', **UNIFORM)(*images)
    weight = torch.zeros(2, 1, 8, 8)
    weight[:, :, 2:5] = 1
    torch.testing.assert_close(loss(*images, weight), each[:, :, 2:5].mean())
    torch.testing.assert_close(loss(*images, weight=weight.expand(-1, 3, -1, -1)), each[:, :, 2:5].mean())


def test_a_list_of_levels_averages_over_resolutions(images):
    together = SpatialEntropyLoss(levels=[4, 9], neighbor='uniform')(*images)
    single = [SpatialEntropyLoss(levels=levels, neighbor='uniform')(*images) for levels in (4, 9)]
    torch.testing.assert_close(together, sum(single) / 2)


def test_few_levels_have_gradients_at_a_greater_distance_than_many():
    target = torch.full((1, 1, 8, 8), 0.2)

    def gradient(levels):
        pred = torch.full_like(target, 0.6, requires_grad=True)
        # unit mass: otherwise the loss of mass between levels contributes to the gradient
        loss = SpatialEntropyLoss(levels=levels, divergence='jensen_shannon', neighbor='uniform', unit_mass=True)
        loss(pred, target).backward()
        return pred.grad[0, 0, 3, 3].item()

    assert gradient(4) > 100 * abs(gradient(64))
    assert gradient([4, 64]) > 100 * abs(gradient(64))


def test_random_neighbors_are_drawn_at_each_step_or_once(images):
    step, once = (SpatialEntropyLoss(levels=6, resample=resample) for resample in ('step', 'once'))
    assert step(*images) != step(*images)
    assert once(*images) == once(*images)
    assert SpatialEntropyLoss(**UNIFORM)(*images) == SpatialEntropyLoss(**UNIFORM)(*images)


def test_adds_nothing_to_a_checkpoint():
    assert not SpatialEntropyLoss().state_dict()
    assert not list(SpatialEntropyLoss().parameters())


def test_descent_reaches_the_target():
    target = torch.rand(1, 1, 8, 8)
    pred = (target + 0.05 * torch.randn_like(target)).clamp(0, 1).requires_grad_()
    start = (pred - target).abs().mean().item()
    loss = SpatialEntropyLoss(levels=[8, 16], divergence='jensen_shannon')
    optimizer = torch.optim.Adam([pred], lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss(pred, target).backward()
        optimizer.step()
    assert (pred - target).abs().mean().item() < 0.3 * start


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'reduction': 'median'}, 'reduction: must be one of none, mean, sum'),
        ({'resample': 'epoch'}, 'resample: must be one of step, once'),
        ({'levels': 1}, 'levels: must be an integer from 2 to 1024'),
        ({'levels': []}, 'levels: must not be an empty list'),
        ({'levels': [8, 1]}, 'levels: must be an integer from 2 to 1024'),
        ({'windows': [2]}, 'windows: .*odd side lengths'),
        ({'neighbor': 'left'}, 'neighbor: must be one of'),
        ({'backend': 'fast'}, 'backend: must be one of'),
    ],
    ids=str,
)
def test_rejects_invalid_options(options, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        SpatialEntropyLoss(**options)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_rejects_empty_batches_and_weights_that_do_not_fit(images, reduction):
    loss = SpatialEntropyLoss(reduction=reduction, **UNIFORM)
    with pytest.raises(ValueError, match='^pred: must be non-empty'):
        loss(images[0][:0], images[1][:0])
    for shape in ((2, 2, 8, 8), (2, 1, 7, 8), (8, 8)):
        with pytest.raises(ValueError, match='^weight: must fit the loss of shape'):
            loss(*images, torch.ones(shape))


@pytest.mark.parametrize('trained', [False, True])
def test_one_weight_for_all_pixels_changes_no_mean(images, trained):
    loss = SpatialEntropyLoss(**UNIFORM)
    weight = torch.full((1, 1, 1, 1), 3.0, requires_grad=trained)
    torch.testing.assert_close(loss(*images, weight), loss(*images))


def test_is_built_on_the_cpu_whatever_the_default_device(images):
    with torch.device('meta'):
        loss = SpatialEntropyLoss(**UNIFORM)
    assert loss(*images) == SpatialEntropyLoss(**UNIFORM)(*images)
