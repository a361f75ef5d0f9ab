"""The native passes of an MLP as functions of torch's tensors, with autograd, and as operators.

The eager path is a `torch.autograd.Function`, which costs the least. `torch.compile` sees two
operators instead, of which it knows shapes and derivative. A derivative that is to be derived again
is formed of torch's own operations.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fastmlp
from fastmlp import _core
from fastmlp.torch.table import ELEMENTWISE


class Step(NamedTuple):
    """A Linear layer and the activation after it, by its native name and constants."""

    bias: bool
    activation: str
    alpha: float
    beta: float


class Refused(Exception):  # noqa: N818 - no error: torch computes instead
    """A tensor is not one that native code works on."""


def describe(modules: Sequence[Any]) -> tuple[str, list[Any], list[Any], int]:
    """What native code can run of a Sequential's modules: the first of them, in pairs.

    Returns
    -------
    text : str
        Of each Linear layer whether it has a bias, and the activation after it with its options.
    linears, activations : list of torch.nn.Module
        None in the place of an activation that is not there.
    count : int
        How many modules that is.
    """
    text, linears, activations = "", [], []
    at = 0
    while at < len(modules) and type(modules[at]) is torch.nn.Linear and not is_hooked(modules[at]):
        layer, at = modules[at], at + 1
        following = modules[at] if at < len(modules) else None
        name = type(following).__name__
        options = ELEMENTWISE.get(name)
        if (
            options is None
            or type(following) is not getattr(torch.nn, name)
            or is_hooked(following)
        ):
            following, name, options = None, "Identity", ()
        else:
            at += 1
        values = " ".join([str(getattr(following, option)) for option in options])
        text += f"{int(layer.bias is not None)} {name} {values};"
        linears.append(layer)
        activations.append(following)
    return text, linears, activations, at


def hooks_of(module: Any) -> tuple[Any, ...]:
    """Its dicts of hooks, which native code would pass by."""
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def is_hooked(module: Any) -> bool:
    """Whether it has hooks."""
    return any(len(hooks) > 0 for hooks in hooks_of(module))


@lru_cache(maxsize=256)
def steps_of(text: str) -> tuple[Step, ...]:
    """The layers that `describe` has found."""
    steps = []
    for part in text.split(";")[:-1]:
        bias, name, *values = part.split()
        options = [float(value) if name != "GELU" else value for value in values]
        activation = getattr(fastmlp, name)(**dict(zip(ELEMENTWISE[name], options, strict=True)))
        steps.append(Step(bias == "1", *activation.native()))
    return tuple(steps)


@lru_cache(maxsize=256)
def chain_of(text: str, widths: tuple[int, ...], dtype: Any) -> Any:
    """The native layers, whose passes work on tensors of float32 or float64."""
    layers = [
        (widths[i], widths[i + 1], step.bias, step.activation, step.alpha, step.beta)
        for i, step in enumerate(steps_of(text))
    ]
    return _core.BorrowedChain(layers, str(dtype).removeprefix("torch."), torch)


class Layers:
    """What one pass runs: native layers, and torch's modules for the same.

    Parameters
    ----------
    text : str
        As `describe` gives it.
    widths : tuple of int
        Of the input, and of each layer's output.
    dtype : torch.dtype
        float32 or float64.
    activations : sequence of torch.nn.Module or None
        After each Linear layer.
    """

    def __init__(
        self, text: str, widths: tuple[int, ...], dtype: Any, activations: Sequence[Any]
    ) -> None:
        self.out_features = widths[-1]
        self.in_features = widths[0]
        self.chain = chain_of(text, widths, dtype)
        self._steps = steps_of(text)
        self._activations = activations

    def run(
        self, x: Tensor, parameters: tuple[Tensor, ...], training: bool
    ) -> tuple[Tensor, Tensor]:
        """The output, and the workspace that `backward` goes on with."""
        rows = x.numel() // self.in_features
        y = x.new_empty((*x.shape[:-1], self.out_features))
        workspace = x.new_empty(self.chain.workspace_size(rows, training))
        if not self.chain.forward(x, parameters, workspace, y, training):
            raise Refused
        return y, workspace

    def in_torch(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The output by torch's own operations."""
        following = iter(parameters)
        for step, activation in zip(self._steps, self._activations, strict=True):
            weight, bias = next(following), next(following) if step.bias else None
            x = torch.nn.functional.linear(x, weight, bias)
            x = x if activation is None else activation(x)
        return x


class Fused(torch.autograd.Function):
    """The output for (layers, x, *parameters)."""

    @staticmethod
    def forward(ctx: Any, layers: Layers, x: Tensor, *parameters: Tensor) -> Tensor:
        y, workspace = layers.run(x, parameters, True)
        ctx.save_for_backward(x, workspace, *parameters)
        ctx.layers = layers
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        x, workspace, *values = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # create_graph
            return None, *_derivable_gradients(ctx.layers, dy, x, values, wanted)
        parameters = tuple(values)
        gradients = tuple(
            [
                torch.empty_like(p) if w else None
                for p, w in zip(parameters, wanted[1:], strict=True)
            ]
        )
        dx = torch.empty_like(x) if wanted[0] else None
        _backward(ctx.layers.chain, dy, x, parameters, workspace, dx, gradients)
        return None, dx, *gradients


