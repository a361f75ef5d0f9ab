"""What a model predicts, as a list of plain operations with NumPy arrays: for those who export it.

The operations work on numbered values, as those of the native program do: value 0 is the input,
value i + 1 is what operation i gives, and the last one is the output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp.modules import Module

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Affine:
    """`x @ weight.T + bias`; `weight` of shape (out, in), `bias` of (out,) or None."""

    input: int
    weight: Array
    bias: Array | None


class Statistics(NamedTuple):
    """`(x - mean) / sqrt(variance + eps) * weight + bias`; weight and bias may be None.

    Without an `eps`, `variance` holds standard deviations.
    """

    mean: Array
    variance: Array
    eps: float | None
    weight: Array | None
    bias: Array | None


@dataclass(frozen=True)
class ColumnScale:
    """`scale * x + shift`, arrays of a number a feature; normalisation by running statistics.

    The same is `(x - centre) * scale + offset`, which is more exact where the centre is far from 0.
    `statistics` is what these come from, where that is such a normalisation.
    """

    input: int
    scale: Array
    shift: Array
    centre: Array
    offset: Array
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Function:
    """An activation by its native name, with its two constants (see `activations`).

    "softmax" and "log_softmax" are of all features of a row, the others of each value.
    """

    input: int
    name: str
    constants: tuple[float, float]


@dataclass(frozen=True)
class PReLU:
    """`x if x > 0 else slopes * x`; slopes of shape (1,) or (features,)."""

    input: int
    slopes: Array


@dataclass(frozen=True)
class Normalization:
    """`(x - mean) / sqrt(variance + eps) * weight + bias`, over a row, or a column of the batch.

    The variance divides by the number of values; weight and bias may be None.
    """

    input: int
    axis: int  # 1: each row by itself (LayerNorm); 0: each column (BatchNorm without statistics)
    weight: Array | None
    bias: Array | None
    eps: float


@dataclass(frozen=True)
class Sum:
    """The sum of two values."""

    input: int
    other: int


Operation: TypeAlias = Affine | ColumnScale | Function | PReLU | Normalization | Sum


@dataclass(frozen=True)
class Program:
    """What `predict` computes of a batch of rows.

    Attributes
    ----------
    operations : tuple of Operation
        At least one.
    dtype : {"float32", "float64"}
        Of the arrays.
    in_features, out_features : int or None
        The widths of input and output; None where any will do.
    squeeze : bool
        Whether the output of one feature has shape (rows,) instead of (rows, 1).
    """

    operations: tuple[Operation, ...]
    dtype: str
    in_features: int | None
    out_features: int | None
    squeeze: bool


def program_of(model: Module) -> Program:
    """The operations of a model's predictions: no dropout, running statistics.

    The arrays are copies. Products are those of float32 or float64, whatever the model's
    `precision`.

    Raises
    ------
    TypeError
        If `model` is no Module, or its `forward` cannot be compiled.
    ValueError
        If it has hooks, or is right for inputs of one shape only.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastmlp Module, got {type(model).__name__}")
    plan = model._compiled()
    dtype = plan.dtype or "float32"
    numbers = [0]  # of a native value, in the list made here
    operations: list[Operation] = []
    for given in plan.operations:
        if given[0] == "dropout":
            numbers.append(numbers[given[1]])
            continue
        operations.append(_MAKERS[given[0]](np.dtype(dtype), numbers, *given[1:]))
        numbers.append(len(operations))
    if numbers[-1] != len(operations) or not operations:  # the output is the input, or a dropout's
        operations.append(Function(numbers[-1], "identity", (0.0, 0.0)))
    network = plan.network_for(np.empty(0, dtype))
    widths = network.in_features, network.out_features
    return Program(tuple(operations), dtype, *widths, plan.squeeze)


def _affine(dtype: np.dtype[Any], numbers: list[int], x: int, weight: Any, bias: Any) -> Operation:
    matrix = _array(weight)
    assert matrix is not None
    return Affine(numbers[x], matrix, _array(bias))


def _function(
    dtype: np.dtype[Any], numbers: list[int], x: int, name: str, *constants: float
) -> Operation:
    return Function(numbers[x], name, (constants[0], constants[1]))


def _sum(dtype: np.dtype[Any], numbers: list[int], x: int, other: int) -> Operation:
    return Sum(numbers[x], numbers[other])


def _prelu(dtype: np.dtype[Any], numbers: list[int], x: int, slopes: Any, *_: int) -> Operation:
    array = _array(slopes)
    assert array is not None
    return PReLU(numbers[x], array)


def _layer_norm(
    dtype: np.dtype[Any], numbers: list[int], x: int, weight: Any, bias: Any, _: int, eps: float
) -> Operation:
    return Normalization(numbers[x], 1, _array(weight), _array(bias), eps)


def _batch_norm(
    dtype: np.dtype[Any],
    numbers: list[int],
    x: int,
    weight: Any,
    bias: Any,
    features: int,
    eps: float,
    statistics: str,
    momentum: float | None,
    mean: Any,
    variance: Any,
    deviations: bool,
    _: Any,
) -> Operation:
    if statistics == "batch":
        return Normalization(numbers[x], 0, _array(weight), _array(bias), eps)
    spread = np.asarray(variance.value, np.float64)
    scale = 1 / (spread if deviations else np.sqrt(spread + eps))
    if weight is not None:
        scale = scale * weight.value
    offset = np.zeros(len(scale)) if bias is None else bias.value
    given = Statistics(
        np.array(mean.value),
        np.array(variance.value),
        None if deviations else eps,
        _array(weight),
        _array(bias),
    )
    shift = offset - scale * mean.value
    return _columns(dtype, numbers[x], scale, shift, mean.value, offset, given)


def _scaled(
    dtype: np.dtype[Any],
    numbers: list[int],
    x: int,
    weight: Any,
    bias: Any,
    scale: float,
    shift: float,
    width: int,
) -> Operation:
    factors, terms = np.full(width, scale), np.full(width, shift)
    if weight is not None:
        factors, terms = factors * weight.value, terms * weight.value
    if bias is not None:
        terms = terms + bias.value
    return _columns(dtype, numbers[x], factors, terms, np.zeros(width), terms)


def _columns(
    dtype: np.dtype[Any],
    x: int,
    scale: Array,
    shift: Array,
    centre: Array,
    offset: Array,
    statistics: Statistics | None = None,
) -> ColumnScale:
    scale, shift, centre, offset = (a.astype(dtype) for a in (scale, shift, centre, offset))
    return ColumnScale(x, scale, shift, centre, offset, statistics)


_MAKERS: dict[str, Callable[..., Operation]] = {
    "affine": _affine,
    "activation": _function,
    "add": _sum,
    "prelu": _prelu,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "scaled": _scaled,
}


def _array(parameter: Any) -> Array | None:
    return None if parameter is None else np.array(parameter.value)
