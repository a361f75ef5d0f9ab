"""Checks of arguments: each returns the value in its plain type, or raises an error that names it.

Arrays are checked by the native core, which has to look at them anyway.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmlp import _core

DTYPES = ("float32", "float64")


def show(value: object) -> str:
    """The value and its type, short enough for an error message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    if len(text) > 60 or "\n" in text:
        return f"a value of type {type(value).__name__}"
    return f"{text} ({type(value).__name__})"


def integer(name: str, value: Any, *, at_least: int, below: int = 2**63) -> int:
    """An integer (NumPy's too, but no bool) in the given range, which int64 bounds."""
    if isinstance(value, bool | np.bool_) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}: expected an integer, got {show(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array with several elements has __index__, too
        raise TypeError(f"{name}: expected an integer, got {show(value)}") from None
    if not at_least <= number < below:
        limits = f">= {at_least}" if number < at_least else f"from {at_least} to {below - 1}"
        raise ValueError(f"{name}: expected an integer {limits}, got {number}")
    return number


def real(
    name: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """A finite number (no bool) in the given range."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a number, got {show(value)}")
    number = float(value)
    inside = at_least <= number <= at_most and above < number < below
    if not (math.isfinite(number) and inside):
        limits = {">=": at_least, ">": above, "<=": at_most, "<": below}
        stated = [f"{sign} {limit:g}" for sign, limit in limits.items() if math.isfinite(limit)]
        expected = " ".join(["a finite number", " and ".join(stated)]).rstrip()
        raise ValueError(f"{name}: expected {expected}, got {number}")
    return number


def flag(name: str, value: Any) -> bool:
    """True or False (NumPy's too), and nothing that merely counts as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {show(value)}")
    return bool(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names."""
    known = tuple(known)
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(known)}, got {show(value)}")
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    return value


def dtype(name: str, value: Any) -> str:
    """The name of a supported dtype, from anything that NumPy takes as one."""
    try:
        found = "" if value is None else str(np.dtype(value))  # None would be float64
    except TypeError:
        found = ""
    if found not in DTYPES:
        raise TypeError(f"{name}: expected {' or '.join(DTYPES)}, got {show(value)}")
    return found


def cuda() -> None:
    """RuntimeError that says what is missing, unless there is a CUDA device."""
    problem = _core.cuda_problem()
    if problem is not None:
        raise RuntimeError(f"no CUDA: {problem}")


def device(name: str, value: Any) -> str:
    """The name "cpu" or "cuda" of a device that is there: else RuntimeError."""
    if choice(name, value, ("cpu", "cuda", "cuda:0")) == "cpu":
        return "cpu"
    cuda()
    return "cuda"


def precision(name: str, value: Any, device: str, dtype: str) -> str:
    """How float32 matrices are multiplied on a device; elsewhere there is nothing to choose."""
    if choice(name, value, _core.PRECISIONS) != "float32":
        if device == "cpu":
            raise ValueError(
                f'{name}: expected float32 on the CPU, got {value!r}, which needs "cuda"'
            )
        if dtype != "float32":
            raise ValueError(f"{name}: expected float32 with parameters of {dtype}, got {value!r}")
    return str(value)
