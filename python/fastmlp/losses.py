"""The losses."""

import copyreg
from typing import Any

from fastmlp import _checks, _core
from fastmlp.activations import Identity
from fastmlp.tensor import Tensor

_identity = Identity()


class Loss(_core.Loss):
    """Base of the losses.

    `loss_fn(input, target)` gives a zero-dimensional float64 tensor, because losses are summed in
    double precision; after a model's recorded output it has `backward`. `input` is a model's
    output or any array of shape (rows, columns) or (columns,); `target` is of its shape, but for
    losses of classes, and a vector will do where the input has one column. A call raises
    TypeError if an argument is not made of numbers of the right kind, and ValueError if the shapes
    do not match, or a target is NaN or out of range.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Over all elements, or, for losses of classes, over the rows.
    """

    reduction: str
    _options: tuple[str, ...] = ("reduction",)

    def __init__(self, name: str, reduction: str, **options: float) -> None:
        super().__init__(name, {})
        self.__dict__["_name"] = name
        for option, value in {"reduction": reduction, **options}.items():
            setattr(self, option, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reduction":
            value = _checks.choice(name, value, ("mean", "sum"))
        elif name == "delta":
            value = _checks.real(name, value, above=0)
        elif name not in self.__dict__ and type(self).__module__ == __name__:
            _checks.refuse_attribute(self, name, self._options)
        super().__setattr__(name, value)
        if name in self._options:
            self.set_options(_native({name: value}))

    def to(self, *where: Any, **options: Any) -> "Loss":
        """Nothing to move; here for torch's sake. Returns this loss."""
        return self

    def _of_leaf(self, input: Tensor, target: Any) -> Tensor:
        """The loss of a tracked input: what is recorded has to start from a network's output."""
        return self(_identity(input), target)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), dict(self.__dict__)  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        options = {name: state[name] for name in self._options}
        _core.Loss.__init__(self, state["_name"], _native(options))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


def _native(options: dict[str, Any]) -> dict[str, float]:
    """Options as the native loss takes them: numbers by name."""
    native = dict(options)
    if "reduction" in native:
        native["mean"] = native.pop("reduction") == "mean"
    return native


class MSELoss(Loss):
    """The squared error."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("mse", reduction)


class L1Loss(Loss):
    """The absolute error."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("l1", reduction)


class HuberLoss(Loss):
    """Half the squared error up to delta, linear beyond (Huber, 1964).

    Parameters
    ----------
    reduction : {"mean", "sum"}
    delta : float
        Positive.
    """

    delta: float
    _options = ("reduction", "delta")

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__("huber", reduction, delta=delta)

    def __repr__(self) -> str:
        return f"HuberLoss(reduction={self.reduction!r}, delta={self.delta})"


class BCELoss(Loss):
    """Binary cross entropy of probabilities, targets within [0, 1].

    Logarithms are taken as no less than -100, as in torch, so that the loss stays finite.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("bce", reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of sigmoid(input), targets within [0, 1]."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("bce_with_logits", reduction)


class NLLLoss(Loss):
    """Minus the log-probability of the right class; targets are integers, one a row.

    The input holds log-probabilities, such as `LogSoftmax` gives.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("nll", reduction)


class CrossEntropyLoss(Loss):
    """The cross entropy of softmax(input).

    Targets are class indices (integers, one a row), or probabilities of the input's shape.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__("cross_entropy", reduction)
