"""The losses: their base, and those of single values and of classes."""

import copyreg
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._types import Array
from fastmlp.activations import Identity
from fastmlp.arithmetic.compositions import OF_BOTH
from fastmlp.arithmetic.functions import cast, divide
from fastmlp.arithmetic.places import reshape
from fastmlp.arithmetic.tape import node_of
from fastmlp.tensor import Tensor

_identity = Identity()
_REDUCTIONS = ("sum", "mean", "batchmean", "none")  # in the native order


class Loss(_core.Loss):
    """Base of the losses.

    `loss_fn(input, target)` gives a zero-dimensional float64 tensor, because losses are summed in
    double precision; after a model's recorded output it has `backward`. `input` is a model's
    output or any array of shape (rows, columns) or (columns,); `target` is of its shape, but for
    losses of classes, and a vector will do where the input has one column. Of an input of more
    dimensions, classes lie in the second, as in torch. A call raises
    TypeError if an argument is not made of numbers of the right kind, and ValueError if the shapes
    do not match, or a target is NaN or out of range.

    `loss_fn(input, target, sample_weight=w)` counts row r `w[r]` times: a weight of 2 equals a row
    that occurs twice, a weight of 0 its absence. `w` has shape (rows,), finite numbers of at least
    0 and a sum above 0; anything else is a ValueError.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Over all elements, or, for losses of classes, over the rows. A mean divides by the sum of
        the rows' weights (times the columns, over elements), those of their classes included; where
        that sum is 0, because all rows are ignored or of classes without weight, the mean and its
        gradient are 0. "none" gives each element's, or row's, value, times its weights, in the
        input's dtype; its `backward` takes the gradient of each of them.
    """

    reduction: str
    _options: tuple[str, ...] = ("reduction",)  # may be changed
    _fixed: tuple[str, ...] = ()
    _reductions: tuple[str, ...] = ("mean", "sum", "none")
    _of_difference = False  # whether it looks at input - target alone
    # (output, target) -> gradient with respect to the output, where native code does not form it
    _output_gradient: Callable[[Array, Any], Array] | None = None

    def __init__(self, name: str, reduction: str, **options: Any) -> None:
        self.__dict__["_name"] = name
        self.__dict__.update({option: options.pop(option) for option in self._fixed})
        self._start({})
        for option, value in {"reduction": reduction, **options}.items():
            setattr(self, option, value)

    def _start(self, options: dict[str, float]) -> None:
        """Make the native loss."""
        weight, params = (self.__dict__.get(name) for name in ("weight", self._column_option()))
        _core.Loss.__init__(
            self,
            self.__dict__["_name"],
            options,
            () if weight is None else weight,
            () if params is None else params,
            self.__dict__.get("ignore_index"),
        )

    def _column_option(self) -> str:
        return "quantiles" if "quantiles" in self._fixed else "pos_weight"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed:
            raise AttributeError(
                f"{name}: fixed when the loss is made; make a new {type(self).__name__}"
            )
        if name in self._options:
            value = self._checked(name, value)
        elif name not in self.__dict__ and type(self).__module__.startswith("fastmlp."):
            _checks.refuse_attribute(self, name, (*self._options, *self._fixed))
        super().__setattr__(name, value)
        if name in self._options:
            self.set_options(_native({name: value}))

    def _checked(self, name: str, value: Any) -> Any:
        if name == "reduction":
            return _checks.choice(name, value, self._reductions)
        if name == "full":
            return _checks.flag(name, value)
        limits: dict[str, dict[str, float]] = {
            "delta": {"above": 0},
            "label_smoothing": {"at_least": 0, "at_most": 1},
        }
        return _checks.real(name, value, **limits.get(name, {"at_least": 0}))

    def to(self, *where: Any, **options: Any) -> "Loss":
        """Nothing to move; here for torch's sake. Returns this loss."""
        return self

    def _of_recorded(self, input: Tensor, target: Any, sample_weight: Any) -> Tensor:
        """The loss of a tracked input or of arithmetic: it has to be of a network's output."""
        if self._of_difference and input.ndim not in (1, 2) and np.shape(target) == input.shape:
            # Rows of one value each are as good as any shape.
            rows = input.reshape(-1, 1), np.reshape(_conversions.as_array(target, "target"), -1)
            value = self(*rows, sample_weight=sample_weight)
            return value if value.ndim == 0 else reshape(value, input.shape)
        return self(_identity(input), target, sample_weight=sample_weight)

    def _of_recorded_target(self, input: Any, target: Tensor, sample_weight: Any) -> Any:
        """A target that is differentiated, too, where the loss has a formula for that."""
        values = target.detach()
        if not self._of_difference:
            if node_of(input) is None:
                raise TypeError(
                    "target: expected values to compare with, got the recorded output of a model;"
                    " the order is loss_fn(output, target)"
                )
            if (formula := self._formula(input, target, sample_weight)) is not None:
                self(input.detach(), values)  # raises, unless it fits
                y = formula(input, target)
                if self.reduction == "none":
                    return y
                parts = {"sum": 1, "mean": y.size, "batchmean": len(y)}[self.reduction]
                return divide(cast(y, np.float64).sum(), max(int(parts), 1))
            _core.set_lost(values, True)
            _core.warn_if_lost(values, "target")
            return self(input, target.detach(), sample_weight=sample_weight)
        shape = np.shape(input)
        if target.shape != shape:
            self(_conversions.as_array(input, "input"), values)  # raises, unless it fits
            target = target.reshape(shape)
        difference = input - target
        zeros = np.zeros(shape, difference.dtype)
        return self(difference, zeros, sample_weight=sample_weight)

    def _formula(self, input: Any, target: Tensor, sample_weight: Any) -> Any:
        """Of the loss without weights and smoothing, and of a target of the input's shape."""
        weights = sample_weight, self.__dict__.get("weight"), self.__dict__.get("pos_weight")
        if self.__dict__.get("label_smoothing") or any(w is not None for w in weights):
            return None
        return OF_BOTH.get(self.__dict__["_name"]) if np.shape(input) == target.shape else None

    def _of_more_dimensions(self, input: Any, target: Any, sample_weight: Any) -> Tensor:
        """The loss of more dimensions than two; the classes lie in the second, as in torch."""
        if sample_weight is not None:
            raise ValueError(
                f"sample_weight: expected none for an input of shape {input.shape}, got some"
            )
        name = self.__dict__["_name"]
        if name in ("gaussian_nll", "quantile") or self.reduction == "batchmean":
            raise ValueError(
                f"input: expected shape (rows, columns) for this loss, got {input.shape}"
            )
        values = target if isinstance(target, Tensor) else _conversions.as_array(target, "target")
        shape = input.shape
        if name in ("nll", "cross_entropy"):
            order, outer = (0, *range(2, len(shape)), 1), shape[:1] + shape[2:]
            rows = input.transpose(order).reshape(-1, shape[1])
            if values.shape == shape:
                values = values.transpose(order).reshape(-1, shape[1])
            elif values.shape != outer:
                raise ValueError(f"target: expected shape {outer} of classes, got {values.shape}")
            else:
                values = values.reshape(-1)
            result = self(rows, values)
            return result.reshape(outer) if result.ndim else result
        if values.shape != shape:
            raise ValueError(f"target: expected shape {shape}, as the input's, got {values.shape}")
        result = self(input.reshape(-1, shape[-1]), values.reshape(-1, shape[-1]))
        return result.reshape(shape) if result.ndim else result

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), dict(self.__dict__)  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start(_native({name: state[name] for name in self._options}))

    def __repr__(self) -> str:
        fixed = {name: self.__dict__[name] for name in self._fixed}
        shown = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in fixed.items()
            if value is not None
        }
        options = {name: self.__dict__[name] for name in self._options}
        parts = [f"{name}={value!r}" for name, value in {**shown, **options}.items()]
        return f"{type(self).__name__}({', '.join(parts)})"


