"""The layers with weights, and dropout; and MLP, which builds a network of them."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fastmlp import _checks, init, seeds
from fastmlp.activations import Activation, as_activation
from fastmlp.containers import Sequential
from fastmlp.modules import Module
from fastmlp.parameter import Parameter
from fastmlp.symbolic import Symbolic


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
    precision : {"float32", "float32x3", "tf32", "bf16"}
        How float32 matrices are multiplied; see `Module.to`.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None
    """

    if TYPE_CHECKING:  # arrays are copied into the parameters

        @property
        def weight(self) -> Parameter: ...
        @weight.setter
        def weight(self, value: Any) -> None: ...
        @property
        def bias(self) -> Parameter: ...
        @bias.setter
        def bias(self, value: Any) -> None: ...

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
        dtype = _checks.dtype("dtype", dtype)
        _check_place(device, precision, dtype)
        self._allocate(in_features, out_features, _checks.flag("bias", bias), dtype)
        self.reset_parameters()
        if (device, precision) != ("cpu", "float32"):
            self.to(device=device, precision=precision)

    @classmethod
    def _zeros(cls, in_features: int, out_features: int, dtype: str) -> "Linear":
        """A layer of zeros, for which nothing is drawn: its weights are about to be set."""
        layer = cls.__new__(cls)
        layer._allocate(in_features, out_features, True, dtype)
        return layer

    def _allocate(self, in_features: int, out_features: int, has_bias: bool, dtype: str) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter.zeros((self.out_features, self.in_features), dtype)
        self.bias = Parameter.zeros((self.out_features,), dtype) if has_bias else None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("weight", "bias"):
            current = self.__dict__.get(name)
            if value is None or isinstance(value, Parameter) or not isinstance(current, Parameter):
                self._check_new(name, value)  # an array is copied into the parameter
        super().__setattr__(name, value)

    def check_option(self, name: str, value: Any) -> Any:
        if name not in ("in_features", "out_features"):
            return super().check_option(name, value)
        if name in self.__dict__:
            raise AttributeError(f"{name}: cannot be changed; make a new Linear layer")
        return _checks.integer(name, value, at_least=1)

    def _check_new(self, name: str, value: Any) -> None:
        if name == "bias" and value is None:
            return
        if not isinstance(value, Parameter):
            raise TypeError(f"{name}: expected a Parameter, got {_checks.show(value)}")
        shape = (self.out_features, self.in_features)[: 2 if name == "weight" else 1]
        if value.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
        if len(self.__dict__.keys() & {"weight", "bias"}) < 2:
            return  # it is being made
        dtypes = {p.dtype for p in self.parameters()}
        if dtypes - {value.dtype}:
            raise TypeError(
                f"{name}: expected {dtypes.pop()}, the layer's dtype, got {value.dtype}"
            )

    def reset_parameters(self) -> None:
        """Draw new weights and biases."""
        bound = 1 / math.sqrt(self.in_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Any:
        """Add this layer to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(Linear, x)
        return x.trace.add_affine(x, self, self.weight, self.bias)

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
    inplace : bool
        What reads the layer's input later in a `forward` reads its output.
    """

    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "p": partial(_checks.real, at_least=0, at_most=1)
    }

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = p
        self.inplace = _checks.flag("inplace", inplace)

    def forward(self, x: Any) -> Any:
        """Add this layer to the program being traced, if it has an effect."""
        if not isinstance(x, Symbolic):
            return self._as_layer(Dropout, x)
        if not self.training or self.p == 0:
            return x
        x.trace.dropout = True
        y = x.trace.add("dropout", x, self.p)
        return x.become(y) if self.inplace else y

    def extra_repr(self) -> str:
        """As torch's."""
        return f"p={self.p}, inplace={self.inplace}"


def _last(name: str, dim: Any) -> int:
    number = _checks.integer(name, dim, at_least=-1)
    if number != -1:
        raise ValueError(f"{name}: expected -1, the last dimension, got {number}")
    return number


def _first(name: str, dim: Any) -> int:
    number = _checks.integer(name, dim, at_least=0)
    if number != 1:
        raise ValueError(f"{name}: expected 1, the dimension after that of the rows, got {number}")
    return number


class Flatten(Module):
    """Take inputs of any number of dimensions: all after the first make one of features.

    It has an effect where it gets the model's input; between layers, values are rows of features.

    Parameters
    ----------
    start_dim : int
        1: rows stay rows.
    end_dim : int
        -1.
    """

    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {"start_dim": _first, "end_dim": _last}

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Any:
        """Take inputs of more dimensions in the program being traced."""
        return x.trace.add_flatten(x) if isinstance(x, Symbolic) else self._as_layer(Flatten, x)

    def extra_repr(self) -> str:
        """As torch's."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def MLP(  # noqa: N802 - reads as a class
    sizes: Sequence[int],
    activation: str | Activation | type[Activation] = "relu",
    *more: Any,
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
    precision : {"float32", "float32x3", "tf32", "bf16"}
        How float32 matrices are multiplied; see `Module.to`.
    seed : int, optional
        For the initial values, and for a `Trainer.fit` without a seed of its own; without it they
        come from the global generator.

    Returns
    -------
    Sequential
    """
    if isinstance(sizes, int) and (more or isinstance(activation, int)):
        raise TypeError("sizes: expected one list, got several numbers; write MLP([2, 10, 3])")
    if more:
        raise TypeError(f"MLP() takes 2 positional arguments, got {2 + len(more)}")
    if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
        hint = "; write MLP([2, 10, 3])" if isinstance(sizes, int) else ""
        raise TypeError(f"sizes: expected a sequence of integers, got {_checks.show(sizes)}{hint}")
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
    model = Sequential(*layers, device=device, precision=precision)
    model.__dict__["_seed"] = seed
    return model
