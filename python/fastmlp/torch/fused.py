"""FusedMLP: an MLP in torch whose passes run in fastmlp's native code."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastmlp import _checks
from fastmlp.activations import as_activation
from fastmlp.torch.passes import Layers, Refused, compiled, describe, fused, hooks_of
from fastmlp.torch.table import ELEMENTWISE, options_of, row_of

_NATIVE = (torch.float32, torch.float64)


class FusedMLP(torch.nn.Sequential):
    """A `torch.nn.Sequential` of Linear layers and activations, run forward and backward as one.

    Parameters, state dict, initial values and printed form are those of the Sequential. So are
    the results, but for rounding; what differs is the time that a pass takes. Parameters are
    torch's own, and native code works on their memory.

    Native code runs tensors of float32 and float64 on the CPU, from any number of threads, with
    torch's own threads (`torch.set_num_threads`). There, autocast changes nothing but that inputs
    of 16 bits are converted to the parameters' dtype.
    torch's own operations run all else: other devices and dtypes, empty batches, transforms of
    `torch.func`, subclasses of tensors, layers with hooks and parametrizations, modules put in
    later that are neither Linear nor an activation, and those behind them. Gradients that are to be
    derived again (`create_graph=True`) are formed by torch, too. `torch.compile` sees one operator;
    `torch.export` sees torch's. For `torch.jit.script`, write ``torch.nn.Sequential(*fused)``.

    Parameters
    ----------
    sizes : sequence of int
        The number of inputs, of units in each hidden layer, and of outputs.
    activation : str, activation or class of one, of fastmlp or torch
        After each hidden layer. One that works element by element and has no parameters.
    output_activation : likewise, optional
        After the last layer; "softmax" and "log_softmax", too.
    bias : bool
        Whether the layers have biases.
    dtype : torch.dtype, optional
        Of the parameters; torch's default dtype.
    device : torch.device or str, optional
        Where they lie; torch's default device.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If there are fewer than two sizes, or the activation is unknown or cannot be there.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Any = "relu",
        *,
        output_activation: Any = None,
        bias: bool = True,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        widths = _widths(sizes)
        hidden = _activation("activation", activation)
        last = (
            None
            if output_activation is None
            else _activation("output_activation", output_activation)
        )
        if type(hidden).__name__ not in ELEMENTWISE:
            raise ValueError(
                "activation: expected one that works element by element, got"
                f" {type(hidden).__name__}; it can be the output_activation"
            )
        has_bias = _checks.flag("bias", bias)
        modules: list[Any] = []
        for width, following in itertools.pairwise(widths):
            linear = torch.nn.Linear(width, following, has_bias, dtype=dtype, device=device)
            modules += [linear, copy.deepcopy(hidden)]
        super().__init__(*modules[:-1], *([] if last is None else [last]))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    def forward(self, input: Tensor) -> Tensor:
        """The output for an input of shape (..., in_features)."""
        if torch.compiler.is_compiling():
            return self._compiled(input)
        plan = self.__dict__.get("_plan")
        if plan is None or not plan.holds(self._modules):
            plan = self.__dict__["_plan"] = _Plan(self._modules)
        y = plan.run(input)
        return super().forward(input) if y is None else y

    def _compiled(self, x: Tensor) -> Tensor:
        modules = list(self._modules.values())
        text, linears, _, count = describe(modules)
        if count == 0 or torch.compiler.is_exporting():
            return super().forward(x)
        weight = linears[0].weight
        if x.dtype != weight.dtype and torch.is_autocast_enabled("cpu") and x.is_floating_point():
            x = x.to(weight.dtype)
        if x.dtype != weight.dtype or x.dtype not in _NATIVE or x.device.type != "cpu":
            return super().forward(x)
        if x.dim() == 0 or x.shape[-1] != weight.shape[1]:
            return super().forward(x)
        parameters = []
        for layer in linears:
            parameters += [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        y = compiled(x.contiguous(), parameters, text)
        for module in modules[count:]:
            y = module(y)
        return y


class _Plan:
    """What has been found of a FusedMLP's modules, while they stay as they are."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self._modules = tuple(modules.values())
        self._text, linears, self._activations, count = describe(self._modules)
        self._attributes = [vars(module) for module in self._modules]
        self._counts = [len(attributes) for attributes in self._attributes]
        if any("forward" in attributes for attributes in self._attributes[:count]):  # one's own
            linears, count = [], 0
        self._rest = self._modules[count:]
        self._hooks = [hooks for module in self._modules for hooks in hooks_of(module)]
        self._hooked = any(self._hooks)
        self._options = [
            (vars(module), name)
            for module in self._activations
            for name in ELEMENTWISE[type(module).__name__ if module else "Identity"]
        ]
        self._values = [options[name] for options, name in self._options]
        self._places = [
            (layer._parameters, name)
            for layer in linears
            for name in ("weight", "bias")
            if layer._parameters[name] is not None
        ]
        self._without_bias = [layer._parameters for layer in linears if layer.bias is None]
        weights = [layer.weight for layer in linears]
        self._widths = (*(w.shape[1] for w in weights[:1]), *(w.shape[0] for w in weights))
        self._layers: dict[Any, Layers] = {}  # by dtype

    def holds(self, modules: dict[str, Any]) -> bool:
        """Whether all is as it was."""
        if tuple(modules.values()) != self._modules or self._hooked or any(self._hooks):
            return False
        if [len(attributes) for attributes in self._attributes] != self._counts:
            return False
        if self._options and [o[name] for o, name in self._options] != self._values:
            return False
        return not any(of["bias"] is not None for of in self._without_bias)

    def run(self, x: Tensor) -> Tensor | None:
        """The output; None where torch has to compute it, or to say what is wrong."""
        if x.__class__ is not Tensor or not self._places:
            return None
        if torch._C._are_functorch_transforms_active() or torch._C._get_tracing_state() is not None:
            return None
        parameters = tuple([of.get(name) for of, name in self._places])
        layers = self._layers.get(x.dtype)
        if layers is None:
            if torch.is_autocast_enabled("cpu") and x.dtype in (torch.bfloat16, torch.float16):
                return self.run(x.to(parameters[0].dtype))
            layers = self._new_layers(x.dtype)
        shape = x.shape
        if layers is None or not shape or shape[-1] != layers.in_features or x.numel() == 0:
            return None
        if not x.is_contiguous() or x.is_neg():
            x = x.resolve_neg().contiguous()
        try:
            if torch.is_grad_enabled():
                y = fused(layers, x, *parameters)
            else:
                y = layers.run(x, parameters, False)[0]
        except Refused:
            return None
        for module in self._rest:
            y = module(y)
        return y

    def _new_layers(self, dtype: Any) -> Layers | None:
        if dtype not in _NATIVE:
            return None
        try:
            layers = Layers(self._text, self._widths, dtype, self._activations)
        except ValueError:  # options or widths that native code does not take
            return None
        return self._layers.setdefault(dtype, layers)


def _widths(sizes: Any) -> list[int]:
    if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
        raise TypeError(f"sizes: expected a sequence of integers, got {_checks.show(sizes)}")
    widths = [_checks.integer(f"sizes[{i}]", n, at_least=1) for i, n in enumerate(sizes)]
    if len(widths) < 2:
        raise ValueError(f"sizes: expected at least two (inputs, outputs), got {len(widths)}")
    return widths


def _activation(name: str, value: Any) -> Any:
    """torch's module for an activation of either library."""
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        value = value()
    if not isinstance(value, torch.nn.Module):
        ours = as_activation(name, value)
        row = row_of(ours)
        if row is None:
            raise TypeError(f"{name}: expected one that torch has, too, got {_checks.show(ours)}")
        return row.theirs(**options_of(ours, row))
    kind = type(value).__name__
    if kind not in (*ELEMENTWISE, "Softmax", "LogSoftmax") or type(value) is not getattr(
        torch.nn, kind
    ):
        raise ValueError(f"{name}: expected an activation without parameters, got {kind}")
    return copy.deepcopy(value)