def _native(options: dict[str, Any]) -> dict[str, float]:
    """Options as the native loss takes them: numbers by name."""
    native = dict(options)
    if "reduction" in native:
        native["reduction"] = _REDUCTIONS.index(native["reduction"])
    return native


def vector(name: str, value: Any, *, scalar: bool = False, **limits: float) -> Array | None:
    """Numbers in the given range, as a read-only array of one dimension; None stays None."""
    if value is None:
        return None
    array = _conversions.as_array(value, name)
    if array.dtype.kind == "b":
        raise TypeError(f"{name}: expected numbers, got booleans")
    if not (array.ndim == 1 or (scalar and array.ndim == 0)) or array.size == 0:
        expected = "a number or a vector" if scalar else "a vector"
        raise ValueError(f"{name}: expected {expected} of numbers, got shape {array.shape}")
    for i, number in enumerate(array.reshape(-1)):
        _checks.real(f"{name}[{i}]" if array.ndim else name, number, **limits)
    result = np.array(array.reshape(-1), dtype=np.float64)
    result.flags.writeable = False
    return result


def _ignored(value: Any) -> int:
    return _checks.integer("ignore_index", value, at_least=-(2**63))


class MSELoss(Loss):
    """The squared error."""

    _of_difference = True

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("mse", reduction)


