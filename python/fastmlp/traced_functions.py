"""What can be done with a value while `forward` is traced: one table, by the names of functions.

torch's functions, NumPy's functions and the methods of tensors find their meaning here. The
activations are those of `nn.functional`, so that each adds the operation that its layer adds.
"""

import math
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.nn import functional
from fastmlp.parameter import Parameter
from fastmlp.symbolic import (
    FUNCTIONS,
    HINTS,
    Rows,
    Shape,
    Symbolic,
    UncompilableError,
    refuse,
)

# Arithmetic ---------------------------------------------------------------------------------------

_OPERANDS = (
    "a layer does this for values of several numbers: Standardize for constants, LayerNorm,"
    " BatchNorm1d or Linear for what is learnt"
)


def _number(what: str, value: Any) -> float:
    """A number that cannot change later, as an array might."""
    if isinstance(value, Rows):
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        shown = "a parameter" if isinstance(value, Parameter) else _checks.show(value)
        wrong = value is None or isinstance(value, str)  # as it stands, too
        refuse(f"{what} {shown}", _OPERANDS, TypeError if wrong else UncompilableError)
    return _checks.real("forward: a number", value)


def _add(left: Any, right: Any, alpha: Any = 1) -> Any:
    right = right if alpha == 1 else _multiply(right, alpha)
    if isinstance(left, Symbolic) and isinstance(right, Symbolic):
        return left.trace.add_sum(left, right)
    value, other = (left, right) if isinstance(left, Symbolic) else (right, left)
    if isinstance(other, Parameter):
        return value.trace.add_parameter(value, None, other)
    return value.trace.add_scaled(value, 1.0, _number("a sum with", other))


def _subtract(left: Any, right: Any, alpha: Any = 1) -> Any:
    if isinstance(right, Symbolic):
        return _add(left, _multiply(right, -1), alpha)
    if isinstance(right, Parameter):
        return _negative(_add(_negative(left), right, alpha))
    return _add(left, -_number("a difference with", right), alpha)


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, Symbolic) and isinstance(right, Symbolic):
        return _product(left, right)
    value, other = (left, right) if isinstance(left, Symbolic) else (right, left)
    if isinstance(other, Parameter):
        return value.trace.add_parameter(value, other, None)
    return value.trace.add_scaled(value, _number("a product with", other), 0.0)


def _product(left: Symbolic, right: Symbolic) -> Any:
    """Of a value and a function of it there are two that are activations."""
    for value, other in ((left, right), (right, left)):
        if other.trace.is_activation_of(other, value, "sigmoid"):
            return functional.silu(value)
        if other.trace.is_activation_of(other, value, "softplus", "tanh"):
            return functional.mish(value)
    refuse("a product of two values", HINTS["mul"])


def _divide(left: Any, right: Any, rounding_mode: Any = None) -> Any:
    if rounding_mode is not None:
        refuse("a rounded quotient")
    if isinstance(right, Symbolic):
        refuse("a quotient by a value", HINTS["mul"])
    divisor = _number("a quotient by", right)
    if divisor == 0:
        refuse("a quotient by 0")
    return left.trace.add_scaled(left, 1 / divisor, 0.0)


def _negative(x: Any) -> Any:
    return _multiply(x, -1)


def _same(x: Any) -> Any:
    return x


# Bounds -------------------------------------------------------------------------------------------


def _clamp(
    x: Any, min: Any = None, max: Any = None, *, a_min: Any = None, a_max: Any = None
) -> Any:
    """As ReLU and Hardtanh: at the bounds themselves the derivative is 0."""
    low, high = (a if b is None else b for a, b in ((min, a_min), (max, a_max)))
    bounds = [None if bound is None else _bound(bound) for bound in (low, high)]
    if bounds == [0.0, None]:
        return functional.relu(x)
    if bounds == [None, None]:
        refuse("clamp without bounds")
    low = -math.inf if bounds[0] is None else bounds[0]
    high = math.inf if bounds[1] is None else bounds[1]
    if not low < high:
        refuse(f"clamp to {low:g} and {high:g}", "the first bound is below the second")
    return x.trace.add("activation", x, "hardtanh", low, high)


def _bound(value: Any) -> float:
    if getattr(value, "shape", None) == () and not isinstance(value, Symbolic):
        value = float(value)  # torch.tensor(0.0), which torch.maximum wants
    if isinstance(value, Symbolic):
        refuse("the larger or smaller of two values", HINTS["mul"])
    return _number("a bound of", value)


def _maximum(left: Any, right: Any) -> Any:
    value, bound = (left, right) if isinstance(left, Symbolic) else (right, left)
    return _clamp(value, min=_bound(bound))


def _minimum(left: Any, right: Any) -> Any:
    value, bound = (left, right) if isinstance(left, Symbolic) else (right, left)
    return _clamp(value, max=_bound(bound))


