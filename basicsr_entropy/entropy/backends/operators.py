"""What the operators of all backends have in common: their settings, and how derivatives reach them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.kernels import KernelName


class Settings(NamedTuple):
    """How local densities are estimated and compared, in types that the schema of an operator knows.

    Attributes:
        divergence: Name of the divergence, or 'shannon'.
        kernel: Name of the kernel.
        levels: Number of levels L.
        radii: Radii of the windows in pixels, ascending.
        unit_mass: As in `DensityOptions`.
    """

    divergence: str
    kernel: KernelName
    levels: int
    radii: list[int]
    unit_mass: bool

    @classmethod
    def of(cls, options: DensityOptions, divergence: str) -> 'Settings':
        """The settings for options with a single number of levels."""
        return cls(divergence, options.kernel, options.level_count, list(options.radii), options.unit_mass)

    @property
    def areas(self) -> list[int]:
        """Number of pixels of each window."""
        return [(2 * radius + 1) ** 2 for radius in self.radii]


def differentiable(
    operator: Any,
    setup_context: Callable[[Any, tuple[Any, ...], Any], None],
    backward: Callable[..., tuple[Any, ...]],
) -> Callable[..., Any]:
    """Registers the derivative of an operator.

    Args:
        operator: What `torch.library.custom_op` returns.
        setup_context: Called as setup_context(ctx, inputs, output), as in `torch.library.register_autograd`.
        backward: Called as backward(ctx, *grads).

    Returns:
        A function that applies the operator. torch.func does not know derivatives that are registered for operators,
        and forward-mode differentiation would silently take them for zero. Outside of compilation the operator is
        therefore applied by an autograd function with the same formula.
    """
    operator.register_autograd(backward, setup_context=setup_context)

    class Function(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*arguments: Any) -> Any:
            return operator(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            setup_context(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return backward(ctx, *grads)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            raise NotImplementedError(
                'spatial entropy has no forward-mode derivatives; use reverse mode, such as torch.func.vjp, grad or '
                'jacrev'
            )

    def apply(*arguments: Any) -> Any:
        return operator(*arguments) if torch.compiler.is_compiling() else Function.apply(*arguments)

    return apply


def first_order_only(gradient: torch.Tensor, *sources: torch.Tensor) -> torch.Tensor:
    """A gradient whose own derivative w.r.t. the tensors it was computed from raises an error.

    Without this, second derivatives would silently be zero.
    """
    return _FirstOrderOnly.apply(gradient, *sources) if torch.is_grad_enabled() else gradient


class _FirstOrderOnly(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: torch.Tensor, *sources: torch.Tensor) -> torch.Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            "backend: this one computes first derivatives only; for second derivatives choose 'eager', which computes "
            'them from all bins at once and needs much memory'
        )
