"""torch's functions on tensors and parameters of ours: torch sees the numbers alone.

It gets tensors of its own on their memory, and returns such. Where ours are recorded, its floats
come back as recorded tensors, whose way back is torch's own derivative: all of torch's functions
are thus part of the arithmetic. What cannot come back that way has no gradient, and `backward` of
it says so.
"""

import sys
from functools import partial
from typing import Any, NoReturn

import numpy as np

from fastmlp import _checks
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic.operands import array_of
from fastmlp.arithmetic.tape import Back, Variable, node_of, record, recording


class _Memory:
    """An array's memory without the note that it is read-only, which torch would warn of."""

    def __init__(self, array: Array) -> None:
        self._array = array
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = array.__array_interface__ | {"data": (address, False)}


class _Arguments:
    """Puts torch's tensors in the place of ours, and remembers which."""

    def __init__(self, torch: Any, changing: bool, in_order: bool) -> None:
        self._torch = torch
        self._in_order = in_order
        self._changing = changing
        self._recording = recording() and not changing
        self.pairs: list[tuple[Any, Any]] = []
        self.recorded: list[tuple[Any, Any]] = []
        self.has_torchs_graph = False

    def of_torch(self, value: Any) -> Any:
        """The same, be it within lists, tuples and dicts."""
        if isinstance(value, Tensor | Variable):
            of_graph = self._recording and node_of(value) is not None
            array = array_of(value) if of_graph else np.asarray(value)
            if self._in_order:
                array = np.ascontiguousarray(array)
            if any(stride < 0 for stride in array.strides):
                array = array.copy()
            elif self._changing and not isinstance(value, np.ndarray):
                array = array.copy("C")  # in torch's layout; to be written back
            elif not array.flags.writeable:
                array = np.asarray(_Memory(array))
            pair = value, self._torch.from_numpy(array)
            self.pairs.append(pair)
            if of_graph:
                self.recorded.append(pair)
            return pair[1]
        if isinstance(value, self._torch.Tensor):
            self.has_torchs_graph |= value.requires_grad
        if type(value) in (list, tuple):
            return type(value)(self.of_torch(item) for item in value)
        if type(value) is dict:
            return {key: self.of_torch(item) for key, item in value.items()}
        return value


