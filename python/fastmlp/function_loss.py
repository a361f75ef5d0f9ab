"""A loss of one's own."""

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._types import Array
from fastmlp.arithmetic import functions, places
from fastmlp.arithmetic.tape import Variable, gradient_of, node_of
from fastmlp.history import Training
from fastmlp.losses import Loss, _identity
from fastmlp.tensor import Tensor, tensor

_EXPECTED = (
    "function: expected a value and its gradient, or a recorded or torch tensor with one value that"
    " depends on y, got {}"
)


class FunctionLoss(Loss):
    """A Python function as a loss, in a loop of one's own and in `Trainer`.

    Parameters
    ----------
    function : callable
        ``function(y, t)`` gets the model's output, of shape (rows, columns) and the model's dtype,
        and the targets of the same rows: real numbers in the model's dtype, integers as int64, in
        any shape whose first dimension is the rows. Either it returns ``(value, gradient)``, a
        number and the array of its derivatives with respect to y; or it is a formula, of this
        package's recorded tensors or of torch's, that returns a tensor with the value.
    torch : bool, optional
        True: it works on torch's tensors; False: on arrays. Without it the function's own code is
        looked at; where that does not tell, it is called with arrays, then with recorded tensors,
        then with torch's, until one gives what is expected.

    Notes
    -----
    `Trainer` calls the function once for each batch and, for validation data, once for all of them.
    An exception in it ends `fit`, the model being what the last whole step has left. Values of
    batches are averaged as means over rows. In a loop of one's own a formula may depend on anything
    that is recorded, such as parameters; in `Trainer`, on y alone.
    """

    function: Callable[[Any, Any], Any]
    _way: str | None
    _fixed = ("function",)

    def __init__(self, function: Callable[[Any, Any], Any], *, torch: bool | None = None) -> None:
        if not callable(function):
            raise TypeError(
                f"function: expected a function of (y, t), got {_checks.show(function)}"
            )
        if isinstance(function, Loss):
            raise TypeError(f"function: expected a function, got {function!r}, a loss by itself")
        if torch is not None:
            torch = _checks.flag("torch", torch)
        super().__init__("mse", "mean", function=function)
        # What it works on, see `_find_way`; None: who knows.
        self.__dict__["_way"] = {True: "torch", False: "arrays", None: None}[torch]
        if torch is None and _uses_torch(function):
            self.__dict__["_way"] = "torch"

    def _checked(self, name: str, value: Any) -> Any:
        if value != "mean":
            raise ValueError(f"{name}: expected 'mean', for the function reduces, got {value!r}")
        return value

    def __repr__(self) -> str:
        return f"FunctionLoss({getattr(self.function, '__qualname__', self.function)})"

    def __call__(self, input: Any, target: Any, sample_weight: Any = None) -> Tensor:
        _refuse_weights(sample_weight)
        if isinstance(input, Variable):
            input = functions.clone(input)
        y = np.array(_conversions.as_array(input, "input"))
        if y.dtype.kind != "f":
            y = y.astype(np.float64)
        t = _targets("target", target, y.dtype)
        if (node := node_of(input)) is None or not _core.recording():
            return _core.known_loss(y, *self._evaluate(y, t))
        known = None
        if self._way is None:
            self.__dict__["_way"], known = self._find_way(y, t)
        if self._way == "recorded":
            value = _value(self.function(input, t))
            return functions.cast(places.reshape(value, ()), np.float64)
        if node is not input or _core.is_leaf(input):  # a gradient is for a network's output
            input = _identity(input)
        return _core.known_loss(input, *(known or self._evaluate(y, t)))

    def _output_gradient(self, y: Array, t: Any) -> Array:
        return self._evaluate(y, _targets("t", t, y.dtype))[1]

    def _of_rows(self, name: str, x: Any, t: Any, sample_weight: Any, dtype: Any) -> "_OfRows":
        """What the native loop calls for each batch of these data."""
        _refuse_weights(sample_weight)
        targets = _targets(name, t, dtype)
        if not hasattr(x, "__len__") or len(targets) != len(x):
            rows = len(x) if hasattr(x, "__len__") else "its"
            raise ValueError(f"{name}: expected {rows} rows like x, got shape {targets.shape}")
        if targets.dtype.kind == "f" and not np.isfinite(targets).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        return _OfRows(self, targets)

    def _evaluate(self, y: Array, t: Array) -> tuple[float, Array]:
        if self._way is None:
            self.__dict__["_way"], first = self._find_way(y, t)
            if first is not None:
                return first
        if self._way == "torch":
            return self._by_torch(y, t)
        if self._way == "arrays":
            return _pair(self.function(y, t), y)
        output = tensor(y, requires_grad=True)
        value = self._recorded(output, t)
        return float(value), gradient_of(value, output)

    def _find_way(self, y: Array, t: Array) -> tuple[str, tuple[float, Array] | None]:
        """What the function works on, and the first call's result where that is of use."""
        refused: Exception | None = None
        try:
            if isinstance(result := self.function(y.copy(), t), tuple):
                return "arrays", _pair(result, y)
        except (TypeError, AttributeError) as error:
            refused = error
        try:
            self._recorded(tensor(y, requires_grad=True), t)
            return "recorded", None
        except Exception as error:
            if "torch" not in sys.modules:
                raise refused or error from None
        try:
            return "torch", self._by_torch(y, t)
        except Exception as error:
            raise refused or error from None

    def _recorded(self, output: Tensor, t: Array) -> Tensor:
        """The value of a formula of a tracked input."""
        before = _core.set_recording(True)
        try:
            return _value(self.function(output, t))
        finally:
            _core.set_recording(before)

    def _by_torch(self, y: Array, t: Array) -> tuple[float, Array]:
        import torch

        output = torch.from_numpy(y).requires_grad_()
        with torch.enable_grad():
            value = self.function(output, torch.from_numpy(t))
            if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
                raise TypeError(_EXPECTED.format(_checks.show(value)))
            (gradient,) = torch.autograd.grad(value.sum(), output)
        return float(value.detach()), gradient.numpy()


