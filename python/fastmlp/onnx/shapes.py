"""Operators on shapes, types and constants: what leaves the batch's numbers as they are.

A shape is a list of sizes, with None for the number of rows.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.onnx.reading import Node
from fastmlp.onnx.values import RefusedError, Value

_FLOATS = {1: np.float32, 10: np.float32, 11: np.float64}
_OTHERS = {6: np.int32, 7: np.int64, 9: np.bool_}
_COMPARES = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or")


def of_shapes(node: Node, inputs: list[Any]) -> list[Any]:
    """What a node makes of shapes."""
    first, *rest = inputs
    match node.op_type:
        case "Identity" | "Cast" | "Squeeze" | "Unsqueeze" if isinstance(first, list):
            return first
        case "Gather" if isinstance(first, list) and len(rest) == 1:
            numbers = _integers(rest[0])
            if all(-len(first) <= number < len(first) for number in numbers):
                return [first[number] for number in numbers]
        case "Slice" if isinstance(first, list) and len(rest) >= 2:
            start, end = (_integers(bound) for bound in rest[:2])
            steps = _integers(rest[3]) if len(rest) > 3 else [1]
            if len(start) == len(end) == 1 and steps == [1]:
                return first[start[0] : end[0]]
        case "Concat" if len(inputs) <= 8:
            parts = [part if isinstance(part, list) else _integers(part) for part in inputs]
            return [size for part in parts for size in part][:8]
    raise RefusedError("expected a shape to be used for a Reshape alone")


def _integers(tensor: Any) -> list[int]:
    """Those of a constant."""
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "i" or tensor.size > 8:
        raise RefusedError("expected a few constant integers")
    return [int(number) for number in tensor.ravel()]


def _axes(node: Node, inputs: list[Any]) -> list[int] | None:
    """Attributes before opset 13, inputs after."""
    if len(inputs) > 1 and inputs[1] is not None:
        return _integers(inputs[1])
    axes: list[int] | None = node.attributes.get("axes")
    return axes


def _sizes(value: Value) -> tuple[int | None, ...]:
    """Of all dimensions but the first."""
    return (value.width,) if value.sizes is None else value.sizes


def _product(sizes: tuple[int | None, ...]) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _shape(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x = inputs[0]
    if not isinstance(x, Value):
        raise RefusedError("expected the shape of the batch")
    sizes = _sizes(x)
    if None in sizes:
        raise RefusedError("expected an input whose number of features the file says")
    shape = [None, *sizes]
    return shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))]


def _reshape(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x, shape = (*inputs, None)[:2]
    target = shape if isinstance(shape, list) else _integers(shape)
    if isinstance(x, np.ndarray):
        return _reshaped(x, target)
    if not isinstance(x, Value):
        raise RefusedError("expected the batch as its first input")
    sizes = _sizes(x)
    width = _product(sizes)
    if not node.attributes.get("allowzero", 0):
        known = [None, *sizes]
        target = [
            known[i] if size == 0 and i < len(known) else size for i, size in enumerate(target)
        ]
    if not target or target[0] not in (None, -1, graph.rows):
        raise RefusedError(f"expected rows to stay rows, got the shape {target}")
    rest = target[1:]
    if rest == [-1] and target[0] != -1 and width is not None:
        rest = [width]
    if not rest and width == 1:
        return x if x.squeezed else graph.relayout(node, x, (), 1)
    if len(rest) == 1 and isinstance(rest[0], int) and rest[0] > 0 and width in (None, rest[0]):
        return _rows(graph, node, x, rest[0])
    raise RefusedError(f"expected the shape (-1, {width or 'features'}), got {target}")


def _reshaped(x: Any, target: list[Any]) -> Any:
    try:
        return x.reshape(target)
    except (TypeError, ValueError):
        raise RefusedError(f"expected a shape for {x.size} numbers, got {target}") from None


def _rows(graph: Any, node: Node, x: Value, width: int | None) -> Any:
    """A value as rows of features."""
    if x.sizes is None and x.width == width and graph.file.inputs[0].sizes is not None:
        return x
    graph.flattened |= not x.squeezed and (x.sizes is not None or x is graph.input)
    return graph.relayout(node, x, None, width)


def _flatten(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x, axis = inputs[0], node.attributes.get("axis", 1)
    if not isinstance(x, Value) or x.squeezed:
        raise RefusedError("expected the batch")
    sizes = _sizes(x)
    if axis not in (1, -len(sizes)):
        raise RefusedError(f"expected rows to stay rows, with axis=1, got {axis}")
    return _rows(graph, node, x, _product(sizes))


def _squeeze(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x, axes = inputs[0], _axes(node, inputs)
    if isinstance(x, np.ndarray):
        return np.squeeze(x) if axes is None else _reshaped(x, _without(x.shape, axes))
    if not isinstance(x, Value) or x.sizes is not None or axes not in ([1], [-1], None):
        raise RefusedError("expected axis 1, the features")
    if x.width != 1:
        raise RefusedError(f"expected one feature, got {x.width}")
    return graph.relayout(node, x, (), 1)


def _without(shape: tuple[int, ...], axes: list[int]) -> list[int]:
    gone = {axis % len(shape) for axis in axes} if shape else set()
    if any(shape[axis] != 1 for axis in gone):
        raise RefusedError(f"expected axes of size 1, got {axes} of {shape}")
    return [size for axis, size in enumerate(shape) if axis not in gone]


def _unsqueeze(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x, axes = inputs[0], _axes(node, inputs)
    if isinstance(x, np.ndarray) and axes is not None and x.ndim + len(axes) <= 8:
        for axis in sorted(axes):
            if not -x.ndim - 1 <= axis <= x.ndim:
                raise RefusedError(f"expected an axis of {x.ndim + 1}, got {axis}")
            x = np.expand_dims(x, axis)
        return x
    if not isinstance(x, Value) or not x.squeezed or axes not in ([1], [-1]):
        raise RefusedError("expected axis 1 of a value without features")
    return graph.relayout(node, x, None, 1)


def _transpose(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x = inputs[0]
    if not isinstance(x, np.ndarray):
        raise RefusedError("expected a constant, got the batch; rows stay rows")
    axes = node.attributes.get("perm", list(range(x.ndim))[::-1])
    if sorted(axes) != list(range(x.ndim)):
        raise RefusedError(f"expected the order of {x.ndim} axes, got {axes}")
    return x.transpose(axes)


def _cast(graph: Any, node: Node, inputs: list[Any]) -> Any:
    x, kind = inputs[0], node.attributes.get("to", 0)
    if isinstance(x, np.ndarray):
        dtype = _FLOATS.get(kind) or _OTHERS.get(kind)
        if dtype is None:
            raise RefusedError("expected a type of numbers")
        graph.spend(8 * x.size)
        with np.errstate(all="ignore"):
            return x.astype(dtype)
    if not isinstance(x, Value) or kind not in _FLOATS:
        raise RefusedError("expected float32 or float64")
    compares = x.node is not None and x.node.op_type in _COMPARES
    return graph.of_operands(node, [x]) if compares else x


def _constant(graph: Any, node: Node, inputs: list[Any]) -> Any:
    for name, dtype in (("value", None), ("value_float", "f4"), ("value_int", "i8")):
        for key in (name, f"{name}s"):
            value = node.attributes.get(key)
            if value is not None:
                return np.asarray(value, dtype)
    raise RefusedError("expected numbers")


HANDLERS: dict[str, Callable[[Any, Node, list[Any]], Any]] = {
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Cast": _cast,
    "Constant": _constant,
}
