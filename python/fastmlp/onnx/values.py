"""What the tensors of a graph are to a batch of rows, and what makes one of another.

A tensor is a constant (an array), a shape (a list), or a `Value` of the batch. A value comes from
one of the layers below, or from an operator on each number by itself, whose meaning only shows
together with its neighbours.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from fastmlp._types import Array
from fastmlp.onnx.reading import Node


class RefusedError(Exception):
    """Why a node cannot be taken over."""


@dataclass(frozen=True)
class Affine:
    """`x @ weight.T + bias`."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Columns:
    """`x op numbers`, a number a feature; op is one of Add, Sub, Mul, Div."""

    op_type: str
    numbers: Array


@dataclass(frozen=True)
class Standardized:
    """`(x - mean) / scale`."""

    mean: Array
    scale: Array


@dataclass(frozen=True)
class Scaled:
    """`x * scale + shift`."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class Rowwise:
    """Softmax or LogSoftmax."""

    op_type: str


@dataclass(frozen=True)
class PReLU:
    """A slope for all features or for each."""

    slopes: Array


@dataclass(frozen=True)
class Normalization:
    """Of rows (axis 1) or of the batch's columns (axis 0)."""

    axis: int
    eps: float
    width: int
    weight: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class BatchNorm:
    """By running statistics."""

    weight: Array
    bias: Array
    mean: Array
    variance: Array
    eps: float


@dataclass(frozen=True)
class Dropout:
    """Which has an effect in training alone."""

    p: float


Layer: TypeAlias = (
    Affine | Columns | Standardized | Scaled | Rowwise | PReLU | Normalization | BatchNorm | Dropout
)


@dataclass(frozen=True)
class Moment:
    """A step on the way to a normalisation written out: what has been made of `x` so far."""

    step: str
    x: "Value"
    axis: int
    eps: float = 0.0


@dataclass(eq=False)
class Value:
    """A tensor of the batch.

    Attributes
    ----------
    number : int
        In the order of the graph.
    node : Node or None
        What makes it; None for the model's input.
    inputs : list of Value
        Of the batch.
    layer : Layer or None
        What it is of its one input; None for the model's input, and where `operands` are there.
    operands : list
        Of an operator on each number: values, numbers and None.
    width : int or None
        How many features, where that is known.
    sizes : tuple or None
        Of all dimensions after the first, where that are not two in all.
    problem : str
        Why it cannot be taken over; "" where it can.
    over, depth : Value or None, int
        The nearest value through which all that makes this one goes, and how many such there are.
    """

    number: int
    node: Node | None
    inputs: "list[Value]" = field(default_factory=list)
    layer: Layer | None = None
    operands: list[Any] = field(default_factory=list)
    width: int | None = None
    sizes: tuple[int | None, ...] | None = None
    moment: Moment | None = None
    problem: str = ""
    over: "Value | None" = None
    depth: int = 0

    @property
    def squeezed(self) -> bool:
        """Whether its dimension of one feature is not there."""
        return self.sizes == ()


def common(values: "list[Value]") -> "Value | None":
    """The nearest value through which all that makes these goes; None if that is far or nowhere."""
    first = values[0]
    for other in values[1:]:
        for _ in range(200):
            if first is other:
                break
            lower, upper = (first, other) if first.depth >= other.depth else (other, first)
            if lower.over is None:
                return None
            first, other = lower.over, upper
        else:
            return None
    return first


def as_scalar(tensor: Any) -> float | None:
    """The number that a constant is, or None."""
    if isinstance(tensor, np.ndarray) and tensor.size == 1 and tensor.ndim <= 2:
        return float(tensor.reshape(()))
    return None


def as_vector(tensor: Any) -> Array | None:
    """A number a feature, as floats; or None."""
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind not in "fi" or tensor.size == 0:
        return None
    if tensor.ndim == 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    return as_floats(tensor) if tensor.ndim == 1 else None


def as_floats(array: Array) -> Array:
    """In float32, or float64 if they are that."""
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32)
