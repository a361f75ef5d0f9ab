"""How operators, methods, NumPy's and torch's functions on tensors and parameters come here.

What is not recorded is left to NumPy: a result that should have had a graph is marked as lost, so
that a model that gets it warns.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks, _core, torch_functions
from fastmlp._core import Tensor
from fastmlp.arithmetic import places
from fastmlp.arithmetic.names import METHODS, NUMPY, OPERATORS, TORCH
from fastmlp.arithmetic.tape import Variable, node_of, recording
from fastmlp.tensor_methods import check_writable, install

# Options of NumPy's that no recorded function has.
_NUMPY_ONLY = frozenset(["out", "where", "initial", "dtype", "order", "casting", "subok"])


class Arithmetic(Variable):
    """Variables that one computes with as with tensors."""

    __slots__ = ()

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _array_function(self, func, types, args, kwargs)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        return _array_ufunc(self, ufunc, method, *inputs, out=out, **options)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _torch_function(cls, func, types, args, kwargs)


# What is not recorded -----------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Arrays in the place of tensors and variables, also within lists."""
    if isinstance(value, Tensor | Variable):
        return np.asarray(value)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_plain(part) for part in value)
    return value


def _is_of_graph(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_of_graph(part) for part in value)
    return node_of(value) is not None or _core.is_lost(value)


def _wrapped(result: Any, lost: bool) -> Any:
    """Arrays as tensors, which are lost if they should have had a graph."""
    if isinstance(result, list | tuple) and type(result) in (list, tuple):
        return type(result)(_wrapped(part, lost) for part in result)
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if not isinstance(result, np.ndarray):
        return result
    tensor = result.view(Tensor)
    if tensor.dtype.kind == "f":
        _core.set_lost(tensor, lost)
    return tensor


