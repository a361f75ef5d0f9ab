"""torch's functions that make tensors, for those who have no torch: a convenience, thin over NumPy.

Tensors of floats are float32 and those of integers int64, unless `dtype` says otherwise. All take
`device` and `requires_grad`, as `tensor` does. Random numbers start from `fastmlp.manual_seed`.
"""

from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, seeds
from fastmlp.devices import device
from fastmlp.tensor import Tensor, as_tensor, sizes, tensor

__all__ = [
    "arange",
    "as_tensor",
    "device",
    "empty",
    "empty_like",
    "eye",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "int32",
    "int64",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "uint8",
    "zeros",
    "zeros_like",
]

float32, float64 = np.dtype("float32"), np.dtype("float64")
int32, int64, uint8 = np.dtype("int32"), np.dtype("int64"), np.dtype("uint8")
# Those whose names Python has, or had: attributes of the package that `import *` leaves out.
DTYPES = {
    "float": float32,
    "double": float64,
    "int": int32,
    "long": int64,
    "bool": np.dtype("bool"),
}


def _random() -> "np.random.Generator":
    return np.random.default_rng(seeds.current().next_seed())


def zeros(*size: Any, dtype: Any = float32, **options: Any) -> Tensor:
    """Zeros of a shape, `zeros(2, 3)` or `zeros((2, 3))`."""
    return tensor(np.zeros(sizes(size)), dtype=dtype, **options)


def ones(*size: Any, dtype: Any = float32, **options: Any) -> Tensor:
    """Ones of a shape."""
    return tensor(np.ones(sizes(size)), dtype=dtype, **options)


empty = zeros


def full(size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """One number everywhere in a shape."""
    return tensor(np.full(sizes((size,)), tensor(fill_value)), dtype=dtype, **options)


def eye(n: int, m: int | None = None, *, dtype: Any = float32, **options: Any) -> Tensor:
    """A matrix of zeros with ones on its diagonal."""
    rows, columns = sizes((n, n if m is None else m))
    return tensor(np.eye(rows, columns), dtype=dtype, **options)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, **options: Any
) -> Tensor:
    """Numbers from start (0, if it is the only one) to before end, by steps."""
    first, last = (0, start) if end is None else (start, end)
    named = {"start": first, "end": last, "step": step}
    for name, value in named.items():
        _checks.real(name, value)
    if step == 0:
        raise ValueError("step: expected a number other than 0, got 0")
    if dtype is None:
        integers = all(hasattr(type(value), "__index__") for value in named.values())
        dtype = int64 if integers else float32
    return tensor(np.arange(first, last, step), dtype=dtype, **options)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = float32, **options: Any
) -> Tensor:
    """Evenly spaced numbers from start to end."""
    values = np.linspace(
        _checks.real("start", start),
        _checks.real("end", end),
        _checks.integer("steps", steps, at_least=0),
    )
    return tensor(values, dtype=dtype, **options)


def rand(*size: Any, dtype: Any = float32, **options: Any) -> Tensor:
    """Random numbers, uniform within [0, 1)."""
    values = _random().random(sizes(size), np.dtype(_checks.dtype("dtype", dtype)).type)
    return tensor(values, **options)


def randn(*size: Any, dtype: Any = float32, **options: Any) -> Tensor:
    """Random numbers of the standard normal distribution."""
    values = _random().standard_normal(sizes(size), np.dtype(_checks.dtype("dtype", dtype)).type)
    return tensor(values, **options)


def randint(low: Any, high: Any, size: Any = None, *, dtype: Any = int64, **options: Any) -> Tensor:
    """Random integers from low to high - 1: `randint(low, high, size)` or `randint(high, size)`."""
    if size is None:
        low, high, size = 0, low, high
    least = _checks.integer("low", low, at_least=-(2**63))
    limit = _checks.integer("high", high, at_least=least + 1)
    return tensor(_random().integers(least, limit, sizes((size,))), dtype=dtype, **options)


def randperm(n: int, *, dtype: Any = int64, **options: Any) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    return tensor(_random().permutation(*sizes((n,))), dtype=dtype, **options)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on an array's memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"ndarray: expected a NumPy array, got {_checks.show(ndarray)}")
    return as_tensor(ndarray)


def _like(make: Any, what: str) -> Any:
    def function(input: Any, *, dtype: Any = None, **options: Any) -> Any:
        array = _conversions.as_array(input, "input")
        return make(array.shape, dtype=array.dtype if dtype is None else dtype, **options)

    function.__doc__ = f"{what} of another tensor's shape and, unless `dtype` is given, dtype."
    return function


zeros_like, ones_like = _like(zeros, "Zeros"), _like(ones, "Ones")
empty_like = zeros_like
rand_like, randn_like = _like(rand, "See `rand`;"), _like(randn, "See `randn`;")


def full_like(input: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """One number everywhere in another tensor's shape, of its dtype."""
    array = _conversions.as_array(input, "input")
    kept = array.dtype if dtype is None else dtype
    return full(array.shape, fill_value, dtype=kept, **options)
