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
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
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
    "selu": 3 / 4,
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


def eye_(tensor: T) -> T:
    """Ones on the diagonal of a matrix, and zeros elsewhere."""
    target = _writable(tensor)
    target[...] = np.eye(*_fans(tensor)[::-1])
    return tensor


def trunc_normal_(
    tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> T:
    """Normal, with what lies outside of [a, b] drawn again."""
    mean, std = _checks.real("mean", mean), _checks.real("std", std, at_least=0)
    low = _checks.real("a", a)
    high = _checks.real("b", b, at_least=low)
    target = _writable(tensor)
    values = normal_(np.empty(target.shape), mean, std)
    for _ in range(100):  # or so few are left that the bounds are as good
        outside = (values < low) | (values > high)
        if not outside.any():
            break
        values[outside] = normal_(np.empty(outside.sum()), mean, std)
    target[...] = values.clip(low, high)
    return tensor


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """Orthonormal rows, or columns where these are fewer, times gain (Saxe, arXiv 1312.6120)."""
    fan_in, fan_out = _fans(tensor)
    values = normal_(np.empty((max(fan_in, fan_out), min(fan_in, fan_out))))
    q, r = np.linalg.qr(values)
    q *= np.sign(np.diag(r))
    _writable(tensor)[...] = (q.T if fan_out < fan_in else q) * _checks.real("gain", gain)
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that goes with an activation; `param` is the slope of a leaky ReLU."""
    if _checks.choice("nonlinearity", nonlinearity, (*_GAINS, "leaky_relu")) == "leaky_relu":
        slope = 0.01 if param is None else _checks.real("param", param)
        return math.sqrt(2 / (1 + slope**2))
    return _GAINS[nonlinearity]


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
    nonlinearity : {"leaky_relu", "relu", "tanh", "sigmoid", "linear", "identity", "selu"}
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
    if type(tensor).__module__ == "torch" and hasattr(tensor, "detach"):
        tensor = tensor.detach().numpy()  # on its memory
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
    gain = calculate_gain(nonlinearity, a)
    fan_in, fan_out = _fans(tensor)
    fan = fan_in if _checks.choice("mode", mode, ("fan_in", "fan_out")) == "fan_in" else fan_out
    return gain / math.sqrt(fan)
