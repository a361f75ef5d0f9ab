"""Running a `forward` as it stands, each time the model is called.

What cannot be one native program, because it has several inputs or outputs, or multiplies two
values, runs all the same: each module in it is a native call of its own, and what stands between
them is recorded arithmetic. `predict`, a `Trainer` and derivatives refuse such a model.
"""

from typing import Any

import numpy as np

from fastmlp import _conversions, tensor
from fastmlp.arithmetic.tape import Variable
from fastmlp.tensor import Tensor


def run(module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `forward` returns for these arguments.

    Arrays become tensors, floats of the dtype of the model's parameters, also within lists, tuples
    and dicts; all else is handed on.
    """
    first = next(module.parameters(), None)
    dtype = None if first is None else first.dtype
    return module.forward(
        *(_given(value, dtype) for value in args),
        **{name: _given(value, dtype) for name, value in options.items()},
    )


def _given(value: Any, dtype: Any) -> Any:
    if isinstance(value, Variable):
        return value
    if isinstance(value, list | tuple) and any(map(_is_nested, value)):
        parts = [_given(part, dtype) for part in value]
        if hasattr(value, "_fields"):  # a named tuple
            return type(value)(*parts)
        return parts if isinstance(value, list) else tuple(parts)
    if type(value) is dict:
        return {name: _given(part, dtype) for name, part in value.items()}
    if not _is_array(value) and not (isinstance(value, list | tuple) and value):
        return value
    if not isinstance(value, Tensor):
        value = _conversions.as_array(value, "x").view(Tensor)
    if value.dtype.kind != "f":
        return value
    if dtype is None:
        dtype = np.float64 if value.dtype == np.float64 else np.float32
    return tensor.as_tensor(value, dtype) if value.dtype != dtype else value


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, type | np.generic)


def _is_nested(value: Any) -> bool:
    """Whether that is no number, or list of numbers, as data are."""
    if isinstance(value, list | tuple):
        return any(map(_is_nested, value))
    return not isinstance(value, int | float | np.number)
