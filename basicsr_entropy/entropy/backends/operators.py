"""What the operators of all backends have in common: their settings, and how derivatives reach them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from basicsr_entropy.entropy.density import DensityOptions
from basicsr_entropy.entropy.kernels import KernelName

# inputs of every operator in its schema: images, bandwidth and scale as in `eager.local_divergence`; the settings
_TENSORS = ', '.join(
    f'Tensor {name}'
    for name in ('pred_value', 'pred_neighbor', 'target_value', 'target_neighbor', 'bandwidth', 'scale')
)
_SETTINGS = 'str divergence, str kernel, SymInt levels, SymInt[] radii, bool unit_mass'


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


Compute = Callable[[Sequence[torch.Tensor], Settings], Any]


def operator(name: str, returns: str, further: Sequence[str] = ()) -> Callable[[Compute], Any]:
    """Decorator that defines the operator `basicsr_entropy::<name>`, called as name(*tensors, *settings).

    Args:
        name: Name of the operator.
        returns: What it returns, in the language of schemas, such as '(Tensor, Tensor)'.
        further: Names of tensors that it takes after images, bandwidth and scale.

    In all tensors, planes are the third dimension from the end, or the first where there are less than three. They do
    not depend on each other, so `torch.func.vmap` passes those of a whole batch in one call.
    """
    tensors = ', '.join([_TENSORS, *(f'Tensor {each}' for each in further)])
    schema, count = f'({tensors}, {_SETTINGS}) -> {returns}', len(Settings._fields)

    def define(compute: Compute) -> Any:
        def operate(*arguments: Any) -> Any:
            return compute(arguments[:-count], Settings(*arguments[-count:]))

        defined = torch.library.custom_op(f'basicsr_entropy::{name}', operate, mutates_args=(), schema=schema)

        @defined.register_vmap
        def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Any:
            tensors = [_folded(*each, info.batch_size) for each in zip(arguments[:-count], dims)]
            results = defined(*tensors, *arguments[-count:])
            if isinstance(results, torch.Tensor):
                return _unfolded(results, info.batch_size)
            return tuple(zip(*(_unfolded(each, info.batch_size) for each in results)))

        return defined

    return define


def _folded(tensor: torch.Tensor, batch_dim: int | None, batch_size: int) -> torch.Tensor:
    """A tensor with the planes of all items of a batch; without a batch dimension every item has its planes."""
    if batch_dim is None:
        tensor, batch_dim = tensor.expand(batch_size, *tensor.shape), 0
    planes = max(tensor.ndim - 4, 0)
    return tensor.movedim(batch_dim, planes).flatten(planes, planes + 1)


def _unfolded(tensor: torch.Tensor, batch_size: int) -> tuple[torch.Tensor, int]:
    """A tensor with a batch dimension, and that dimension."""
    planes = max(tensor.ndim - 3, 0)
    return tensor.unflatten(planes, (batch_size, tensor.shape[planes] // batch_size)), planes


def differentiable(
    operator: Any,
    setup_context: Callable[[Any, tuple[Any, ...], Any], None],
    backward: Callable[..., tuple[Any, ...]],
) -> Callable[..., Any]:
    """Registers the derivative of an operator.

    Args:
        operator: What `operator` returned.
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
