"""The functions of values that are recorded: element by element, and over dimensions.

Each takes anything: tensors, parameters, arrays, torch's tensors on the CPU, numbers. The result is
a tensor, recorded where an operand is. `dim` and `keepdim` are torch's names and meaning; with
NumPy's `axis` and `keepdims` a function means what NumPy's does (`max` along an axis gives values
alone, `std` divides by n).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic import formulas
from fastmlp.arithmetic.operands import array_of, axes_of, axis_of, operands
from fastmlp.arithmetic.tape import node_of, record

# Element by element -------------------------------------------------------------------------------


def _unary(name: str) -> Callable[..., Tensor]:
    forward, slope = formulas.UNARY[name]

    def function(input: Any) -> Tensor:
        (x,) = operands(input)
        y = forward(x)
        return record(y, (input, lambda g: g * slope(x, y)))

    function.__doc__ = f"{name}(input), element by element."
    return function


def _binary(name: str) -> Callable[..., Tensor]:
    forward, left, right = formulas.BINARY[name]

    def function(input: Any, other: Any) -> Tensor:
        a, b = operands(input, other)
        y = forward(a, b)
        return record(y, (input, lambda g: left(g, a, b, y)), (other, lambda g: right(g, a, b, y)))

    function.__doc__ = f"{name}(input, other), element by element."
    return function


UNARY = {name: _unary(name) for name in formulas.UNARY}
BINARY = {name: _binary(name) for name in formulas.BINARY}
multiply, divide, maximum, minimum = (
    BINARY[name] for name in ("multiply", "divide", "maximum", "minimum")
)
sqrt = UNARY["sqrt"]


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    return BINARY["add"](input, other if alpha == 1 else multiply(other, alpha))


def subtract(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    return BINARY["subtract"](input, other if alpha == 1 else multiply(other, alpha))


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """Limited to [min, max]; the gradient passes within, limits included."""
    if node_of(min) is not None or node_of(max) is not None:
        low = input if min is None else maximum(input, min)
        return low if max is None else minimum(low, max)
    x, *limits = operands(input, *(limit for limit in (min, max) if limit is not None))
    if not limits:
        raise ValueError("min, max: expected at least one of them, got neither")
    low, high = None if min is None else limits[0], None if max is None else limits[-1]

    def back(g: Array) -> Array:
        inside = np.ones(g.shape, bool)
        inside &= True if low is None else x >= low
        inside &= True if high is None else x <= high
        return np.where(inside, g, 0)

    return record(np.clip(x, low, high), (input, back))


def round(input: Any, decimals: int = 0) -> Tensor:
    """To the nearest number of so many decimals; the gradient is zero."""
    (x,) = operands(input)
    return record(np.round(x, decimals), (input, np.zeros_like))


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """Elements of input where the condition holds, else of other.

    Parameters
    ----------
    condition : array_like of bool
    input, other : array_like
        All three are broadcast. Gradients flow to those of the two that are recorded.
    """
    chosen = np.asarray(array_of(condition, "condition"), bool)
    a, b = operands(input, other)
    result = np.where(chosen, a, b)
    if isinstance(a, float) and not isinstance(b, np.ndarray):
        result = result.astype(np.float32)  # as of Python's floats elsewhere
    return record(
        result,
        (input, lambda g: np.where(chosen, g, 0)),
        (other, lambda g: np.where(chosen, 0, g)),
    )


def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """A number in the place of the elements that the mask chooses."""
    return where(mask, value, input)


def cast(input: Any, dtype: Any) -> Tensor:
    """The values in another dtype; a float's gradient comes back in the first one."""
    return record(array_of(input).astype(dtype), (input, lambda g: g))


def clone(input: Any) -> Tensor:
    """A copy with memory of its own."""
    return record(np.array(array_of(input)), (input, lambda g: g))


# Over dimensions ----------------------------------------------------------------------------------


