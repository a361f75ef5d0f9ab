"""Steps that are parts of one layer: a bias, a scaler's two operators, what changes nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np

from fastmlp import activations
from fastmlp.onnx.layers import Scale
from fastmlp.onnx.steps import Step, Work
from fastmlp.onnx.values import Affine, Columns, Normalization, Scaled, Standardized


def simplified(steps: list[Step]) -> list[Step]:
    """The same with fewer steps."""
    gone = {
        place for place, step in enumerate(steps) if isinstance(step.work, activations.Identity)
    }
    while True:
        steps = without(steps, gone)
        gone = _merge(steps)
        if not gone:
            return steps


def uses_of(steps: list[Step]) -> "Counter[int]":
    """How many steps take each value."""
    return Counter(number for step in steps for number in step.inputs)


def without(steps: list[Step], gone: set[int]) -> list[Step]:
    """Without some, by their place: who took their value takes the one that they took."""
    numbers, kept = [0], []
    for place, step in enumerate(steps):
        step = replace(step, inputs=[numbers[number] for number in step.inputs])
        if place in gone:
            numbers.append(step.inputs[0])
        else:
            kept.append(step)
            numbers.append(len(kept))
    return kept


def _merge(steps: list[Step]) -> set[int]:
    """Take steps into the ones after them; the places of those that are gone."""
    uses = uses_of(steps)
    gone: set[int] = set()
    for step in steps:
        before = step.inputs[0] - 1
        if len(step.inputs) != 1 or before < 0 or uses[before + 1] != 1 or before in gone:
            continue
        merged = _merged(steps[before].work, step.work)
        if merged is not None:
            step.work = merged
            gone.add(before)
    return gone


def _merged(first: Work, second: Work) -> Work:
    """What two do one after another; None where they stay two."""
    match first, second:
        case Affine(weight, None), Columns("Add", numbers):
            return Affine(weight, numbers)
        case Affine(weight, None), Scale() if _is_shift(second):
            return Affine(weight, np.full(len(weight), second.shift, weight.dtype))
        case Normalization(axis, eps, width, None, None), Columns("Mul", numbers):
            return Normalization(axis, eps, width, numbers)
        case Normalization(axis, eps, width, weight, None), Columns("Add", numbers):
            return Normalization(axis, eps, width, weight, numbers)
        case Columns("Sub", mean), Columns("Div", scale):
            return Standardized(mean, scale)
        case Columns("Sub", mean), Columns("Mul", factor) if (np.abs(factor) > 1e-30).all():
            return Standardized(mean, 1 / factor)
        case Columns("Mul", scale), Columns("Add", shift):
            return Scaled(scale, shift)
    return None


def _is_shift(work: Scale) -> bool:
    return isinstance(work.scale, float) and work.scale == 1 and isinstance(work.shift, float)
