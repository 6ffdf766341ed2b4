import copy
import pickle

import pytest
import torch
from basicsr.losses import build_loss
from torch import nn

from basicsr_entropy.losses import MixedLoss, SpatialEntropyLoss, call_loss


def test_is_the_sum_of_its_losses_with_their_weights():
    pred, target = torch.rand(2, 2, 3, 8, 8)
    entropy = {'type': 'SpatialEntropyLoss', 'levels': 6, 'neighbor': 'uniform', 'loss_weight': 0.5}
    mixed = build_loss(
        {'type': 'MixedLoss', 'loss_weight': 2, 'losses': [{'type': 'L1Loss', 'loss_weight': 3}, entropy]}
    )
    own = SpatialEntropyLoss(levels=6, neighbor='uniform')(pred, target)
    torch.testing.assert_close(mixed(pred, target), 2 * (3 * (pred - target).abs().mean() + 0.5 * own))


def test_supports_losses_of_the_prediction_only():
    pred, target = torch.rand(2, 1, 3, 8, 8)
    loss = MixedLoss([{'type': 'WeightedTVLoss', 'loss_weight': 2}])
    expected = (pred.diff(dim=2).abs().mean() + pred.diff(dim=3).abs().mean()) * 2
    torch.testing.assert_close(loss(pred, target), expected)


def test_returns_both_values_of_a_perceptual_loss():
    class Perceptual(nn.Module):
        def __init__(self, perceptual, style):
            super().__init__()
            self.perceptual, self.style = perceptual, style

        def forward(self, x, gt):
            return self.perceptual, self.style

    one = torch.ones(())
    for values, names in (((one, one), ['', '_style']), ((one, None), ['']), ((None, one), ['_style'])):
        loss = MixedLoss([{'type': 'L1Loss'}])
        loss.losses[0] = Perceptual(*values)
        assert list(call_loss(loss.losses[0], one, one)) == names
        loss(one, one)
        assert list(loss.terms) == [f'L1Loss{name}' for name in names]


@pytest.mark.parametrize(
    ('losses', 'error', 'message'),
    [
        ([{'type': 'L1Loss', 'reduction': 'none'}], ValueError, r'losses\[0\].reduction: must be mean or sum'),
        ([], ValueError, '^losses: must be a list of loss options'),
        ({'type': 'L1Loss'}, ValueError, '^losses: must be a list of loss options'),
        ([{'loss_weight': 1}], KeyError, r'losses\[0\].type: missing'),
        ([{'type': 'L1Los'}], KeyError, r"losses\[0\].type: no 'L1Los' in the loss registry; did you mean 'L1Loss'?"),
        (
            [{'type': 'L1Loss'}, {'type': 'L1Loss', 'weight': 1}],
            KeyError,
            r'losses\[1\].weight: unknown option',
        ),
        ([{'type': 'SpatialEntropyLoss', 'levels': 1}], ValueError, r'losses\[0\].levels: must be'),
        ([{'type': 'GANLoss', 'gan_type': 'lsgan'}], ValueError, r'GANLoss takes \(input, target_is_real\)'),
    ],
)
def test_rejects_invalid_lists_of_losses(losses, error, message):
    with pytest.raises(error, match=message):
        MixedLoss(losses)


def test_does_not_modify_the_options():
    losses = [{'type': 'L1Loss', 'loss_weight': 3}]
    MixedLoss(losses)
    assert losses == [{'type': 'L1Loss', 'loss_weight': 3}]


def test_rejects_element_wise_weights():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match='^weight: MixedLoss has no element-wise weight'):
        MixedLoss([{'type': 'L1Loss'}])(image, image, weight=image)


def test_keeps_the_weighted_value_of_each_term():
    pred, target = torch.rand(2, 2, 3, 8, 8)
    pred.requires_grad_()
    entropy = {'type': 'SpatialEntropyLoss', 'levels': 6, 'neighbor': 'uniform'}
    loss = MixedLoss([{'type': 'L1Loss', 'loss_weight': 3}, entropy], loss_weight=2)
    assert loss.terms == {}
    value = loss(pred, target)
    assert list(loss.terms) == ['L1Loss', 'SpatialEntropyLoss']
    torch.testing.assert_close(loss.terms['L1Loss'], 6 * (pred - target).abs().mean().detach())
    assert sum(loss.terms.values()).item() == pytest.approx(value.item())
    assert not any(term.requires_grad for term in loss.terms.values())
    loss(target, target)
    assert loss.terms['L1Loss'] == 0
    assert not loss.state_dict()


def test_copies_lack_the_values_of_the_last_call():
    loss = MixedLoss([{'type': 'L1Loss'}, {'type': 'MSELoss'}])
    preds, target = torch.rand(2, 3, 8, 8), torch.rand(3, 8, 8)
    # a transform leaves tensors in `terms` that are dead after it, and cannot be copied
    torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(preds, target)
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert copied.terms == {}
        assert copied.total is None
        value = copied(preds, preds + 1)
        assert copied.terms == {'L1Loss': pytest.approx(1), 'MSELoss': pytest.approx(1)}
        assert copied.total == value
    assert list(loss.terms) == ['L1Loss', 'MSELoss']  # the original keeps them


def test_numbers_the_terms_of_a_type_that_repeats():
    blurs = [{'type': 'GaussianBlurL1Loss', 'sigma': sigma} for sigma in (1, 3)]
    loss = MixedLoss([blurs[0], {'type': 'L1Loss'}, blurs[1]])
    loss(*torch.rand(2, 1, 3, 8, 8))
    assert list(loss.terms) == ['GaussianBlurL1Loss_1', 'L1Loss', 'GaussianBlurL1Loss_2']


def test_names_the_style_term_of_a_perceptual_loss():
    class Perceptual(nn.Module):
        def forward(self, x, gt):
            return (x - gt).abs().mean(), (x - gt).square().mean()

    loss = MixedLoss([{'type': 'L1Loss'}])
    loss.losses[0], loss.names = Perceptual(), ['PerceptualLoss']
    value = loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))
    assert loss.terms == {'PerceptualLoss': 0.5, 'PerceptualLoss_style': 0.25}
    assert value == 0.75
