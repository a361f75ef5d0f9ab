"""The activations in ONNX operators, a row each.

Where an operator's kernel or attribute is of float32 alone, float64 gets the formula in operators
that ONNX Runtime computes in both.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from fastmlp.onnx.nodes import Nodes

# Of the nodes, the input's name and the activation's two constants: the output's name.
Row: TypeAlias = Callable[[Nodes, str, float, float], str]

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


def _leaky_relu(g: Nodes, x: str, slope: float, _: float) -> str:
    if g.float32:
        return g("LeakyRelu", x, alpha=slope)
    return g("Add", g("Max", x, 0.0), g("Mul", g("Min", x, 0.0), slope))


def _hardtanh(g: Nodes, x: str, low: float, high: float) -> str:
    bounds = (None if math.isinf(bound) else bound for bound in (low, high))
    return g("Clip", x, *bounds)


def _gelu(g: Nodes, x: str, *_: float) -> str:
    if not g.float32:
        return g("Mul", x, _normal_cdf(g, x))
    twice = g("Add", g("Erf", g("Div", x, math.sqrt(2))), 1.0)
    return g("Mul", g("Mul", x, twice), 0.5)


def _gelu_tanh(g: Nodes, x: str, *_: float) -> str:
    cubic = g("Mul", g("Mul", g("Mul", x, x), x), 0.044715)
    tanh = g("Tanh", g("Mul", g("Add", x, cubic), math.sqrt(2 / math.pi)))
    return g("Mul", g("Mul", x, 0.5), g("Add", tanh, 1.0))


def _silu(g: Nodes, x: str, *_: float) -> str:
    return g("Mul", x, g("Sigmoid", x))


def _exponential(g: Nodes, x: str, scale: float, below: float, width: float) -> str:
    """`scale * x` above 0, else `below * (exp(x / width) - 1)`."""
    negative = g("Min", x, 0.0)
    if width != 1:
        negative = g("Div", negative, width)
    minus = g("Mul", g("Sub", g("Exp", negative), 1.0), below)
    positive = g("Max", x, 0.0)
    return g("Add", positive if scale == 1 else g("Mul", positive, scale), minus)


def _elu(g: Nodes, x: str, alpha: float, _: float) -> str:
    return g("Elu", x, alpha=alpha) if g.float32 else _exponential(g, x, 1, alpha, 1)


def _celu(g: Nodes, x: str, alpha: float, _: float) -> str:
    return g("Celu", x, alpha=alpha) if g.float32 else _exponential(g, x, 1, alpha, alpha)


def _selu(g: Nodes, x: str, *_: float) -> str:
    if g.float32:
        return g("Selu", x, alpha=_SELU_ALPHA, gamma=_SELU_SCALE)
    return _exponential(g, x, _SELU_SCALE, _SELU_ALPHA * _SELU_SCALE, 1)


def _plain_softplus(g: Nodes, x: str) -> str:
    """`log(1 + exp(x))`, without an overflow."""
    if g.float32:
        return g("Softplus", x)
    small = g("Log", g("Add", g("Exp", g("Neg", g("Abs", x))), 1.0))
    return g("Add", g("Max", x, 0.0), small)


def _softplus(g: Nodes, x: str, beta: float, threshold: float) -> str:
    scaled = x if beta == 1 else g("Mul", x, beta)
    y = _plain_softplus(g, scaled)
    if beta != 1:
        y = g("Div", y, beta)
    if math.exp(-threshold) < np.finfo(g.dtype).eps:  # the two do not differ there
        return y
    return g("Where", g("Greater", scaled, threshold), x, y)


def _mish(g: Nodes, x: str, *_: float) -> str:
    return g("Mul", x, g("Tanh", _plain_softplus(g, x)))


def _hardsigmoid(g: Nodes, x: str, *_: float) -> str:
    if g.float32:
        return g("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    return g("Div", g("Clip", g("Add", x, 3.0), 0.0, 6.0), 6.0)


def _hardswish(g: Nodes, x: str, *_: float) -> str:
    return g("HardSwish", x) if g.float32 else g("Mul", x, _hardsigmoid(g, x))


def _logsigmoid(g: Nodes, x: str, *_: float) -> str:
    return g("Neg", _plain_softplus(g, g("Neg", x)))


def _softsign(g: Nodes, x: str, *_: float) -> str:
    return g("Softsign", x) if g.float32 else g("Div", x, g("Add", g("Abs", x), 1.0))


def _named(op_type: str, **attributes: int) -> Row:
    return lambda g, x, alpha, beta: g(op_type, x, **attributes)


ACTIVATIONS: dict[str, Row] = {
    "identity": _named("Identity"),
    "relu": _named("Relu"),
    "leaky_relu": _leaky_relu,
    "sigmoid": _named("Sigmoid"),
    "tanh": _named("Tanh"),
    "hardtanh": _hardtanh,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "softplus": _softplus,
    "mish": _mish,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "logsigmoid": _logsigmoid,
    "softsign": _softsign,
    "softmax": _named("Softmax", axis=-1),
    "log_softmax": _named("LogSoftmax", axis=-1),
}


# The normal distribution function in float64, for which ONNX Runtime has no Erf.

_FURTHEST, _DEGREE = 6.0, 24  # erfc(6) is 2e-17


def _scaled_erfc() -> Polynomial:
    """Of t, where `t = (u - 1) / (u + 1)`: `exp(u^2) erfc(u)` for u from 0 to `_FURTHEST`."""

    def at(points: "np.typing.NDArray[np.float64]") -> "np.typing.NDArray[np.float64]":
        u = (1 + points) / (1 - points)
        return np.array([math.erfc(value) * math.exp(value * value) for value in u])

    highest = (_FURTHEST - 1) / (_FURTHEST + 1)
    return Chebyshev.interpolate(at, _DEGREE, domain=[-1, highest]).convert(kind=Polynomial)


def _normal_cdf(g: Nodes, x: str) -> str:
    u = g("Mul", g("Abs", x), math.sqrt(0.5))
    bounded = g("Min", u, _FURTHEST)
    t = g("Div", g("Sub", bounded, 1.0), g("Add", bounded, 1.0))
    *rest, highest = (float(value) for value in _scaled_erfc().coef)
    y = g("Mul", t, highest)
    for coefficient in reversed(rest[1:]):
        y = g("Mul", g("Add", y, coefficient), t)
    tail = g("Mul", g("Exp", g("Neg", g("Mul", u, u))), g("Add", y, rest[0]))
    half = g("Mul", tail, 0.5)
    return g("Where", g("Greater", x, 0.0), g("Sub", np.array(1, g.dtype), half), half)