# Of torch.autograd.Function, without what it does within transforms of `torch.func`.
fused = super(torch.autograd.Function, Fused).apply


def _backward(
    chain: Any,
    dy: Tensor,
    x: Tensor,
    parameters: tuple[Tensor, ...],
    workspace: Tensor,
    dx: Tensor | None,
    gradients: tuple[Tensor | None, ...],
) -> None:
    if not dy.is_contiguous():
        dy = dy.contiguous()
    if not chain.backward(dy, x, parameters, workspace, dx, gradients):
        raise RuntimeError(
            f"gradient: expected a tensor of {x.dtype} on the CPU, as the output, got {dy.dtype}"
            f" on {dy.device}"
        )


def _derivable_gradients(
    layers: Layers, dy: Tensor, x: Tensor, parameters: list[Tensor], wanted: Sequence[bool]
) -> list[Tensor | None]:
    inputs = (x, *parameters)
    y = layers.in_torch(x, parameters)
    of = [value for value, is_wanted in zip(inputs, wanted, strict=True) if is_wanted]
    found = iter(torch.autograd.grad(y, of, dy, create_graph=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]


# For torch.compile --------------------------------------------------------------------------------
# A workspace has a size that the compiler could not express for batches of any size: the forward
# pass is run again before the backward one.

_Tensors = list[Tensor]


def _weights(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [value for value in parameters if value.dim() == 2]


def _chain(x: Tensor, parameters: Sequence[Tensor], text: str) -> Any:
    widths = (x.shape[-1], *(weight.shape[0] for weight in _weights(parameters)))
    return chain_of(text, widths, x.dtype)


@torch.library.custom_op("fastmlp::mlp", mutates_args=())
def _mlp(x: Tensor, parameters: _Tensors, text: str) -> Tensor:
    return _pass(x, parameters, text, False)[0]


def _pass(x: Tensor, parameters: _Tensors, text: str, training: bool) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return x.new_empty(_out_shape(x, parameters)), x
    chain = _chain(x, parameters, text)
    size = chain.workspace_size(x.numel() // x.shape[-1], training)
    y, workspace = x.new_empty(_out_shape(x, parameters)), x.new_empty(size)
    if not chain.forward(x, tuple(parameters), workspace, y, training):
        raise RuntimeError("FusedMLP: expected contiguous weights of the input's dtype on the CPU")
    return y, workspace


def _out_shape(x: Tensor, parameters: _Tensors) -> tuple[Any, ...]:
    return (*x.shape[:-1], _weights(parameters)[-1].shape[0])


@_mlp.register_fake
def _(x: Tensor, parameters: _Tensors, text: str) -> Tensor:
    return x.new_empty(_out_shape(x, parameters))


@torch.library.custom_op("fastmlp::mlp_backward", mutates_args=())
def _mlp_backward(
    dy: Tensor, x: Tensor, parameters: _Tensors, text: str, wanted: list[bool]
) -> _Tensors:
    if x.numel() == 0:
        pairs = zip((x, *parameters), wanted, strict=True)
        return [torch.zeros_like(value) for value, is_wanted in pairs if is_wanted]
    _, workspace = _pass(x, parameters, text, True)
    dx = torch.empty_like(x) if wanted[0] else None
    gradients = tuple(
        torch.empty_like(p) if w else None for p, w in zip(parameters, wanted[1:], strict=True)
    )
    _backward(_chain(x, parameters, text), dy, x, tuple(parameters), workspace, dx, gradients)
    return [value for value in (dx, *gradients) if value is not None]


@_mlp_backward.register_fake
def _(dy: Tensor, x: Tensor, parameters: _Tensors, text: str, wanted: list[bool]) -> _Tensors:
    return [torch.empty_like(v) for v, w in zip((x, *parameters), wanted, strict=True) if w]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, parameters, text = inputs
    ctx.save_for_backward(x, *parameters)
    ctx.text = text
    ctx.wanted = [value.requires_grad for value in (x, *parameters)]


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, *parameters = ctx.saved_tensors
    found = iter(_mlp_backward(dy.contiguous(), x, parameters, ctx.text, ctx.wanted))
    dx, *gradients = [next(found) if is_wanted else None for is_wanted in ctx.wanted]
    return dx, gradients, None


_mlp.register_autograd(_differentiate, setup_context=_setup)


def compiled(x: Tensor, parameters: Sequence[Tensor], text: str) -> Tensor:
    """The output by way of the operators, for a contiguous x that is not empty."""
    result: Tensor = _mlp(x, list(parameters), text)
    return result