def _max(x: Any, *others: Any, **options: Any) -> Any:
    if len(others) != 1 or options or isinstance(others[0], int) or not hasattr(others[0], "shape"):
        refuse("a maximum over a dimension", HINTS["max"])
    return _maximum(x, others[0])


# Activations with options of torch's own ----------------------------------------------------------


def _softmax(input: Any, dim: Any = None) -> Any:
    return functional.softmax(input, 1 if dim is None else dim)


def _log_softmax(input: Any, dim: Any = None) -> Any:
    return functional.log_softmax(input, 1 if dim is None else dim)


def _dropout(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, **options: Any
) -> Any:
    return functional.dropout(input, p, options.get("train", training), inplace)


# Shapes -------------------------------------------------------------------------------------------

_SHAPES = "values are rows of features: x.view(x.size(0), -1) makes such of an image"


def _sizes(sizes: tuple[Any, ...]) -> list[Any]:
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list | Shape):
        sizes = tuple(sizes[0])
    return [
        size if isinstance(size, Rows) else _checks.integer("size", size, at_least=-1)
        for size in sizes
    ]


def _view(x: Any, *sizes: Any, shape: Any = None, newshape: Any = None, order: str = "C") -> Any:
    given = shape if newshape is None else newshape
    if order != "C":
        refuse(f"an order of {order!r}")
    wanted = _sizes(sizes if given is None else (given,))
    trace = x.trace
    rows, *rest = wanted or [None]
    first = isinstance(rows, Rows) or trace.is_rows(rows)
    if len(wanted) == 1 and (first or rows == -1):
        return _squeeze(x, -1, _as_vector=True)
    if len(wanted) == 2 and rest[0] == -1 and first:
        return _flattened(x)
    if len(wanted) == 2 and isinstance(rest[0], int) and rest[0] > 0 and (first or rows == -1):
        return _flattened(x, rest[0])
    if first and x.number == 0 and not x.flat and wanted[1:] == list(trace.inner_sizes(x)):
        return x
    refuse(f"a view of sizes {wanted}", _SHAPES)


def _flattened(x: Symbolic, width: int | None = None) -> Symbolic:
    if x.squeezed:
        if width in (None, 1):
            return x.copy(squeezed=False)
        refuse(f"a view of {width} columns of a value of one", _SHAPES)
    flattened: Symbolic = x.trace.add_flatten(x, width)
    return flattened


def _view_as(x: Any, other: Any) -> Any:
    if not isinstance(other, Symbolic):
        refuse(f"a view as {_checks.show(other)}", _SHAPES)
    return _view(x, other.shape)


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    start, end = (_checks.integer("dim", dim, at_least=-(2**31)) for dim in (start_dim, end_dim))
    if start == 0 and end == -1:
        return _view(x, -1)
    if start == 1 and (end == -1 or end == x.ndim - 1):
        return _flattened(x)
    refuse(f"flatten({start_dim}, {end_dim})", "flatten(1) makes rows of features")


def _squeeze(x: Symbolic, dim: Any = None, axis: Any = None, _as_vector: bool = False) -> Any:
    """Take away the dimension of one feature."""
    dim = axis if dim is None else dim
    if x.squeezed:
        return x
    if dim not in (None, 1, -1):
        refuse(f"squeeze({dim})", _SHAPES)
    if x.width != 1:
        if _as_vector:
            refuse("all values in one dimension", _SHAPES)
        return x
    x.trace.need_two_dimensions(x)
    return x.copy(squeezed=True)


def _unsqueeze(x: Symbolic, dim: Any = None, axis: Any = None) -> Any:
    dim = axis if dim is None else dim
    if not (x.squeezed and dim in (1, -1)):
        refuse(f"unsqueeze({dim})", _SHAPES)
    return x.copy(squeezed=False)


def _size(x: Symbolic, dim: Any = None) -> Any:
    return x.shape if dim is None else x.shape[dim]


def _numel(x: Symbolic) -> int:
    return x.shape.numel()


# Dtypes and devices: only what changes nothing ----------------------------------------------------


def _to(
    x: Symbolic, *where: Any, dtype: Any = None, device: Any = None, **options: Any
) -> Symbolic:
    for value in where:
        if value is None or isinstance(value, bool):
            continue
        if isinstance(value, Symbolic):
            continue
        if hasattr(value, "dtype") or _checks.is_dtype(value):
            dtype = getattr(value, "dtype", value)
        else:
            device = value
    if dtype is not None:
        x.trace.keep_dtype(x, _checks.dtype("dtype", dtype))
    if device is not None:
        x.trace.keep_device(x, device)
    return x


def _type(x: Symbolic, dtype: Any = None, *more: Any) -> Symbolic:
    name = getattr(dtype, "__name__", dtype)
    tensors = {"FloatTensor": "float32", "DoubleTensor": "float64"}
    return _to(x, dtype=tensors.get(str(name).split(".")[-1], dtype))


