"""What ONNX's operators compute of each value by itself, in NumPy: a row each.

A row takes the node's attributes and its inputs, arrays or numbers (None for one left out). From
these formulas `recognition` finds out which activation a part of a graph is.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

Attributes = dict[str, Any]

_erf = np.vectorize(math.erf, otypes=[float])


def _clip(a: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    low = a.get("min") if low is None else low  # attributes before opset 11
    high = a.get("max") if high is None else high
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _gelu(a: Attributes, x: Any) -> Any:
    if a.get("approximate") == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def _negative(x: Any) -> Any:
    return np.expm1(np.minimum(x, 0))


def _selu(a: Attributes, x: Any) -> Any:
    alpha, gamma = a.get("alpha", 1.67326319217681884765625), a.get("gamma", 1.05070102214813232)
    return gamma * (np.maximum(x, 0) + alpha * _negative(x))


def _celu(a: Attributes, x: Any) -> Any:
    alpha = a.get("alpha", 1.0)
    return np.maximum(x, 0) + alpha * _negative(x / alpha)


def _hardsigmoid(x: Any) -> Any:
    return np.clip(x + 3, 0, 6) / 6


def _plain(function: Any) -> Callable[..., Any]:
    return lambda a, *inputs: function(*inputs)


def _folded(function: Any) -> Callable[..., Any]:
    return lambda a, *inputs: reduce(function, inputs)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Relu": lambda a, x: np.maximum(x, 0),
    "LeakyRelu": lambda a, x: np.where(x > 0, x, a.get("alpha", 0.01) * x),
    "PRelu": lambda a, x, slope: np.where(x > 0, x, slope * x),
    "Sigmoid": _plain(_sigmoid),
    "Tanh": _plain(np.tanh),
    "Clip": _clip,
    "Gelu": _gelu,
    "Elu": lambda a, x: np.maximum(x, 0) + a.get("alpha", 1.0) * _negative(x),
    "Selu": _selu,
    "Celu": _celu,
    "Softplus": _plain(_softplus),
    "Softsign": lambda a, x: x / (1 + np.abs(x)),
    "Mish": lambda a, x: x * np.tanh(_softplus(x)),
    "Swish": lambda a, x: x * _sigmoid(a.get("alpha", 1.0) * x),
    "HardSwish": lambda a, x: x * _hardsigmoid(x),
    "Erf": _plain(_erf),
    "Exp": _plain(np.exp),
    "Log": _plain(np.log),
    "Abs": _plain(np.abs),
    "Neg": _plain(np.negative),
    "Sqrt": _plain(np.sqrt),
    "Sign": _plain(np.sign),
    "Reciprocal": lambda a, x: 1 / x,
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _plain(np.true_divide),
    "Pow": lambda a, x, exponent: np.power(x, np.asarray(exponent, np.float64)),
    "Sum": _folded(np.add),
    "Min": _folded(np.minimum),
    "Max": _folded(np.maximum),
    "Where": _plain(np.where),
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "Not": _plain(np.logical_not),
    "And": _plain(np.logical_and),
    "Or": _plain(np.logical_or),
    "Cast": lambda a, x: np.asarray(x, np.float64),
}


def compute(op_type: str, attributes: Attributes, inputs: list[Any]) -> Any:
    """What the operator gives of these inputs.

    Raises
    ------
    ValueError
        If they are not what it takes.
    """
    try:
        with np.errstate(all="ignore"):
            return ELEMENTWISE[op_type](attributes, *inputs)
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"expected what {op_type} takes, got {error}") from None
