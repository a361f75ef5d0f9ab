"""The layers with weights or structure: Linear, Dropout, Sequential, and MLP, which builds one."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from fastmlp import _checks, init, seeds
from fastmlp.activations import Activation, as_activation
from fastmlp.modules import Module
from fastmlp.parameter import Parameter
from fastmlp.tracing import Chain, Symbolic


class Linear(Module):
    """`x @ weight.T + bias`, initialised as torch does: uniform within 1/sqrt(in_features).

    Parameters
    ----------
    in_features, out_features : int
        At least 1.
    bias : bool
        Whether there is a bias.
    dtype : {"float32", "float64"}
        Of the parameters.
    device : {"cpu", "cuda", "cuda:0"}
        Where the parameters lie and the layer computes.
    precision : {"float32", "tf32", "bf16"}
        How a CUDA device multiplies float32 matrices; see `Module.to`.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = "float32",
        *,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.in_features = _checks.integer("in_features", in_features, at_least=1)
        self.out_features = _checks.integer("out_features", out_features, at_least=1)
        dtype = _checks.dtype("dtype", dtype)
        _check_place(device, precision, dtype)
        self.weight = Parameter.zeros((self.out_features, self.in_features), dtype)
        has_bias = _checks.flag("bias", bias)
        self.bias = Parameter.zeros((self.out_features,), dtype) if has_bias else None
        self.reset_parameters()
        self.to(device, precision=precision)

    def __setattr__(self, name: str, value: Any) -> None:
        current = self.__dict__.get(name)
        if name in ("weight", "bias") and (value is None or not isinstance(current, Parameter)):
            self._check_new(name, value)  # there is no storage to copy into
        super().__setattr__(name, value)

    def _check_new(self, name: str, value: Any) -> None:
        if name == "bias" and value is None:
            return
        if not isinstance(value, Parameter):
            raise TypeError(f"{name}: expected a Parameter, got {_checks.show(value)}")
        shape = (self.out_features, self.in_features)[: 2 if name == "weight" else 1]
        if value.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")

    def reset_parameters(self) -> None:
        """Draw new weights and biases."""
        bound = 1 / math.sqrt(self.in_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Any:
        """Add this layer to the chain being traced."""
        if not isinstance(x, Symbolic):
            return self(x)
        return x.chain.add_affine(x, self, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As torch's."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


def _check_place(device: str, precision: str, dtype: str) -> None:
    """Find what is wrong before anything is made, or drawn from a generator."""
    _checks.precision("precision", precision, _checks.device("device", device), dtype)


class Dropout(Module):
    """In training, zero each value with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    p : float
        From 0 to 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "p":
            value = _checks.real("p", value, at_least=0, at_most=1)
        super().__setattr__(name, value)

    def forward(self, x: Any) -> Any:
        """Add this layer to the chain being traced, if it has an effect."""
        if not isinstance(x, Symbolic):
            return self(x)
        if not self.training or self.p == 0:
            return x
        x.chain.dropout = True
        return x.chain.add(x, ("dropout", self.p))

    def extra_repr(self) -> str:
        """As torch's."""
        return f"p={self.p}"


class Sequential(Module):
    """Modules that run one after another.

    Parameters
    ----------
    *modules : Module, or one list of them, or one dict of name and module
        Without names of their own they are called "0", "1", ... Each can be reached by index and,
        if its name allows, by attribute.
    dtype : {"float32", "float64"}, optional
        Converts the parameters of all modules, in place. Make optimizers afterwards.
    device, precision : str, optional
        Move all modules; see `Module.to`.

    Raises
    ------
    TypeError
        If an argument is no module, or layers differ in their dtype.
    ValueError
        If a layer takes another number of features than the one before it gives, or lies on another
        device.
    """

    def __init__(
        self,
        *modules: Any,
        dtype: Any = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__()
        for name, module in _named(modules):
            self._insert(name, module)
        if dtype is not None:
            dtype = _checks.dtype("dtype", dtype)
            for parameter in self.parameters():
                parameter._convert(dtype)
        if device is not None or precision is not None:
            self.to(device, precision=precision)
        # Not self.forward, which a subclass may define, and which may need what it sets up later.
        Chain(self).run(lambda x: Sequential.forward(self, x))

    def _insert(self, name: str, module: Any) -> None:
        if not isinstance(module, Module):
            hint = f"; write {module.__name__}()" if isinstance(module, type) else ""
            raise TypeError(f"modules: expected modules, got {_checks.show(module)}{hint}")
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ValueError(f"modules: expected names free for attributes, got {name!r}")
        setattr(self, name, module)

    if TYPE_CHECKING:  # modules by their names

        def __getattr__(self, name: str) -> Any: ...

    def forward(self, x: Any) -> Any:
        """Pass x through all modules."""
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Any:
        items = list(self.named_children())
        return Sequential(dict(items[index])) if isinstance(index, slice) else items[index][1]

    def __setitem__(self, index: int, module: Module) -> None:
        self._insert(list(self.named_children())[index][0], module)


def _named(modules: tuple[Any, ...]) -> list[tuple[str, Any]]:
    if len(modules) == 1 and isinstance(modules[0], Mapping):
        return list(modules[0].items())
    if len(modules) == 1 and isinstance(modules[0], list | tuple):
        modules = tuple(modules[0])
    return [(str(index), module) for index, module in enumerate(modules)]


def MLP(  # noqa: N802 - reads as a class
    sizes: Sequence[int],
    activation: str | Activation | type[Activation] = "relu",
    *,
    output_activation: str | Activation | type[Activation] | None = None,
    bias: bool = True,
    dtype: Any = "float32",
    device: str = "cpu",
    precision: str = "float32",
    seed: int | None = None,
) -> Sequential:
    """A multilayer perceptron: Linear layers with an activation after each but the last.

    Parameters
    ----------
    sizes : sequence of int
        The number of inputs, of units in each hidden layer, and of outputs.
    activation : str, Activation or its class
        After each hidden layer: a name such as "sigmoid", or a module, which is used each time.
    output_activation : str, Activation or its class, optional
        After the last layer.
    bias : bool
        Whether the layers have biases.
    dtype : {"float32", "float64"}
        Of the parameters.
    device : {"cpu", "cuda", "cuda:0"}
        Where the parameters lie and the network runs.
    precision : {"float32", "tf32", "bf16"}
        How a CUDA device multiplies float32 matrices; see `Module.to`.
    seed : int, optional
        For the initial values; without it they come from the global generator.

    Returns
    -------
    Sequential
    """
    if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
        raise TypeError(f"sizes: expected a sequence of integers, got {_checks.show(sizes)}")
    widths = [_checks.integer(f"sizes[{i}]", n, at_least=1) for i, n in enumerate(sizes)]
    if len(widths) < 2:
        raise ValueError(f"sizes: expected at least two (inputs, outputs), got {len(widths)}")
    hidden = as_activation("activation", activation)
    _check_place(device, precision, _checks.dtype("dtype", dtype))
    layers: list[Module] = []
    with seeds.seeded(seed):
        for width, following in itertools.pairwise(widths):
            layers += [Linear(width, following, bias, dtype), hidden]
    layers.pop()
    if output_activation is not None:
        layers.append(as_activation("output_activation", output_activation))
    return Sequential(*layers, device=device, precision=precision)
