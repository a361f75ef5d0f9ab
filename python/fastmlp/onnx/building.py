"""From steps to a model: a `Sequential` where they follow one another, else a `Graph`."""

from typing import Any

import numpy as np

from fastmlp import activations, layers, normalization
from fastmlp._types import Array
from fastmlp.containers import Sequential
from fastmlp.modules import Module
from fastmlp.onnx import values as of
from fastmlp.onnx.layers import Graph, Scale
from fastmlp.onnx.merging import simplified, uses_of, without
from fastmlp.onnx.steps import Step
from fastmlp.residual import Residual

_MOST = 2000  # steps among which residual blocks are looked for


def built(steps: list[Step], squeeze: bool, size: int) -> Module:
    """The model.

    Parameters
    ----------
    steps : list of Step
        The last one makes the output.
    squeeze : bool
        Whether the output has no dimension of features.
    size : int
        Of the file in bytes, which the model is not to exceed by far.
    """
    steps = simplified(steps)
    arrays = [array for step in steps for array in _arrays(step.work)]
    maker = _Maker("float64" if any(a.dtype == np.float64 for a in arrays) else "float32", size)
    for step in steps:
        if isinstance(step.work, Scale) and step.width is not None:
            step.work = maker.scale(step.work, step.width)
        elif step.work is not None and not isinstance(step.work, Module):
            step.work = maker.layer(step.work)
    if len(steps) <= _MOST:
        steps = _with_residuals(steps)
    made = [step.work for step in steps if isinstance(step.work, Module)]
    places = [step.inputs == [number] for number, step in enumerate(steps)]
    if len(made) == len(steps) and all(places) and not squeeze:
        return Sequential(*(made or [activations.Identity()]))
    unique = {id(module): module for module in made or [activations.Identity()]}
    numbers = {key: number for number, key in enumerate(unique)}
    numbered = [(numbers.get(id(step.work)), tuple(step.inputs)) for step in steps]
    return Graph([*unique.values()], numbered or [(0, (0,))], squeeze)


def _arrays(work: Any) -> list[Array]:
    """The numbers of a layer that is still to be made."""
    if work is None or isinstance(work, Module):
        return []
    return [value for value in vars(work).values() if isinstance(value, np.ndarray)]


# Residual blocks ----------------------------------------------------------------------------------


def _with_residuals(steps: list[Step]) -> list[Step]:
    """Put `x + f(x)` into a `Residual`, where nobody else wants what is within f."""
    place = 0
    while place < len(steps):
        found = None if steps[place].work is not None else _residual(steps, place)
        if found is not None:
            root, gone, module = found
            steps[place] = Step(module, [root])
            steps = without(steps, gone)
            place -= len(gone)
        place += 1
    return steps


def _residual(steps: list[Step], place: int) -> tuple[int, set[int], Module] | None:
    """The block's input, the places of its steps, and the block."""
    uses = uses_of(steps)
    first, second = steps[place].inputs
    for short, long in ((first, second), (second, first)):
        before = steps[short - 1].work if short else None
        matrix = before if isinstance(before, layers.Linear) and before.bias is None else None
        for projection in (None, matrix):
            root = short if projection is None else steps[short - 1].inputs[0]
            wanted = 2 if projection is None or uses[short] == 1 else -1
            chain = _chain(steps, uses, root, long)
            if not chain or uses[root] != wanted:
                continue
            module = Residual(*(steps[number - 1].work for number in chain))
            if (module.projection is None) != (projection is None):
                continue
            if module.projection is not None and projection is not None:
                module.projection.weight.copy_(projection.weight)
                chain.append(short)
            return root, {number - 1 for number in chain}, module
    return None


def _chain(steps: list[Step], uses: Any, root: int, number: int) -> list[int]:
    """The values from the root to that one, if each is made of the one before it alone."""
    chain: list[int] = []
    while number > root and uses[number] == 1 and steps[number - 1].work is not None:
        chain.insert(0, number)
        number = steps[number - 1].inputs[0]
    return chain if number == root else []


