"""The activations. A class gives its native name once and, where it has any, its two constants."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from fastmlp import _checks
from fastmlp.modules import Module
from fastmlp.tracing import Symbolic


class Activation(Module):
    """Base of the activations; subclasses name their native function."""

    native_name: ClassVar[str]
    by_name: ClassVar[dict[str, Callable[[], "Activation"]]] = {}

    def __init_subclass__(cls, name: str) -> None:
        cls.native_name = name
        cls.by_name[name] = cls

    def native(self) -> tuple[str, float, float]:
        """The native function's name and its two constants."""
        return (self.native_name, *self.constants())

    def constants(self) -> tuple[float, float]:
        """What the native function calls alpha and beta."""
        return 0.0, 0.0

    def forward(self, x: Any) -> Any:
        """Add this activation to the chain being traced."""
        if not isinstance(x, Symbolic):
            return self(x)
        return x.chain.add(x, ("activation", *self.native()))


class Identity(Activation, name="identity"):
    """x itself."""


class ReLU(Activation, name="relu"):
    """max(x, 0)."""


class LeakyReLU(Activation, name="leaky_relu"):
    """x where that is positive, else negative_slope * x.

    Parameters
    ----------
    negative_slope : float
        Not negative, because the derivative is taken from the sign of the output.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = _checks.real("negative_slope", negative_slope, at_least=0)

    def constants(self) -> tuple[float, float]:
        return self.negative_slope, 0.0

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


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

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val = _checks.real("min_val", min_val)
        self.max_val = _checks.real("max_val", max_val, above=self.min_val)

    def constants(self) -> tuple[float, float]:
        return self.min_val, self.max_val

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class GELU(Activation, name="gelu"):
    """x times the normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" for the paper's approximation by a hyperbolic tangent.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = _checks.choice("approximate", approximate, ("none", "tanh"))

    def native(self) -> tuple[str, float, float]:
        return "gelu" if self.approximate == "none" else "gelu_tanh", 0.0, 0.0

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


Activation.by_name["gelu_tanh"] = partial(GELU, "tanh")


class SiLU(Activation, name="silu"):
    """x * sigmoid(x)."""


class ELU(Activation, name="elu"):
    """x where that is positive, else alpha * (exp(x) - 1).

    Parameters
    ----------
    alpha : float
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = _checks.real("alpha", alpha)

    def constants(self) -> tuple[float, float]:
        return self.alpha, 0.0

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Softplus(Activation, name="softplus"):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x exceeds the threshold.

    Parameters
    ----------
    beta : float
        Positive.
    threshold : float
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = _checks.real("beta", beta, above=0)
        self.threshold = _checks.real("threshold", threshold)

    def constants(self) -> tuple[float, float]:
        return self.beta, self.threshold

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Activation, name="softmax"):
    """exp(x) over its sum, along each row.

    Parameters
    ----------
    dim : int
        1 or -1: the features of a batch.
    """

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = _check_dim(dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax, name="log_softmax"):
    """The logarithm of softmax, along each row.

    Parameters
    ----------
    dim : int
        1 or -1: the features of a batch.
    """


def _check_dim(dim: int) -> int:
    number = _checks.integer("dim", dim, at_least=-1)
    if number not in (1, -1):
        raise ValueError(f"dim: expected 1 or -1, the features of a batch, got {number}")
    return number


def as_activation(name: str, value: Any) -> Activation:
    """An activation from its name, its class, or itself; errors call the argument `name`."""
    if isinstance(value, Activation):
        return value
    if isinstance(value, type) and issubclass(value, Activation):
        return value()
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a name or an activation, got {_checks.show(value)}")
    return Activation.by_name[_checks.choice(name, value, Activation.by_name)]()