def is_in_place(name: str) -> bool:
    """Whether torch's function of that name changes its first argument."""
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def fallback(function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """The result of a function of torch's on arguments some of which are ours.

    What the function changes in place is changed; of ours, it returns the object that it got.

    Raises
    ------
    ValueError
        If it would change what is read-only, such as the recorded output of a model.
    """
    torch = sys.modules["torch"]
    options = dict(kwargs or {})
    name = getattr(function, "__name__", "function")
    in_place = is_in_place(name) or bool(options.get("inplace"))
    alike = name.endswith("_like")  # of the same shape, and, with random numbers, the same layout
    arguments = _Arguments(torch, in_place or options.get("out") is not None, alike)
    given, options = arguments.of_torch(tuple(args)), arguments.of_torch(options)
    targets = [options.get("out")]
    if in_place:
        targets += [*given[:1], options.get("input"), options.get("tensor")]
    changed = [(ours, alias) for ours, alias in arguments.pairs if _is_in(alias, targets)]
    if any(isinstance(ours, np.ndarray) and not ours.flags.writeable for ours, _ in changed):
        raise ValueError(
            f"{name}: expected a tensor that may be changed, got a read-only one, such as the"
            f" recorded output of a model; write y = y.{name.rstrip('_')}(...) for a new one, or"
            " change a copy, .detach().clone()"
        )
    recorded = arguments.recorded
    if recorded and arguments.has_torchs_graph:  # two graphs: torch's goes on
        _checks.warn_of_lost("input")
        recorded = []
    for _, alias in recorded:
        alias.requires_grad_()
    result = function(*given, **options)
    for ours, alias in changed:
        if not isinstance(ours, np.ndarray) or min(ours.strides, default=0) < 0:
            ours.copy_(alias.detach())
    for ours, alias in arguments.pairs:
        if result is alias:
            return ours
    if recorded:
        return _of_graph(torch, name, result, recorded)
    if not alike and recording() and any(ours.requires_grad for ours, _ in arguments.pairs):
        known = [*given, *options.values()]
        for new in result if isinstance(result, tuple | list) else [result]:
            if isinstance(new, torch.Tensor) and not _is_in(new, known) and new.is_floating_point():
                new.backward = partial(_refuse_backward, name)
    return result


def _of_graph(torch: Any, name: str, result: Any, operands: list[tuple[Any, Any]]) -> Any:
    """torch's result, in which tensors that depend on the operands are recorded ones of ours."""
    if isinstance(result, tuple | list):
        parts = [_of_graph(torch, name, part, operands) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        return result
    if result.dtype not in (torch.float32, torch.float64):
        result = result.detach()
        result.backward = partial(_refuse_backward, name)
        return result

    def way_back(alias: Any) -> Back:
        def back(gradient: Array) -> Array:
            (part,) = torch.autograd.grad(
                result, alias, torch.tensor(gradient), retain_graph=True, allow_unused=True
            )
            return np.zeros(alias.shape, gradient.dtype) if part is None else part.numpy()

        return back

    values = result.detach().numpy().copy()
    return record(values, *((ours, way_back(alias)) for ours, alias in operands))


def _is_in(value: Any, values: list[Any]) -> bool:
    return any(value is one for one in values)


# torch's methods that tensors have where torch is there; in-place ones write into our memory.
_METHODS = [
    "abs_", "acos", "acosh", "addcdiv", "addcdiv_", "addcmul", "addcmul_", "addmm", "addmv",
    "allclose", "asin", "asinh", "atanh", "baddbmm", "bernoulli", "bernoulli_", "bincount",
    "ceil_", "corrcoef", "count_nonzero", "cov", "cross", "cummax", "cummin", "det", "diag",
    "diag_embed", "diff", "element_size", "equal", "erf", "erfc", "erfinv", "exp_",
    "exponential_", "fill_diagonal_", "floor_", "floor_divide", "fmod", "frac", "histc",
    "index_add_", "index_copy_", "index_fill_", "inner", "inverse", "is_contiguous",
    "is_floating_point", "isclose", "kron", "kthvalue", "lerp", "lerp_", "lgamma", "log_",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "masked_fill_",
    "masked_scatter_", "median", "mode", "movedim", "multinomial", "nan_to_num", "nan_to_num_",
    "nanmean", "nansum", "narrow", "neg_", "new_empty", "new_full", "new_ones", "new_tensor",
    "new_zeros", "pow_", "quantile", "relu_", "renorm", "renorm_",
    "repeat_interleave", "roll", "round_", "scatter", "scatter_", "scatter_add", "scatter_add_",
    "select", "sigmoid_", "sign_", "sqrt_", "square_", "take_along_dim", "tanh_", "tile",
    "tril", "triu", "unflatten", "unfold", "unique", "vdot", "xlogy",
]  # fmt: skip


def _method(name: str) -> Any:
    def method(self: Any, *args: Any, **options: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None:
            raise RuntimeError(f"{name}: torch's own, which needs import torch; or see NumPy's")
        function = getattr(torch.Tensor, name)
        return self.__torch_function__(function, (), (self, *args), options)

    method.__name__, method.__doc__ = name, f"See `torch.Tensor.{name}`."
    return method


METHODS = {name: _method(name) for name in _METHODS}


def _refuse_backward(name: str, *args: Any, **options: Any) -> NoReturn:
    known = name in vars(sys.modules["fastmlp.nn.functional"])
    hint = f"fastmlp.nn.functional.{name}" if known else "fastmlp's functions"
    raise RuntimeError(
        f"backward: torch's {name} got a fastmlp tensor, of whose graph torch knows nothing, and"
        f" gave numbers without a gradient; write {hint}, or arithmetic on the tensor"
    )
