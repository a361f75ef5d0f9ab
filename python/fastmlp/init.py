"""Initial values, written into parameters or arrays in place. Names and formulas are torch's.

Each call draws from its own stream of the seed. Values are drawn in double precision for the shape
(out_features, in_features) in row-major order, and then rounded and copied, so that models in
float32 and float64 start from the same numbers.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastmlp import _checks, _core, seeds
from fastmlp._types import Array
from fastmlp.parameter import Parameter

__all__ = [
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

T = TypeVar("T", Parameter, Array)

_GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
}


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Uniform within [a, b)."""
    low = _checks.real("a", a)
    return _fill(tensor, _core.fill_uniform, low, _checks.real("b", b, at_least=low))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Normal, with the given mean and standard deviation."""
    mean = _checks.real("mean", mean)
    return _fill(tensor, _core.fill_normal, mean, _checks.real("std", std, at_least=0))


def constant_(tensor: T, val: float) -> T:
    """The same number everywhere."""
    _writable(tensor)[...] = _checks.real("val", val)
    return tensor


def zeros_(tensor: T) -> T:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Ones."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Uniform within gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Normal with deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain))


def kaiming_uniform_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> T:
    """Uniform within gain * sqrt(3 / fan) (He et al., arXiv 1502.01852).

    Parameters
    ----------
    tensor : Parameter or ndarray, shape (out_features, in_features)
    a : float
        The slope of the leaky ReLU that follows.
    mode : {"fan_in", "fan_out"}
        Whether to keep the variance of the values forward or of the gradients backward.
    nonlinearity : {"leaky_relu", "relu", "tanh", "sigmoid", "linear", "identity"}
        What follows the layer.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> T:
    """Normal with deviation gain / sqrt(fan); see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _fill(
    tensor: T, draw: Callable[[Array, float, float, int, int], None], first: float, second: float
) -> T:
    target = _writable(tensor)
    values = np.empty(target.shape)
    draw(values, first, second, *seeds.current().next_stream())
    target[...] = values
    return tensor


def _writable(tensor: Any) -> Parameter | Array:
    if isinstance(tensor, Parameter):
        return tensor
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
        raise TypeError(f"tensor: expected a parameter or float array, got {_checks.show(tensor)}")
    if not tensor.flags.writeable:
        raise ValueError("tensor: expected a writable array, got a read-only one")
    return tensor


def _fans(tensor: Any) -> tuple[int, int]:
    shape = _writable(tensor).shape
    if len(shape) != 2:
        raise ValueError(f"tensor: expected shape (out_features, in_features), got {shape}")
    return shape[1], shape[0]


def _xavier_std(tensor: Any, gain: float) -> float:
    return _checks.real("gain", gain, at_least=0) * math.sqrt(2 / sum(_fans(tensor)))


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    slope = _checks.real("a", a)
    fan_in, fan_out = _fans(tensor)
    fan = fan_in if _checks.choice("mode", mode, ("fan_in", "fan_out")) == "fan_in" else fan_out
    if _checks.choice("nonlinearity", nonlinearity, (*_GAINS, "leaky_relu")) == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2)) / math.sqrt(fan)
    return _GAINS[nonlinearity] / math.sqrt(fan)
