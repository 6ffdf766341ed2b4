import pytest
import torch

from basicsr_entropy.entropy import NEIGHBORS, neighbor_weights
from basicsr_entropy.entropy.neighbors import neighbor_values


@pytest.mark.parametrize('name', NEIGHBORS)
def test_the_weight_of_the_pixel_itself_is_zero(name):
    weights = neighbor_weights(name)
    assert weights.shape == (3, 3)
    assert weights[1, 1] == 0
    if name != 'normal':
        assert (weights >= 0).all()


def test_random_weights_differ_between_calls():
    assert not torch.equal(neighbor_weights('random'), neighbor_weights('random'))


def test_values_are_weighted_means_of_the_neighbors():
    image = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    weights = neighbor_weights([[1, 2, 3], [4, 9, 5], [6, 7, 8]])
    values = neighbor_values(image, weights)
    around = image[1, 2, 1:4, 2:5]
    assert values[1, 2, 2, 3].item() == pytest.approx(((around * weights).sum() / 36).item())
    assert values[0, 0, 0, 0].item() == pytest.approx(
        ((5 * image[0, 0, 0, 1] + 7 * image[0, 0, 1, 0] + 8 * image[0, 0, 1, 1]) / 36).item()
    )
    torch.testing.assert_close(neighbor_values(image, weights, across_channels=True) * 3, values)


def test_positive_weights_keep_values_in_range():
    values = neighbor_values(torch.rand(1, 1, 8, 8), neighbor_weights('random'))
    assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize(
    ('neighbor', 'message'),
    [
        ('mean', "neighbor: must be one of random, normal, uniform, gaussian or a 3x3 nested list, got 'mean'"),
        ([[1, 2], [3, 4]], '3x3'),
        ([1, 2, 3], '3x3'),
        (4, '3x3'),
        ([[1, 1, 1], [1, 5, float('nan')], [1, 1, 1]], 'finite'),
        ([[1, -1, 0], [0, 5, 0], [0, 0, 0]], 'must not sum to zero'),
    ],
)
def test_rejects_invalid_weights(neighbor, message):
    with pytest.raises(ValueError, match=message):
        neighbor_weights(neighbor)
