"""The activations. A class gives its native name once and, where it has any, its two constants."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastmlp import _checks
from fastmlp.modules import Module
from fastmlp.parameter import Parameter, check_successor
from fastmlp.symbolic import Symbolic


class Activation(Module):
    """Base of the activations; subclasses name their native function.

    With `inplace`, what reads the layer's input later in a `forward` reads its output, as in torch.
    Arrays of the caller stay as they are.
    """

    native_name: ClassVar[str]
    option_names: ClassVar[tuple[str, ...]] = ()  # in the order of torch's arguments
    inplace: bool = False
    by_name: ClassVar[dict[str, Callable[[], "Activation"]]] = {}

    def __init_subclass__(cls, name: str | None = None) -> None:
        if name is not None:  # one of ours
            cls.native_name = name
            cls.by_name[name] = cls

    def native(self) -> tuple[str, float, float]:
        """The native function's name and its two constants."""
        return (self.native_name, *self.constants())

    def constants(self) -> tuple[float, float]:
        """What the native function calls alpha and beta."""
        return 0.0, 0.0

    def extra_repr(self) -> str:
        """The options and their values."""
        names = (*self.option_names, *(("inplace",) if self.inplace else ()))
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def forward(self, x: Any) -> Any:
        """Add this activation to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(Activation, x)
        y = x.trace.add("activation", x, *self.native())
        return x.become(y) if self.inplace else y


class _TakesInplace:
    """The constructor of those whose one argument is torch's `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("inplace", inplace)


class Identity(Activation, name="identity"):
    """x itself."""


class ReLU(_TakesInplace, Activation, name="relu"):
    """max(x, 0)."""


class ReLU6(_TakesInplace, Activation, name="relu6"):
    """x clamped to [0, 6]."""

    def native(self) -> tuple[str, float, float]:
        return "hardtanh", 0.0, 6.0


class LeakyReLU(Activation, name="leaky_relu"):
    """x where that is positive, else negative_slope * x.

    Parameters
    ----------
    negative_slope : float
        Not negative, because the derivative is taken from the sign of the output.
    """

    option_names = ("negative_slope",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "negative_slope": partial(_checks.real, at_least=0),
    }

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("inplace", inplace)
        self.negative_slope = negative_slope

    def constants(self) -> tuple[float, float]:
        return self.negative_slope, 0.0


class Sigmoid(Activation, name="sigmoid"):
    """1 / (1 + exp(-x))."""


class Tanh(Activation, name="tanh"):
    """The hyperbolic tangent."""


class Hardtanh(Activation, name="hardtanh"):
    """x clamped to [min_val, max_val].

    Parameters
    ----------
    min_val, max_val : float
        The first below the second.
    """

    option_names = ("min_val", "max_val")
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "min_val": _checks.real,
        "max_val": _checks.real,
    }

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("inplace", inplace)
        low, high = _checks.real("min_val", min_val), _checks.real("max_val", max_val)
        self._check_order(low, high)
        self.min_val, self.max_val = low, high

    def check_option(self, name: str, value: Any) -> Any:
        value = super().check_option(name, value)
        if "max_val" in self.__dict__:
            low, high = (
                value if name == option else getattr(self, option) for option in self.option_names
            )
            self._check_order(low, high)
        return value

    @staticmethod
    def _check_order(low: float, high: float) -> None:
        if not low < high:
            raise ValueError(f"max_val: expected a number > min_val, {low:g}, got {high:g}")

    def constants(self) -> tuple[float, float]:
        return self.min_val, self.max_val


class GELU(Activation, name="gelu"):
    """x times the normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" for the paper's approximation by a hyperbolic tangent.
    """

    option_names = ("approximate",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "approximate": partial(_checks.choice, known=("none", "tanh")),
    }

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def native(self) -> tuple[str, float, float]:
        return "gelu" if self.approximate == "none" else "gelu_tanh", 0.0, 0.0


Activation.by_name["gelu_tanh"] = partial(GELU, "tanh")


class SiLU(_TakesInplace, Activation, name="silu"):
    """x * sigmoid(x)."""


class Mish(_TakesInplace, Activation, name="mish"):
    """x * tanh(softplus(x)) (Misra, arXiv 1908.08681)."""


class Hardswish(_TakesInplace, Activation, name="hardswish"):
    """x times Hardsigmoid of x (Howard and others, arXiv 1905.02244)."""


class Hardsigmoid(_TakesInplace, Activation, name="hardsigmoid"):
    """(x + 3) / 6, clamped to [0, 1]."""


class LogSigmoid(Activation, name="logsigmoid"):
    """log(1 / (1 + exp(-x)))."""