class L1Loss(Loss):
    """The absolute error."""

    _of_difference = True

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("l1", reduction)


class HuberLoss(Loss):
    """Half the squared error up to delta, linear beyond (Huber, 1964).

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    delta : float
        Positive.
    """

    delta: float
    _options = ("reduction", "delta")
    _of_difference = True

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__("huber", reduction, delta=delta)


class SmoothL1Loss(Loss):
    """`HuberLoss(delta=beta)` divided by beta (Girshick, 2015); with a beta of 0, `L1Loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    beta : float
        At least 0.
    """

    beta: float
    _options = ("reduction", "beta")
    _of_difference = True

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__("smooth_l1", reduction, beta=beta)


class BCELoss(Loss):
    """Binary cross entropy of probabilities, targets within [0, 1].

    Logarithms are taken as no less than -100, as in torch, so that the loss stays finite.

    Parameters
    ----------
    weight : array_like, shape (columns,), optional
        What the elements of each column are multiplied by; a single number stands for all columns.
        A mean still divides by the number of elements. Fixed.
    reduction : {"mean", "sum", "none"}
    """

    weight: Array | None
    _fixed = ("weight",)

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        weight = vector("weight", weight, scalar=True, at_least=0)
        super().__init__("bce", reduction, weight=weight)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of sigmoid(input), targets within [0, 1].

    Parameters
    ----------
    weight : array_like, shape (columns,), optional
        As for `BCELoss`.
    reduction : {"mean", "sum", "none"}
    pos_weight : array_like, shape (columns,), optional
        What the term of targets of 1 is multiplied by, for each column, or a single number for all
        of them. Fixed.
    """

    weight: Array | None
    pos_weight: Array | None
    _fixed = ("weight", "pos_weight")

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(
            "bce_with_logits",
            reduction,
            weight=vector("weight", weight, scalar=True, at_least=0),
            pos_weight=vector("pos_weight", pos_weight, scalar=True, at_least=0),
        )


class NLLLoss(Loss):
    """Minus the log-probability of the right class; targets are integers, one a row.

    The input holds log-probabilities, such as `LogSoftmax` gives.

    Parameters
    ----------
    weight : array_like, shape (classes,), optional
        What the rows of each class count. Fixed.
    ignore_index : int
        Rows with this target count nothing. Fixed.
    reduction : {"mean", "sum", "none"}
    """

    weight: Array | None
    ignore_index: int
    _fixed = ("weight", "ignore_index")

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        weight = vector("weight", weight, at_least=0)
        super().__init__("nll", reduction, weight=weight, ignore_index=_ignored(ignore_index))


class CrossEntropyLoss(Loss):
    """The cross entropy of softmax(input).

    Targets are class indices (integers, one a row), or probabilities of the input's shape.

    Parameters
    ----------
    weight : array_like, shape (classes,), optional
        What each class's term is multiplied by. With class indices a mean divides by the weights of
        the rows' classes, with probabilities by the rows, as in torch. Fixed.
    ignore_index : int
        Rows with this class index count nothing. Fixed.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        From 0 to 1: the share of the uniform distribution that is mixed into the targets (Szegedy
        et al., 2016).
    """

    weight: Array | None
    ignore_index: int
    label_smoothing: float
    _options = ("reduction", "label_smoothing")
    _fixed = ("weight", "ignore_index")

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            "cross_entropy",
            reduction,
            weight=vector("weight", weight, at_least=0),
            ignore_index=_ignored(ignore_index),
            label_smoothing=label_smoothing,
        )
