"""Under which names, of methods, of torch's functions and of NumPy's, the functions are found."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.arithmetic import compositions, functions, places
from fastmlp.arithmetic.functions import BINARY, UNARY

Function = Callable[..., Any]

_TORCH_NAMES = {
    "neg": "negative",
    "abs": "absolute",
    "atan": "arctan",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "true_divide": "divide",
    "pow": "power",
    "atan2": "arctan2",
    "log_sigmoid": "logsigmoid",
}
_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "mod": "remainder",
    "matmul": "matmul",
}
# Those that are methods under their own names, which are torch's.
_OF_VALUES = (
    *("sum", "mean", "amax", "amin", "var", "std", "norm", "logsumexp", "softmax", "log_softmax"),
    *("cumsum", "matmul", "clamp", "masked_fill", "clone", "round", "prod"),
)
_OF_PLACES = (
    *("max", "min", "gather", "index_select", "reshape", "flatten", "squeeze", "unsqueeze"),
    *("permute", "transpose", "expand", "split", "chunk", "unbind", "flip", "repeat"),
)
_FUNCTIONS = ("cat", "stack", "hstack", "vstack", "column_stack")
_COMPOSED_FUNCTIONS = (
    *("normalize", "cosine_similarity", "pairwise_distance", "linear", "layer_norm", "glu"),
    "prelu",
)
_COMPOSED = ("diagonal", "dist", "outer", "trace", "masked_select")


def _swapped(function: Function) -> Function:
    return lambda self, other: function(other, self)


def _as_shape_of(function: Function) -> Function:
    return lambda self, other: function(self, *other.shape)


def _linalg_norm(x: Any, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Any:
    if ord is not None and not isinstance(dim, int) and len(x.shape) > 1:
        return NotImplemented  # of a matrix
    return functions.norm(x, ord, dim, keepdim)


def _norm_of_torch(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None
) -> Any:
    return NotImplemented if p == "nuc" else functions.norm(input, p, dim, keepdim)


def _vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    return functions.norm(x, ord, dim, keepdim)


def _where_of_torch(condition: Any, *both: Any, **named: Any) -> Any:
    if both or named:
        return functions.where(condition, *both, **named)
    return condition.nonzero(as_tuple=True)


METHODS: dict[str, Function] = {
    **UNARY,
    **BINARY,
    **{name: (UNARY | BINARY)[known] for name, known in _TORCH_NAMES.items()},
    **{name: getattr(functions, name) for name in _OF_VALUES},
    **{name: getattr(places, name) for name in _OF_PLACES},
    **{name: getattr(compositions, name) for name in _COMPOSED},
    "add": functions.add,
    "sub": functions.subtract,
    "subtract": functions.subtract,
    "clip": functions.clamp,
    "clamp_min": lambda self, min: functions.clamp(self, min),
    "clamp_max": lambda self, max: functions.clamp(self, None, max),
    "where": lambda self, condition, other: functions.where(condition, self, other),
    "dot": functions.matmul,
    "mm": functions.matmul,
    "bmm": functions.matmul,
    "mv": functions.matmul,
    "ravel": places.flatten,
    "swapaxes": places.transpose,
    "t": places.transpose,
    "expand_as": _as_shape_of(places.expand),
    "reshape_as": _as_shape_of(places.reshape),
    "view_as": _as_shape_of(places.reshape),
    "tile": places.repeat,
}
OPERATORS: dict[str, Function] = {}
for _name, _known in _OPERATORS.items():
    OPERATORS[f"__{_name}__"] = METHODS[_known]
    OPERATORS[f"__r{_name}__"] = _swapped(METHODS[_known])
OPERATORS["__rdiv__"] = OPERATORS["__rtruediv__"]  # as torch calls it
OPERATORS["__neg__"] = METHODS["neg"]
OPERATORS["__pos__"] = METHODS["positive"]
OPERATORS["__abs__"] = METHODS["abs"]

# Of torch, by name. NotImplemented: this call is torch's own.
TORCH: dict[str, Function] = {
    **METHODS,
    **OPERATORS,
    "rsub": lambda input, other, alpha=1: functions.subtract(other, input, alpha=alpha),
    **{name: getattr(places, name) for name in _FUNCTIONS},
    **{name: getattr(compositions, name) for name in _COMPOSED_FUNCTIONS},
    "where": _where_of_torch,
    "concat": places.cat,
    "concatenate": places.cat,
    "tile": places.repeat,
    "view": places.reshape,
    "linalg_vector_norm": _vector_norm,
    "linalg_norm": _linalg_norm,
    "norm": _norm_of_torch,
}


def _over_axis(function: Function, **meant: Any) -> Function:
    """NumPy has its `axis` where torch has `dim`; `meant`: options that it leaves out."""
    return lambda a, axis=None, **options: function(a, axis=axis, **{**meant, **options})


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if isinstance(axis, tuple) or (axis is None and ord is not None and np.ndim(x) > 1):
        return NotImplemented  # of a matrix
    return functions.norm(x, ord, axis, keepdims)


def _where(condition: Any, *both: Any) -> Any:
    return functions.where(condition, *both) if both else NotImplemented


def _cumsum(a: Any, axis: Any = None) -> Any:
    return functions.cumsum(places.flatten(a) if axis is None else a, axis or 0)


def _transpose(a: Any, axes: Any = None) -> Any:
    return places.transpose(a) if axes is None else places.permute(a, axes)


# Of NumPy, beside its ufuncs. NotImplemented: this call is not recorded.
NUMPY: dict[Function, Function] = {
    np.sum: _over_axis(functions.sum),
    np.mean: _over_axis(functions.mean),
    np.prod: _over_axis(functions.prod),
    np.max: _over_axis(functions.amax),
    np.min: _over_axis(functions.amin),
    np.amax: _over_axis(functions.amax),
    np.amin: _over_axis(functions.amin),
    np.var: _over_axis(functions.var, ddof=0),
    np.std: _over_axis(functions.std, ddof=0),
    np.linalg.norm: _norm,
    np.clip: lambda a, a_min=None, a_max=None, min=None, max=None: functions.clamp(
        a, min if a_min is None else a_min, max if a_max is None else a_max
    ),
    np.where: _where,
    np.cumsum: _cumsum,
    np.round: functions.round,
    np.reshape: lambda a, shape: places.reshape(a, shape),
    np.ravel: places.flatten,
    np.squeeze: places.squeeze,
    np.expand_dims: places.unsqueeze,
    np.transpose: _transpose,
    np.swapaxes: places.transpose,
    np.broadcast_to: lambda array, shape: places.expand(array, shape),
    np.dot: functions.matmul,
}
