"""What the recorded functions compute with: plain arrays of one dtype, and dimensions that exist.

Floats of different types meet as in torch: those of arrays with dimensions decide, then those
without; numbers and integers adapt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic.tape import Variable, node_of, recording


def array_of(value: Any, name: str = "input") -> Array:
    """The values of an operand, which its graph stays with."""
    if isinstance(value, Variable):
        return value._copied()
    if isinstance(value, Tensor):
        array = np.asarray(value)
        return array.copy() if array.flags.writeable and _core.is_leaf(value) else array
    return _conversions.as_array(value, name)


def operands(*values: Any, names: Sequence[str] = ("input", "other")) -> list[Any]:
    """Arrays of one dtype, and numbers, which have none."""
    found: list[Any] = []
    for i, value in enumerate(values):
        if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
            found.append(value)
        elif isinstance(value, np.generic) and value.dtype.kind in "fiub":
            found.append(value.item())
        else:
            found.append(array_of(value, names[min(i, len(names) - 1)]))
    arrays = [value for value in found if isinstance(value, np.ndarray)]
    floats = [array for array in arrays if array.dtype.kind == "f"]
    if floats:
        decisive = [array.dtype for array in floats if array.ndim] or [a.dtype for a in floats]
        dtype = np.result_type(*decisive)
        found = [
            value.astype(dtype, copy=False) if isinstance(value, np.ndarray) else value
            for value in found
        ]
    if recording() and any(node_of(value) is not None for value in values):
        for i, value in enumerate(values):
            _core.warn_if_lost(value, names[min(i, len(names) - 1)])
    return found


def shape_of(value: Any) -> tuple[int, ...]:
    if isinstance(value, _core.Symbolic):
        value.end_trace()
    return tuple(value.shape) if hasattr(value, "shape") else array_of(value).shape


def axis_of(dim: Any, dimensions: int) -> int:
    limit = max(dimensions, 1)
    return _checks.integer("dim", dim, at_least=-limit, below=limit) % limit


def axes_of(dim: Any, dimensions: int) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(dimensions))
    each = dim if isinstance(dim, tuple | list) else (dim,)
    found = tuple(axis_of(one, dimensions) for one in each)
    if len(set(found)) < len(found):
        raise ValueError(f"dim: expected each dimension once, got {dim}")
    return found if dimensions else ()


def sizes_of(sizes: tuple[Any, ...]) -> Any:
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
