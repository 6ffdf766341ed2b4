import pytest
import torch

from basicsr_entropy.entropy.divergences import DIVERGENCES, FUNCTIONALS


@pytest.mark.parametrize('divergence', FUNCTIONALS.values(), ids=FUNCTIONALS)
def test_slope_is_the_derivative_of_the_term_with_respect_to_the_mean_density(divergence):
    area = 9
    p = torch.rand(50, dtype=torch.float64)
    q = torch.rand(50, dtype=torch.float64, requires_grad=True)
    # terms of window sums are `area` times those of window means
    true_term = divergence.term(p * area, q * area, area) / area
    (expected,) = torch.autograd.grad(true_term.sum(), q)
    torch.testing.assert_close(divergence.slope(p * area, q.detach() * area, area), expected)


def test_hellinger_slope_is_finite_where_the_predicted_density_underflows():
    p, q = torch.tensor([0.0, 0.3, 1e-38]), torch.tensor([0.0, 0.0, 1e-45])
    assert torch.isfinite(DIVERGENCES['hellinger'].slope(p, q, 1)).all()


def test_root_has_no_slope_at_zero():
    total = torch.tensor([0.0, 0.25])
    assert DIVERGENCES['hellinger'].finish(total).tolist() == [0.0, 0.5]
    assert DIVERGENCES['hellinger'].finish_slope(total).tolist() == [0.0, 1.0]
