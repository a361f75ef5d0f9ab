"""THE TABLE of what is recorded: each formula and its derivative, on plain arrays.

Where a function has a kink, its derivative there is torch's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp._types import Array

Axes = tuple[int, ...]
Back = Callable[[Array], Any]


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


def _ties(wins: Any, a: Any, b: Any) -> Any:
    """The share of one of two values in their extremum: all, nothing, or half where they agree."""
    return wins + (a == b) * 0.5


# y = f(x), and dy/dx from x and y, under the names of NumPy's functions or, failing those, torch's.
UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "negative": (np.negative, lambda x, y: -1),
    "positive": (np.positive, lambda x, y: 1),
    "absolute": (np.abs, lambda x, y: np.sign(x)),
    "square": (np.square, lambda x, y: 2 * x),
    "sqrt": (np.sqrt, lambda x, y: 0.5 / y),
    "rsqrt": (lambda x: 1 / np.sqrt(x), lambda x, y: -0.5 * y / x),
    "reciprocal": (np.reciprocal, lambda x, y: -y * y),
    "exp": (np.exp, lambda x, y: y),
    "expm1": (np.expm1, lambda x, y: y + 1),
    "log": (np.log, lambda x, y: 1 / x),
    "log2": (np.log2, lambda x, y: 1 / (x * float(np.log(2)))),
    "log10": (np.log10, lambda x, y: 1 / (x * float(np.log(10)))),
    "log1p": (np.log1p, lambda x, y: 1 / (1 + x)),
    "sin": (np.sin, lambda x, y: np.cos(x)),
    "cos": (np.cos, lambda x, y: -np.sin(x)),
    "tan": (np.tan, lambda x, y: 1 + y * y),
    "arctan": (np.arctan, lambda x, y: 1 / (1 + x * x)),
    "sinh": (np.sinh, lambda x, y: np.cosh(x)),
    "cosh": (np.cosh, lambda x, y: np.sinh(x)),
    "tanh": (np.tanh, lambda x, y: 1 - y * y),
    "sigmoid": (_sigmoid, lambda x, y: y * (1 - y)),
    "logsigmoid": (lambda x: -np.logaddexp(0, -x), lambda x, y: _sigmoid(-x)),
    "relu": (lambda x: np.maximum(x, 0), lambda x, y: x > 0),
    **{
        name: (getattr(np, name), lambda x, y: 0)
        for name in ("sign", "floor", "ceil", "trunc", "rint")
    },
}

# y = f(a, b), and the gradients of a and b from that of y.
BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[..., Any], Callable[..., Any]]] = {
    "add": (np.add, lambda g, a, b, y: g, lambda g, a, b, y: g),
    "subtract": (np.subtract, lambda g, a, b, y: g, lambda g, a, b, y: -g),
    "multiply": (np.multiply, lambda g, a, b, y: g * b, lambda g, a, b, y: g * a),
    "divide": (np.divide, lambda g, a, b, y: g / b, lambda g, a, b, y: -g * y / b),
    "power": (
        lambda a, b: a**b,
        lambda g, a, b, y: (
            g * np.where(np.equal(b, 0), 0, b * a ** np.where(b == 0, 1, b - 1))
            if np.ndim(b)
            else g * (b * a ** (b - 1) if b else 0)
        ),
        lambda g, a, b, y: g * y * np.where(np.equal(a, 0), 0, np.log(np.where(a == 0, 1, a))),
    ),
    "remainder": (
        np.remainder,
        lambda g, a, b, y: g,
        lambda g, a, b, y: -g * np.floor_divide(a, b),
    ),
    "maximum": (
        np.maximum,
        lambda g, a, b, y: g * _ties(a > b, a, b),
        lambda g, a, b, y: g * _ties(b > a, a, b),
    ),
    "minimum": (
        np.minimum,
        lambda g, a, b, y: g * _ties(a < b, a, b),
        lambda g, a, b, y: g * _ties(b < a, a, b),
    ),
    "arctan2": (
        np.arctan2,
        lambda g, a, b, y: g * b / (a * a + b * b),
        lambda g, a, b, y: -g * a / (a * a + b * b),
    ),
    "logaddexp": (
        np.logaddexp,
        lambda g, a, b, y: g * np.exp(a - y),
        lambda g, a, b, y: g * np.exp(b - y),
    ),
}


# Over axes: y, in which they have the size 1, and from its gradient that of x. --------------------


def total(x: Array, axes: Axes) -> tuple[Array, Back]:
    return x.sum(axes, keepdims=True), lambda g: np.broadcast_to(g, x.shape)


def product_over(x: Array, axes: Axes) -> tuple[Array, Back]:
    def back(g: Array) -> Array:
        # Of each value the product of all others, of which some may be 0: those before and after.
        first = tuple(range(len(axes)))
        moved = np.moveaxis(x, axes, first)
        rows = moved.reshape(-1, *moved.shape[len(axes) :])
        ones = np.ones_like(rows[:1])
        before = np.cumprod(np.concatenate([ones, rows[:-1]]), 0)
        after = np.cumprod(np.concatenate([ones, rows[:0:-1]]), 0)[::-1]
        return np.asarray(g * np.moveaxis((before * after).reshape(moved.shape), first, axes))

    return x.prod(axes, keepdims=True), back


def mean(x: Array, axes: Axes) -> tuple[Array, Back]:
    y = x.mean(axes, keepdims=True)
    return y, lambda g: np.broadcast_to(g * (y.size / x.size), x.shape)


def extremum(x: Array, axes: Axes, sign: int) -> tuple[Array, Back]:
    """The largest (sign 1) or smallest (-1) value; values that agree share the gradient."""
    y = (np.max if sign > 0 else np.min)(x, axes, keepdims=True)

    def back(g: Array) -> Array:
        chosen = np.equal(x, y) | np.isnan(x)
        return np.asarray(g / chosen.sum(axes, keepdims=True) * chosen)

    return y, back


def variance(x: Array, axes: Axes, ddof: float) -> tuple[Array, Back]:
    centred = x - x.mean(axes, keepdims=True)
    y = np.square(centred).sum(axes, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # of too few values: NaN
        scale = np.divide(1.0, max(x.size / max(y.size, 1) - ddof, 0))
        return y * y.dtype.type(scale), lambda g: g * (2 * float(scale)) * centred


def deviation(x: Array, axes: Axes, ddof: float) -> tuple[Array, Back]:
    squared, back = variance(x, axes, ddof)
    y = np.sqrt(squared)
    return y, lambda g: back(g * np.where(y == 0, 0, 0.5 / np.where(y == 0, 1, y)))


def norm(x: Array, axes: Axes, p: float) -> tuple[Array, Back]:
    """The vector norm of order p."""
    size = np.abs(x)
    if p == np.inf:
        y, back = extremum(size, axes, 1)
        return y, lambda g: back(g) * np.sign(x)
    if p == 1:
        return size.sum(axes, keepdims=True), lambda g: g * np.sign(x)
    y = (size**p).sum(axes, keepdims=True) ** (1 / p) if p != 2 else _length(x, axes)
    return y, lambda g: g * np.sign(x) * (size / np.where(y == 0, 1, y)) ** (p - 1) * (y != 0)


def _length(x: Array, axes: Axes) -> Array:
    return np.asarray(np.sqrt(np.square(x).sum(axes, keepdims=True)))


def log_sum_exp(x: Array, axes: Axes) -> tuple[Array, Back]:
    y = _log_sum_exp(x, axes)
    return y, lambda g: g * np.exp(x - y)


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    most = _largest(x, axes)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(x - most).sum(axes, keepdims=True)) + most)


def _largest(x: Array, axes: Axes) -> Any:
    """What is taken away before exp(), so that it can neither overflow nor all become 0."""
    most = x.max(axes, keepdims=True)
    return np.where(np.isfinite(most), most, x.dtype.type(0))


# Along one axis, of x's shape ---------------------------------------------------------------------


def softmax(x: Array, axis: int) -> tuple[Array, Back]:
    y = np.exp(x - _largest(x, (axis,)))
    with np.errstate(invalid="ignore"):  # of a row of -inf: NaN
        y /= y.sum(axis, keepdims=True)
    return y, lambda g: y * (g - (g * y).sum(axis, keepdims=True))


def log_softmax(x: Array, axis: int) -> tuple[Array, Back]:
    y = x - _largest(x, (axis,))
    with np.errstate(divide="ignore", invalid="ignore"):
        y -= np.log(np.exp(y).sum(axis, keepdims=True))
    return y, lambda g: g - np.exp(y) * g.sum(axis, keepdims=True)


def cumulative_sum(x: Array, axis: int) -> tuple[Array, Back]:
    return x.cumsum(axis), lambda g: np.flip(np.flip(g, axis).cumsum(axis), axis)


# Products, places ---------------------------------------------------------------------------------


def product(a: Array, b: Array) -> tuple[Array, Back, Back]:
    """The matrix product, a vector being a row on the left and a column on the right."""
    rows = a[None] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b

    def full(g: Array) -> Array:
        g = g[..., None] if b.ndim == 1 else g
        return g[..., None, :] if a.ndim == 1 else g

    return (
        np.matmul(a, b),
        lambda g: _vector(full(g) @ columns.swapaxes(-1, -2), a, -2),
        lambda g: _vector(rows.swapaxes(-1, -2) @ full(g), b, -1),
    )


def _vector(gradient: Array, operand: Array, axis: int) -> Array:
    return gradient.squeeze(axis) if operand.ndim == 1 else gradient


def index(x: Array, place: Any) -> tuple[Any, Back]:
    """x[place]; what is taken several times gets the sum of the gradients."""
    parts = place if isinstance(place, tuple) else (place,)
    once = all(
        part is None or part is Ellipsis or isinstance(part, slice | int | np.integer | np.bool_)
        or (isinstance(part, np.ndarray) and part.dtype == bool)
        for part in parts
    )  # fmt: skip

    def back(g: Array) -> Array:
        whole = np.zeros(x.shape, g.dtype)
        if once:
            whole[place] = g
        else:
            np.add.at(whole, place, g)
        return whole

    return x[place], back