def unrecorded(function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """What NumPy computes."""
    values = [*args, *options.values()]
    taken = not function.__name__.endswith("_like")
    lost = taken and recording() and any(_is_of_graph(value) for value in values)
    named = {name: _plain(value) for name, value in options.items()}
    return _wrapped(function(*_plain(tuple(args)), **named), lost)


# NumPy --------------------------------------------------------------------------------------------


def _array_ufunc(
    self: Any, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
) -> Any:
    if method == "__call__" and not out and not options:
        function = METHODS.get(ufunc.__name__)
        if function is not None:
            return function(*inputs)
    if not out:
        return unrecorded(getattr(ufunc, method), inputs, options)
    result = unrecorded(getattr(ufunc, method), inputs, {**options, "out": out})
    for target in out:
        _mark(target, inputs)
    return out[0] if len(out) == 1 else result


def _mark(target: Any, values: Any) -> None:
    """Values were written into an array: a tensor's graph does not know of it."""
    if isinstance(target, Tensor) and recording() and _is_of_graph(tuple(values)):
        _core.set_lost(target, True)


def _array_function(self: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    function = NUMPY.get(func)
    options = {name: value for name, value in kwargs.items() if value is not np._NoValue}
    if function is not None and not _NUMPY_ONLY & options.keys():
        result = function(*args, **options)
        if result is not NotImplemented:
            return result
    return unrecorded(func, args, kwargs)


# torch --------------------------------------------------------------------------------------------


_TORCH_DIMENSIONS = {"axis": "dim", "keepdims": "keepdim"}  # which torch takes as NumPy's names


def _torch_function(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    if any(issubclass(kind, _core.Symbolic) for kind in types):
        return NotImplemented  # what is traced is part of a program
    name = getattr(func, "__name__", "")
    function = TORCH.get(name) or vars(sys.modules["fastmlp"].nn.functional).get(name)
    options = {
        _TORCH_DIMENSIONS.get(option, option): value
        for option, value in (kwargs or {}).items()
        if value is not None and option not in ("_stacklevel", "inplace")
    }
    if getattr(func, "__module__", "") == "torch.autograd":
        raise RuntimeError(
            f"torch.autograd.{name}: torch knows nothing of the graph of fastmlp's tensors; write"
            " loss.backward() and read the gradients of parameters and inputs, p.grad"
        )
    of_graph = recording() and any(map(_is_of_graph, args[1:]))
    if name == "__setitem__" and of_graph:
        _checks.warn_of_lost("value")  # a part of torch's tensor, whose other parts may be numbers
    elif torch_functions.is_in_place(name) and of_graph:
        raise RuntimeError(
            f"{name}: torch's tensors cannot be changed in place by a recorded tensor of fastmlp;"
            " write total = total + loss, or .detach()"
        )
    if function is not None and {"out", "dtype"}.isdisjoint(options):
        result = function(*args, **options)
        if result is not NotImplemented:
            return result
    return torch_functions.fallback(func, types, args, kwargs or {})


# Methods ------------------------------------------------------------------------------------------


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **options: Any) -> Any:
        if _NUMPY_ONLY.isdisjoint(options):
            return function(self, *args, **options)
        return unrecorded(getattr(np.ndarray, name), (self, *args), options)

    method.__name__, method.__doc__ = name, function.__doc__
    return method


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(self: Any, *other: Any) -> Any:
        if other and isinstance(other[0], _core.Symbolic):
            return NotImplemented  # what is traced is part of a program
        if other and getattr(other[0], "__array_ufunc__", self) is None:
            return NotImplemented  # NumPy's way to say that the other one decides
        return function(self, *other)

    return operator


def _in_place(name: str) -> Callable[..., Any]:
    """`y += 1`: a new tensor in the place of a recorded one, whose values others may need."""
    plain, recorded = getattr(np.ndarray, f"__i{name}__"), OPERATORS[f"__{name}__"]

    def operator(self: Any, other: Any) -> Any:
        if not recording() or (node_of(self) is None and node_of(other) is None):
            check_writable(self)
            return plain(self, _plain(other))
        if not _core.is_leaf(self):
            return recorded(self, other)
        if node_of(other) is not None:
            raise RuntimeError(
                "an input that is tracked for its gradient cannot be changed in place by a recorded"
                " tensor; write x = x + ..., or fm.no_grad()"
            )
        return plain(self, _plain(other))

    return operator


def _getitem(self: Any, place: Any) -> Any:
    if node_of(self) is not None and recording():
        return places.getitem(self, place)
    return np.ndarray.__getitem__(self, place) if isinstance(self, Tensor) else self.detach()[place]


def _setitem(self: Tensor, place: Any, value: Any) -> None:
    check_writable(self)
    np.ndarray.__setitem__(self, place, value)
    target: Any = self
    while isinstance(target, np.ndarray):
        _mark(target, (value,))
        target = target.base


def _iter(self: Any) -> Any:
    # Single elements, too, are tensors, and have their methods; y[i] is NumPy's, as an index of
    # torch's tensors has to be.
    return (self[i, ...] for i in range(len(self)))


def _len(self: Tensor) -> int:
    if not self.ndim:  # torch.tensor([loss, loss]) comes here, too
        raise TypeError(
            "expected a tensor with dimensions, got one without, which has no length; write"
            " .item() for its number, and fm.stack, or torch.stack, for several in one tensor"
        )
    return self.shape[0]


def _hash(self: Tensor) -> int:
    """That of its number, to which a single element is equal."""
    if self.ndim:
        raise TypeError("expected a hashable value, got a tensor with dimensions")
    return hash(self.item())


def _view(self: Any, *shape: Any, **options: Any) -> Any:
    """The same values in another shape; NumPy's meaning with a dtype or a class."""
    if options or not shape or isinstance(shape[0], type | str | np.dtype):
        return np.ndarray.view(self, *shape, **options)
    return places.reshape(self, *shape)


def _retain_grad(self: Tensor) -> None:
    """Let backward leave this tensor's own gradient in `grad`, too; for results of arithmetic."""
    node = node_of(self)
    if node is self:
        if not _core.is_leaf(self):
            raise RuntimeError("retain_grad: expected a result of arithmetic, such as (y * 1)")
    elif node is None:
        raise RuntimeError("retain_grad: expected a recorded tensor")
    else:
        node.keeps_grad = True  # type: ignore[union-attr]


def _set_up() -> None:
    members: dict[str, Any] = {name: _method(name, f) for name, f in METHODS.items()}
    members |= torch_functions.METHODS
    members |= {name: _operator(function) for name, function in OPERATORS.items()}
    members |= {"__getitem__": _getitem, "__iter__": _iter, "T": property(places.transpose)}
    members["mT"] = property(lambda self: places.transpose(self, -2, -1))
    for name, member in members.items():
        setattr(Arithmetic, name, member)
        install(name, member)
    for name in ("add", "sub", "mul", "truediv", "pow"):
        install(f"__i{name}__", _in_place(name))
    install("__setitem__", _setitem)
    install("__len__", _len)
    install("__hash__", _hash)
    Arithmetic.view = places.reshape  # type: ignore[attr-defined]
    install("view", _view)
    install("retain_grad", _retain_grad)
    install("__array_ufunc__", _array_ufunc)
    install("__array_function__", _array_function)
    install("__torch_function__", classmethod(_torch_function))


_set_up()
_core.set_variable_type(Variable)