# Layers -------------------------------------------------------------------------------------------


class _Maker:
    """Makes layers of one dtype; those that use the same numbers are one layer."""

    def __init__(self, dtype: str, size: int) -> None:
        self.dtype = dtype
        self._bytes_left = 4 * size + 2_000_000
        self._made: dict[Any, Module] = {}

    def layer(self, work: of.Layer) -> Module:
        """The layer."""
        key = (type(work), *map(_key, vars(work).values()))
        if key not in self._made:
            self._spend(*(array.nbytes for array in _arrays(work)))
            self._made[key] = self._new(work)
        return self._made[key]

    def scale(self, work: Scale, width: int) -> Module:
        """A layer of numbers that knows how many features it has, as all others do."""
        self._spend(8 * width, 8 * width)
        return Scale(work.scale, work.shift, width, self.dtype)

    def _spend(self, *sizes: int) -> None:
        self._bytes_left -= 2000 + sum(2500 + size for size in sizes)
        if self._bytes_left < 0:
            raise ValueError(
                "expected a model not much larger than its file, got one of very many layers, or"
                " one that uses the same numbers over and over"
            )

    def _new(self, work: of.Layer) -> Module:
        dtype = self.dtype
        match work:
            case of.Affine(weight, bias):
                out, wide = weight.shape
                linear = layers.Linear(wide, out, bias is not None, dtype)
                return _filled(linear, weight=weight, bias=bias)
            case of.Standardized(mean, scale):
                return self._standardize(len(mean), mean=mean, scale=scale)
            case of.Columns("Sub", numbers):
                return self._standardize(len(numbers), mean=numbers)
            case of.Columns("Div", numbers):
                return self._standardize(len(numbers), scale=numbers)
            case of.Columns("Mul", numbers):
                return Scale(numbers.astype(dtype))
            case of.Columns(_, numbers):
                return Scale(1.0, numbers.astype(dtype))
            case of.Scaled(scale, shift):
                return Scale(scale.astype(dtype), shift.astype(dtype))
            case of.Rowwise(op_type):
                return activations.Softmax() if op_type == "Softmax" else activations.LogSoftmax()
            case of.PReLU(slopes):
                return _filled(activations.PReLU(len(slopes), dtype=dtype), weight=slopes)
            case of.Dropout(p):
                return layers.Dropout(p)
            case of.BatchNorm(weight, bias, mean, variance, eps):
                batch = normalization.BatchNorm1d(len(weight), eps, dtype=dtype)
                _filled(batch, running_mean=mean, running_var=variance)
                return _filled(batch, weight=weight, bias=bias)
            case of.Normalization(axis, eps, width, weight, bias):
                if weight is None and bias is not None:
                    weight = np.ones(width, dtype)
                affine, has_bias = weight is not None, bias is not None
                if axis == 1:
                    norm = normalization.LayerNorm(width, eps, affine, has_bias, dtype)
                    return _filled(norm, weight=weight, bias=bias)
                columns = normalization.BatchNorm1d(
                    width, eps, None, affine, False, dtype, bias=has_bias
                )
                return _filled(columns, weight=weight, bias=bias)
        raise AssertionError(work)

    def _standardize(self, width: int, **numbers: Array) -> Module:
        layer = normalization.Standardize(width, self.dtype)
        if "scale" in numbers:
            numbers["variance"] = np.square(numbers["scale"])
        return _filled(layer, **numbers)


def _key(value: Any) -> Any:
    """What tells an array of the file from others."""
    if not isinstance(value, np.ndarray):
        return value
    return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype.str


def _filled(layer: Module, **numbers: Array | None) -> Module:
    """The layer with these numbers in its parameters and buffers."""
    for name, values in numbers.items():
        if values is not None:
            with np.errstate(all="ignore"):
                getattr(layer, name).copy_(values)
    return layer
