"""From the value that a model gives back to its input: the steps that make it, in order.

Operators on each number are taken together as far as they are an activation, which `recognition`
finds; the rest are layers, and sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fastmlp._types import Array
from fastmlp.modules import Module
from fastmlp.onnx.elementwise import compute
from fastmlp.onnx.layers import Scale
from fastmlp.onnx.recognition import recognise
from fastmlp.onnx.values import Layer, Value

_WIDEST = 150  # operators of one activation; those of GELU in float64 are 60

Work: TypeAlias = "Layer | Module | None"  # of a step; None is a sum
Plan: TypeAlias = "tuple[Work | str, list[Value]]"


@dataclass
class Step:
    """What makes a value of others, by their numbers: 0 is the input, step i makes value i + 1."""

    work: Work
    inputs: list[int]
    width: int | None = None  # of the value, where that is known


class Steps:
    """The steps to a value.

    Parameters
    ----------
    output : Value
    model_input : Value
    wide : bool
        Whether they are of float64.
    """

    def __init__(self, output: Value, model_input: Value, wide: bool) -> None:
        self._wide = wide
        self.steps: list[Step] = []
        self._work_left = 100_000  # operators computed in search of activations
        numbers = {model_input: 0}
        self._plans: dict[Value, Plan] = {}
        waiting = [output]
        while waiting:
            value = waiting[-1]
            if value in numbers:
                waiting.pop()
                continue
            if value not in self._plans:
                self._plans[value] = self._plan(value)
            work, inputs = self._plans[value]
            missing = [given for given in inputs if given not in numbers]
            if missing:
                waiting.extend(reversed(missing))
                continue
            if isinstance(work, str):  # after those before it, so that the first one is named
                raise ValueError(work)
            self.steps.append(Step(work, [numbers[given] for given in inputs], value.width))
            numbers[value] = len(self.steps)

    def _plan(self, value: Value) -> "Plan":
        """What makes a value of which others, or why nothing does."""
        if value.layer is not None:
            return value.layer, value.inputs
        for root in _roots(value):
            found = self._activation(value, root)
            if found is not None:
                return found, [root]
        return self._sum(value)

    def _activation(self, value: Value, root: Value) -> Module | None:
        region = _region(value, root)
        if region is None:
            return None
        scalars = [n for part in region for n in part.operands if isinstance(n, float)]

        def function(x: Array) -> Array:
            self._work_left -= len(region)
            if self._work_left < 0:
                raise ValueError("expected fewer operators that are no activations")
            known: dict[Value, Array] = {root: x}
            for part in region:
                operands = [known[n] if isinstance(n, Value) else n for n in part.operands]
                assert part.node is not None
                known[part] = compute(part.node.op_type, part.node.attributes, operands)
            return np.asarray(known[value])

        return recognise(function, scalars, self._wide)

    def _sum(self, value: Value) -> "Plan":
        first, second = (*value.operands, None, None)[:2]
        both = isinstance(first, Value) and isinstance(second, Value) and len(value.operands) == 2
        op_type = value.node.op_type if value.node is not None and both else ""
        if op_type in ("Add", "Sum"):
            return None, [first, second]
        if op_type == "Sub":
            negative = Value(value.number, value.node, [second], width=second.width)
            self._plans[negative] = Scale(-1.0), [second]
            return None, [first, negative]
        why = value.problem or "expected a part of an activation, a normalisation or a sum"
        hint = "leave it out of the file, and do it before or after `predict`"
        return f"{value.node}: {why}; {hint}", value.inputs


def _roots(value: Value) -> Iterator[Value]:
    """Values of which this one may be a function: the furthest, then the nearest."""
    near: list[Value] = []
    root = value
    while root.over is not None and len(near) < _WIDEST:
        root = root.over
        near.append(root)
    yield from [*near[-1:], *near[:-1][:4]]


def _region(value: Value, root: Value) -> list[Value] | None:
    """The values from the root to that one, in order; None if there are too many."""
    found: set[Value] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if part is root or part in found:
            continue
        if len(found) > _WIDEST or not part.operands or part.problem:
            return None
        found.add(part)
        waiting.extend(part.inputs)
    return sorted(found, key=lambda part: part.number)
