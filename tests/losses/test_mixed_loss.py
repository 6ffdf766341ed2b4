import pytest
import torch
from basicsr.losses import build_loss
from torch import nn

from basicsr_entropy.losses import MixedLoss, SpatialEntropyLoss, compare


def test_is_the_sum_of_its_losses_with_their_weights():
    pred, target = torch.rand(2, 2, 3, 8, 8)
    entropy = {'type': 'SpatialEntropyLoss', 'levels': 6, 'neighbor': 'uniform', 'loss_weight': 0.5}
    mixed = build_loss(
        {'type': 'MixedLoss', 'loss_weight': 2, 'losses': [{'type': 'L1Loss', 'loss_weight': 3}, entropy]}
    )
    own = SpatialEntropyLoss(levels=6, neighbor='uniform')(pred, target)
    torch.testing.assert_close(mixed(pred, target), 2 * (3 * (pred - target).abs().mean() + 0.5 * own))


def test_takes_losses_of_the_prediction_alone():
    pred, target = torch.rand(2, 1, 3, 8, 8)
    loss = MixedLoss([{'type': 'WeightedTVLoss', 'loss_weight': 2}])
    expected = (pred.diff(dim=2).abs().mean() + pred.diff(dim=3).abs().mean()) * 2
    torch.testing.assert_close(loss(pred, target), expected)


def test_counts_both_terms_of_a_perceptual_loss():
    class Perceptual(nn.Module):
        def __init__(self, style):
            super().__init__()
            self.style = style

        def forward(self, x, gt):
            return (x - gt).abs().mean(), self.style

    pred, target = torch.rand(2, 1, 3, 8, 8)
    assert len(compare(Perceptual(torch.ones(())), pred, target)) == 2
    assert len(compare(Perceptual(None), pred, target)) == 1


@pytest.mark.parametrize(
    ('losses', 'error', 'message'),
    [
        ([], ValueError, 'losses must be a list of loss options'),
        ({'type': 'L1Loss'}, ValueError, 'losses must be a list of loss options'),
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
def test_refuses_what_is_no_list_of_losses(losses, error, message):
    with pytest.raises(error, match=message):
        MixedLoss(losses)


def test_leaves_the_callers_options_as_they_are():
    losses = [{'type': 'L1Loss', 'loss_weight': 3}]
    MixedLoss(losses)
    assert losses == [{'type': 'L1Loss', 'loss_weight': 3}]


def test_refuses_element_wise_weights():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match='no element-wise weight'):
        MixedLoss([{'type': 'L1Loss'}])(image, image, weight=image)