class Softsign(Activation, name="softsign"):
    """x / (1 + abs(x))."""


class SELU(_TakesInplace, Activation, name="selu"):
    """1.0507 x where x is positive, else 1.7581 (exp(x) - 1).

    These constants, here rounded, keep mean 0 and variance 1 from layer to layer (Klambauer and
    others, arXiv 1706.02515).
    """


class ELU(Activation, name="elu"):
    """x where that is positive, else alpha * (exp(x) - 1).

    Parameters
    ----------
    alpha : float
    """

    option_names = ("alpha",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "alpha": _checks.real,
    }

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("inplace", inplace)
        self.alpha = alpha

    def constants(self) -> tuple[float, float]:
        return self.alpha, 0.0


class CELU(Activation, name="celu"):
    """x where that is positive, else alpha * (exp(x / alpha) - 1) (Barron, arXiv 1704.07483).

    Parameters
    ----------
    alpha : float
        Positive.
    """

    option_names = ("alpha",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "alpha": partial(_checks.real, above=0),
    }

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("inplace", inplace)
        self.alpha = alpha

    def constants(self) -> tuple[float, float]:
        return self.alpha, 0.0


class Softplus(Activation, name="softplus"):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold.

    Parameters
    ----------
    beta : float
        Positive.
    threshold : float
    """

    option_names = ("beta", "threshold")
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "beta": partial(_checks.real, above=0),
        "threshold": _checks.real,
    }

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def constants(self) -> tuple[float, float]:
        return self.beta, self.threshold


class PReLU(Module):
    """x where that is positive, else weight * x (He and others, arXiv 1502.01852).

    Parameters
    ----------
    num_parameters : int
        1, or the number of features: each its own slope.
    init : float
        The first slope.
    dtype : {"float32", "float64"}
        Of the weight.
    device : {"cpu", "cuda", "cuda:0"}
        Where it lies.

    Attributes
    ----------
    weight : Parameter, shape (num_parameters,)
    """

    weight: Any
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "num_parameters": partial(_checks.integer, at_least=1),
        "init": _checks.real,
    }

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        dtype: Any = "float32",
        *,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        dtype = _checks.dtype("dtype", dtype)
        _checks.device("device", device)
        self.weight = Parameter(np.full(self.num_parameters, self.init, dtype))
        self.to(device=device)

    def __setattr__(self, name: str, value: Any) -> None:
        current = self.__dict__.get(name)
        if isinstance(current, Parameter) and (value is None or isinstance(value, Parameter)):
            check_successor(name, current, value)
        super().__setattr__(name, value)

    def check_option(self, name: str, value: Any) -> Any:
        if name in self.checks and name in self.__dict__:
            raise AttributeError(f"{name}: cannot be changed; make a new PReLU")
        return super().check_option(name, value)

    def reset_parameters(self) -> None:
        """The first slope."""
        self.weight.copy_(np.full(self.num_parameters, self.init))

    def forward(self, x: Any) -> Any:
        """Add this activation to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(PReLU, x)
        features = None if self.num_parameters == 1 else self.num_parameters
        if features is not None:
            x.trace.need_two_dimensions(x)  # the features are the second one
        return x.trace.add_columns("prelu", x, self, features, (self.weight,), features or -1)

    def extra_repr(self) -> str:
        """As torch's."""
        return f"num_parameters={self.num_parameters}"


def _check_dim(name: str, dim: Any) -> int:
    number = _checks.integer(name, dim, at_least=-1)
    if number not in (1, -1):
        raise ValueError(f"{name}: expected 1 or -1, the features of a batch, got {number}")
    return number


class Softmax(Activation, name="softmax"):
    """exp(x) over its sum, along each row.

    Parameters
    ----------
    dim : int
        1 or -1: the features of a batch.
    """

    option_names = ("dim",)
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {"dim": _check_dim}

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        """Add this activation to the program being traced."""
        if not isinstance(x, Symbolic):
            return self._as_layer(Softmax, x)
        return x.trace.add_rowwise(x, self.dim, *self.native())


class LogSoftmax(Softmax, name="log_softmax"):
    """The logarithm of softmax, along each row.

    Parameters
    ----------
    dim : int
        1 or -1: the features of a batch.
    """


def as_activation(name: str, value: Any) -> Activation:
    """An activation from its name, its class, or itself; errors call the argument `name`."""
    if isinstance(value, Activation):
        return value
    if isinstance(value, type) and issubclass(value, Activation):
        return value()
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a name or an activation, got {_checks.show(value)}")
    return Activation.by_name[_checks.choice(name, value, Activation.by_name)]()
