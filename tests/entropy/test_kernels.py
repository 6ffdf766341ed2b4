import pytest
import torch

from basicsr_entropy.entropy.kernels import KERNELS, level_densities, level_density_slopes


@pytest.mark.parametrize('name', KERNELS)
def test_is_a_density_with_the_stated_standard_deviation(name):
    kernel = KERNELS[name]
    v = torch.linspace(-60, 60, 120001, dtype=torch.float64)
    density = kernel.density(v)
    assert torch.trapezoid(density, v).item() == pytest.approx(1, abs=1e-9)
    assert torch.trapezoid(density * v**2, v).sqrt().item() == pytest.approx(kernel.std, rel=1e-6)


@pytest.mark.parametrize('name', KERNELS)
def test_decline_is_minus_the_derivative_of_the_log_density(name):
    kernel = KERNELS[name]
    v = torch.linspace(-9, 9, 31, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kernel.density(v).log().sum(), v)
    torch.testing.assert_close(kernel.decline(v), -slope)


def test_logistic_does_not_underflow_where_its_textbook_form_does():
    v = torch.tensor([40.0])
    assert torch.sigmoid(v) * (1 - torch.sigmoid(v)) == 0
    assert KERNELS['logistic'].density(v).item() == pytest.approx(4.248354e-18, rel=1e-5)


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('unit_mass', [False, True])
def test_slopes_are_the_derivatives_of_the_densities(name, unit_mass):
    values = (torch.rand(2, 5, dtype=torch.float64) * 7).requires_grad_()
    bandwidth = torch.tensor([[0.5], [0.9]], dtype=torch.float64)
    arguments = bandwidth, KERNELS[name], 8, unit_mass
    density, slope = level_density_slopes(values, *arguments)
    torch.testing.assert_close(density, level_densities(values, *arguments))
    for level in range(8):
        (expected,) = torch.autograd.grad(level_densities(values, *arguments)[:, level].sum(), values)
        torch.testing.assert_close(slope[:, level], expected)
    if unit_mass:
        torch.testing.assert_close(density.sum(dim=1), torch.ones_like(values))