def _copy(x: Symbolic, **options: Any) -> Symbolic:
    return x.copy()


FUNCTIONS.update(
    {
        name: getattr(functional, name)
        for name in (
            *("relu", "leaky_relu", "sigmoid", "tanh", "hardtanh", "gelu", "silu", "elu"),
            *("softplus", "relu6", "selu", "celu", "mish", "hardswish", "hardsigmoid"),
            *("logsigmoid", "softsign", "linear"),
        )
    }
)
FUNCTIONS.update(
    softmax=_softmax,
    log_softmax=_log_softmax,
    dropout=_dropout,
    add=_add,
    sub=_subtract,
    rsub=lambda x, other, alpha=1: _subtract(other, x, alpha),
    mul=_multiply,
    div=_divide,
    neg=_negative,
    tanhshrink=lambda x: _subtract(x, functional.tanh(x)),
    pos=_same,
    clamp=_clamp,
    clamp_min=lambda x, min: _clamp(x, min=min),
    clamp_max=lambda x, max: _clamp(x, max=max),
    maximum=_maximum,
    minimum=_minimum,
    max=_max,
    view=_view,
    view_as=_view_as,
    flatten=_flatten,
    squeeze=_squeeze,
    unsqueeze=_unsqueeze,
    size=_size,
    numel=_numel,
    dim=lambda x: x.ndim,
    to=_to,
    type=_type,
    type_as=lambda x, other: _to(x, dtype=str(other.dtype)),
    float=lambda x: _to(x, dtype="float32"),
    double=lambda x: _to(x, dtype="float64"),
    cpu=lambda x: _to(x, device="cpu"),
    cuda=lambda x, device=None: _to(x, device="cuda"),
    contiguous=_same,
    clone=_copy,
)
_OTHER_NAMES = {
    "clip": "clamp",
    "log_sigmoid": "logsigmoid",
    "special_expit": "sigmoid",
    "expit": "sigmoid",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "subtract": "sub",
    "multiply": "mul",
    "truediv": "div",
    "divide": "div",
    "true_divide": "div",
    "negative": "neg",
    "positive": "pos",
    "fmax": "maximum",
    "fmin": "minimum",
    "reshape": "view",
    "reshape_as": "view_as",
    "ravel": "flatten",
    "shape": "size",
    "ndim": "dim",
    "copy": "clone",
    "squeeze_copy": "squeeze",
}
FUNCTIONS.update({other: FUNCTIONS[name] for other, name in _OTHER_NAMES.items()})

_AFTER = "compute it from what the model returns"
_DECISION = (
    "forward is run once, for all batches, so it cannot decide by their values; decide outside of"
    " the model, or by an attribute of it"
)
_NUMBERS = "forward is run once, before there are numbers; take them from what the model returns"
_CONCATENATE = (
    "Linear layers for each of the parts, whose outputs are added, do what one layer does with the"
    " parts side by side; inputs are put together before the model is called"
)
_REDUCTION = f"{_AFTER}, or in the loss"
_CUT = "cut the input before the model is called, or the output afterwards"
_DETACHED = "layers whose weights shall stay as they are are frozen by requires_grad_(False)"
HINTS.update(
    {
        **dict.fromkeys(("mul", "pow", "square", "matmul", "mm", "bmm", "abs", "exp"), _AFTER),
        **dict.fromkeys(("sqrt", "log", "sin", "cos", "where", "sign", "floor"), _AFTER),
        **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "bool", "any", "all"), _DECISION),
        **dict.fromkeys(("greater", "less", "isnan", "isfinite", "isinf"), _DECISION),
        **dict.fromkeys(("float", "int", "array", "index", "item", "tolist", "numpy"), _NUMBERS),
        **dict.fromkeys(
            ("cat", "concat", "concatenate", "stack", "hstack", "vstack"), _CONCATENATE
        ),
        **dict.fromkeys(("sum", "mean", "max", "min", "norm", "std", "var", "argmax"), _REDUCTION),
        **dict.fromkeys(("getitem", "setitem", "iter", "split", "chunk", "unbind", "T"), _CUT),
        **dict.fromkeys(("detach", "data", "requires_grad"), _DETACHED),
    }
)
HINTS["matmul"] = "a Linear layer, or F.linear(x, weight, bias) with parameters, is such a product"
HINTS["normalize"] = HINTS["layer_norm"] = "LayerNorm is the layer for this"
HINTS.update(
    dict.fromkeys(
        ("alpha_dropout", "feature_dropout", "dropout1d", "feature_alpha_dropout", "bernoulli"),
        "Dropout is the layer that there is for noise",
    )
)
HINTS["randn_like"] = HINTS["rand_like"] = "add noise to the input before the model is called"
HINTS["batch_norm"] = "BatchNorm1d is the layer for this"
HINTS["prelu"] = "PReLU is the layer for this"
