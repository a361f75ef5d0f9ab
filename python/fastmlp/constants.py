"""Numbers in a program: a value times a number, plus a number, as an operation that there is.

`scale * x + shift` is what an operation with running statistics makes of x, as (x - mean) / scale;
its weight and bias are parameters that x is multiplied with, and added to.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _core

if TYPE_CHECKING:
    from fastmlp._core import Operation


def resolved(operations: Any, dtype: str, device: str) -> "tuple[Operation, ...]":
    """The operations, with those of numbers in the terms of the native program."""
    return tuple(
        _scaling(operation[1:], dtype, device) if operation[0] == "scaled" else operation
        for operation in operations
    )


def _scaling(numbers: tuple[Any, ...], dtype: str, device: str) -> "Operation":
    value, weight, bias, scale, shift, width = numbers
    mean = _constant(-shift / scale, width, dtype, device)
    divisor = _constant(1 / scale, width, dtype, device)
    return (
        *("batch_norm", value, weight, bias, width, 0.0, "running", 0.0),
        *(mean, divisor, True, None),
    )


@lru_cache(maxsize=256)
def _constant(number: float, width: int, dtype: str, device: str) -> _core.Parameter:
    """One object for each, so that what is traced twice is the same program."""
    constant = _core.Parameter((width,), dtype)
    constant.value[...] = np.full(width, number)
    constant.requires_grad = False
    _core.move([(constant, device)])
    return constant
