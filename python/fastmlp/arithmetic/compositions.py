"""Recorded functions that are formulas of others: distances between rows, and the like."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._core import Tensor
from fastmlp.arithmetic.functions import (
    BINARY,
    UNARY,
    clamp,
    divide,
    log_softmax,
    matmul,
    mean,
    multiply,
    norm,
    sqrt,
    sum,
    where,
)
from fastmlp.arithmetic.operands import array_of, shape_of
from fastmlp.arithmetic.places import chunk, expand, getitem, transpose, unsqueeze

_subtract, _add = BINARY["subtract"], BINARY["add"]


def dist(input: Any, other: Any, p: Any = 2) -> Tensor:
    """The norm of the difference."""
    return norm(_subtract(input, other), p)


def pairwise_distance(
    x1: Any, x2: Any, p: Any = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The norms of the differences of rows, to which `eps` is added."""
    return norm(_add(_subtract(x1, x2), _checks.real("eps", eps)), p, -1, keepdim)


def normalize(input: Any, p: Any = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divided by the norm along a dimension, which is taken as `eps` where it is less."""
    return divide(input, clamp(norm(input, p, dim, True), _checks.real("eps", eps)))


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The inner product along a dimension, over the norms, each at least `eps`."""
    least = _checks.real("eps", eps) ** 2  # of the squares, whose root has a derivative at 0 then
    shape = np.broadcast_shapes(shape_of(x1), shape_of(x2))

    def direction(x: Any) -> Tensor:
        x = expand(x, *shape)
        return divide(x, sqrt(clamp(sum(multiply(x, x), dim, True), least)))

    return sum(multiply(direction(x1), direction(x2)), dim)


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """input @ weight.T + bias."""
    product = matmul(input, transpose(weight) if len(shape_of(weight)) > 1 else weight)
    return product if bias is None else _add(product, bias)


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Centred and scaled to a variance of 1 over the last dimensions, which have these sizes."""
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = shape_of(input)
    if not sizes or shape[-len(sizes) :] != sizes:
        raise ValueError(f"normalized_shape: expected the last sizes of {shape}, got {sizes}")
    dims = tuple(range(-len(sizes), 0))
    centred = _subtract(input, mean(input, dims, True))
    variance = mean(multiply(centred, centred), dims, True)
    y = divide(centred, sqrt(_add(variance, _checks.real("eps", eps))))
    y = y if weight is None else multiply(y, weight)
    return y if bias is None else _add(y, bias)


def glu(input: Any, dim: int = -1) -> Tensor:
    """The first half along a dimension, times the logistic function of the second."""
    if shape_of(input)[dim] % 2:
        raise ValueError(f"dim: expected an even size there, got shape {shape_of(input)}")
    value, gate = chunk(input, 2, dim)
    return multiply(value, UNARY["sigmoid"](gate))


def prelu(input: Any, weight: Any) -> Tensor:
    """input where that is positive, else weight * input."""
    return where(array_of(input) > 0, input, multiply(weight, input))


def outer(input: Any, other: Any) -> Tensor:
    """Each value of a vector times each of another."""
    return multiply(unsqueeze(input, 1), other)


def diagonal(input: Any, offset: int = 0) -> Tensor:
    """The diagonal of a matrix, or one that lies `offset` columns to the right of it."""
    shape = shape_of(input)
    if len(shape) != 2:
        raise ValueError(f"input: expected a matrix, got shape {shape}")
    right = _checks.integer("offset", offset, at_least=-shape[0], below=shape[1] + 1)
    below, right = max(-right, 0), max(right, 0)
    along = np.arange(min(shape[0] - below, shape[1] - right))
    return getitem(input, (along + below, along + right))


def trace(input: Any) -> Tensor:
    """The sum of the diagonal of a matrix."""
    return sum(diagonal(input))


def masked_select(input: Any, mask: Any) -> Tensor:
    """The elements that the mask chooses, in a row; the two are broadcast."""
    chosen = np.asarray(array_of(mask, "mask"), bool)
    shape = np.broadcast_shapes(shape_of(input), chosen.shape)
    return getitem(expand(input, *shape), np.broadcast_to(chosen, shape))


def _bce(x: Any, t: Any) -> Any:
    log = UNARY["log"]
    return -(t * clamp(log(x), -100) + (1 - t) * clamp(log(1 - x), -100))


def _kl_div(x: Any, t: Any) -> Any:
    present = array_of(t) > 0
    return where(present, t * UNARY["log"](where(present, t, 1.0)), 0.0) - t * x


# Losses of an output and a target of its shape, element by element or, of classes, by row, under
# their native names: for targets that are recorded, too.
OF_BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "bce": _bce,
    "bce_with_logits": lambda x, t: (1 - t) * x - UNARY["logsigmoid"](x),
    "kl_div": _kl_div,
    "kl_div_log": lambda x, t: UNARY["exp"](t) * (t - x),
    "cross_entropy": lambda x, t: -sum(t * log_softmax(x, 1), 1),
}