def _reduced(
    formula: Callable[..., tuple[Array, formulas.Back]],
    input: Any,
    dim: Any,
    keepdim: Any,
    *options: Any,
    needs_float: bool = True,
) -> Tensor:
    """A formula over dimensions."""
    keep = _checks.flag("keepdim", keepdim)
    (x,) = operands(input)
    if x.dtype.kind != "f" and needs_float:
        x = x.astype(np.float64)
    axes = axes_of(dim, x.ndim)
    kept, back = formula(x, axes, *options)
    shape = kept.shape if keep else [n for i, n in enumerate(x.shape) if i not in axes]
    return record(kept.reshape(shape), (input, lambda g: back(g.reshape(kept.shape))))


def _reduction(
    name: str, what: str, formula: Callable[..., Any], *options: Any, needs_float: bool = False
) -> Callable[..., Tensor]:
    def function(
        input: Any,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool = False,
    ) -> Tensor:
        over = axis if dim is None else dim
        keep = keepdim or keepdims
        return _reduced(formula, input, over, keep, *options, needs_float=needs_float)

    function.__name__, function.__doc__ = name, f"{what} over dimensions, or of all values."
    return function


sum = _reduction("sum", "The sum", formulas.total)
prod = _reduction("prod", "The product", formulas.product_over)
mean = _reduction("mean", "The mean", formulas.mean, needs_float=True)
amax = _reduction("amax", "The largest value; equal ones share the gradient,", formulas.extremum, 1)
amin = _reduction("amin", "The smallest value; see `amax`;", formulas.extremum, -1)


def _ddof(axis: Any, options: dict[str, Any], unbiased: Any) -> float:
    """What is subtracted from the number of values: torch's 1, or, with an axis, NumPy's 0."""
    given = options.get("correction", options.get("ddof"))
    if given is not None:
        return _checks.real("correction", given)
    if unbiased is None:
        return 0 if axis is not None else 1
    return int(_checks.flag("unbiased", unbiased))


def _over(dim: Any, unbiased: Any, axis: Any) -> tuple[Any, Any]:
    """var(False) is torch's way to leave the dimensions out."""
    return (None, dim) if isinstance(dim, bool) else (axis if dim is None else dim, unbiased)


def _spread(name: str, what: str, formula: Callable[..., Any]) -> Callable[..., Tensor]:
    def function(
        input: Any,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool = False,
        **options: Any,
    ) -> Tensor:
        over, unbiased = _over(dim, unbiased, axis)
        return _reduced(formula, input, over, keepdim or keepdims, _ddof(axis, options, unbiased))

    function.__name__, function.__doc__ = name, what
    return function


var = _spread(
    "var",
    "The variance, divided by n - 1 (with `axis`, by n; with `correction` or `ddof`, n - that).",
    formulas.variance,
)
std = _spread("std", "The root of `var`.", formulas.deviation)


def norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The vector norm of order p over dimensions, or of all values."""
    order = 2.0 if p is None or p == "fro" else _checks.real_or_infinity("p", p, at_least=1)
    return _reduced(formulas.norm, input, dim, keepdim, order)


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over dimensions."""
    return _reduced(formulas.log_sum_exp, input, dim, keepdim)


def _along(formula: Callable[..., tuple[Array, formulas.Back]], input: Any, dim: Any) -> Tensor:
    (x,) = operands(input)
    axis = axis_of(dim, x.ndim)
    y, back = formula(x, axis) if x.ndim else formula(x[None], 0)
    return record(y.reshape(x.shape), (input, lambda g: back(g.reshape(y.shape)).reshape(x.shape)))


def softmax(input: Any, dim: int = -1) -> Tensor:
    """exp(input), divided by the sum along a dimension."""
    return _along(formulas.softmax, input, dim)


def log_softmax(input: Any, dim: int = -1) -> Tensor:
    """The logarithm of `softmax`."""
    return _along(formulas.log_softmax, input, dim)


def cumsum(input: Any, dim: int) -> Tensor:
    """Sums of all values up to each one along a dimension."""
    return _along(formulas.cumulative_sum, input, dim)


def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product, `@`."""
    a, b = operands(input, other)
    if not (np.ndim(a) and np.ndim(b)):
        raise ValueError("other: expected two arrays with dimensions for a matrix product")
    y, left, right = formulas.product(a, b)
    return record(y, (input, left), (other, right))
