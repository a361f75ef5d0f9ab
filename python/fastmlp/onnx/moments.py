"""Normalisations written out in means and square roots, as exporters before opset 17 have them."""

from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp.onnx.reading import Node
from fastmlp.onnx.values import Moment, Normalization, RefusedError, Value, as_scalar


def reduced(node: Node, inputs: list[Any]) -> Moment | None:
    """What a mean along the features, or along the batch, is a step of."""
    x = inputs[0]
    axes = node.attributes.get("axes", inputs[1] if len(inputs) > 1 else None)
    axes = axes.tolist() if isinstance(axes, np.ndarray) else axes
    axis = {(1,): 1, (-1,): 1, (0,): 0}.get(tuple(axes) if isinstance(axes, list) else ())
    if axis is None or not node.attributes.get("keepdims", 1):
        return None
    if not isinstance(x, Value) or x.sizes is not None:
        return None
    if x.moment is None:
        return Moment("mean", x, axis)
    square = x.moment.step == "square" and x.moment.axis == axis
    return replace(x.moment, step="variance") if square else None


def moment_of(node: Node, inputs: list[Any]) -> Moment | Normalization | None:
    """The next step; None where it is none."""
    first, second = (*inputs, None, None)[:2]
    left, right = (t.moment if isinstance(t, Value) else None for t in (first, second))
    if left is None and right is None:
        return None
    steps = node.op_type, left and left.step, right and right.step
    number = as_scalar(second)
    match steps:
        case "Sub", _, "mean" if right and right.x is first:
            return replace(right, step="centred")
        case "Mul", "centred", "centred" if left and first is second:
            return replace(left, step="square")
        case "Pow", "centred", None if left and number == 2:
            return replace(left, step="square")
        case "Add", "variance", None if left and number is not None:
            return replace(left, step="stable", eps=number)
        case "Sqrt", "variance" | "stable", None if left:
            return replace(left, step="deviation")
        case "Pow", "variance" | "stable", None if left and number == 0.5:
            return replace(left, step="deviation")
        case "Pow", "variance" | "stable", None if left and number == -0.5:
            return replace(left, step="inverse")
        case "Reciprocal", "deviation", None if left:
            return replace(left, step="inverse")
        case ("Div", "centred", "deviation") | ("Mul", "centred", "inverse") if left and right:
            return _normalised(left, right)
        case "Mul", "inverse", "centred" if left and right:
            return _normalised(right, left)
    return None


def _normalised(centred: Moment, spread: Moment) -> Normalization | None:
    if centred.x is not spread.x or centred.axis != spread.axis:
        return None
    if centred.x.width is None:
        raise RefusedError("expected to know how many features there are")
    return Normalization(spread.axis, spread.eps, centred.x.width)