class _OfRows:
    """A loss of some rows of a data set."""

    def __init__(self, loss: FunctionLoss, targets: Array) -> None:
        self.loss = loss
        self.targets = targets

    def __call__(self, y: Array, rows: Array | int, wants_gradient: bool) -> tuple[float, Array]:
        """`rows` are row numbers, or the first one's."""
        which = slice(rows, rows + len(y)) if isinstance(rows, int) else rows
        return self.loss._evaluate(y, self.targets[which])


def loss_function(
    trainer: Training, name: str, data: tuple[Any, Any, Any]
) -> Callable[[Array, Array | int, bool], tuple[float, Array]] | None:
    """What the native loop calls for rows of these data, (x, t, sample_weight), if anything."""
    loss_fn = trainer.loss_fn
    x, t, sample_weight = data
    if x is None or not isinstance(loss_fn, FunctionLoss):
        return None
    dtype = next(iter(trainer.model.parameters())).dtype
    return loss_fn._of_rows(name, x, t, sample_weight, dtype)


def _uses_torch(function: Any) -> bool:
    """Whether the function is one of torch's, or its code names something of torch."""

    def of_torch(value: Any) -> bool:
        if isinstance(value, types.ModuleType):
            return value.__name__.partition(".")[0] == "torch"
        module = getattr(value, "__module__", None) or type(value).__module__
        return isinstance(module, str) and module.partition(".")[0] == "torch"

    if of_torch(function) or of_torch(type(function)):
        return True
    function = getattr(function, "__func__", function)  # of a method
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    named = [function.__globals__.get(name) for name in code.co_names]
    for cell in function.__closure__ or ():
        try:
            named.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return "torch" in code.co_names or any(of_torch(value) for value in named)


def _value(result: Any) -> Tensor:
    """A recorded tensor with one value."""
    if not isinstance(result, Tensor) or result.size != 1 or node_of(result) is None:
        raise TypeError(_EXPECTED.format(_checks.show(result)))
    return result


def _pair(result: Any, y: Array) -> tuple[float, Array]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(_EXPECTED.format(_checks.show(result)))
    value = np.asarray(result[0])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise TypeError(f"function: expected a number as the value, got {_checks.show(result[0])}")
    gradient = _conversions.as_array(result[1], "gradient")
    if gradient.shape != y.shape:
        raise ValueError(
            f"gradient: expected shape {y.shape}, like y, from the function, got {gradient.shape}"
        )
    return float(value.reshape(())), gradient


def _targets(name: str, value: Any, dtype: Any) -> Array:
    """Targets as a function gets them."""
    array = _conversions.as_array(value, name)
    if array.ndim == 0:
        raise ValueError(f"{name}: expected a row for each one of the output, got one number")
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=dtype)
    return np.ascontiguousarray(array) if array.dtype.kind == "b" else array.astype(np.int64)


def _refuse_weights(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise ValueError(
            "sample_weight: expected none with a FunctionLoss, whose function does the weighing;"
            " put them into a column of the targets"
        )
