"""The losses."""

from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp.activations import Identity
from fastmlp.tensor import Tensor, grad_mode

_identity = Identity()


class Loss:
    """Base of the losses.

    Calling one gives a zero-dimensional float64 tensor, because losses are summed in double
    precision; after a model's recorded output it has `backward`.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Over all elements, or, for losses of classes, over the rows.
    """

    _native: _core.Loss

    def __init__(self, name: str, reduction: str, delta: float = 1.0) -> None:
        self.reduction = _checks.choice("reduction", reduction, ("mean", "sum"))
        self._native = _core.Loss(name, reduction, delta)

    def __call__(self, input: Any, target: Any) -> Tensor:
        """The loss.

        Parameters
        ----------
        input : Tensor or array_like, shape (rows, columns) or (columns,)
            A model's output.
        target : array_like
            Of the input's shape; for losses of classes, see there. A vector will do where the
            input has one column.

        Raises
        ------
        TypeError
            If an argument is not made of numbers of the right kind.
        ValueError
            If the shapes do not match, or a target is NaN or out of range.
        """
        node = input._node if type(input) is Tensor else None
        if node is None or not grad_mode.enabled:
            return np.array(self._native.value(input, target)).view(Tensor)
        if not isinstance(node, _core.Tape):  # a loss has to start from a network's output
            return self(_identity(input), target)
        loss = node.loss(self._native, target)
        result = np.array(loss.value).view(Tensor)
        result._node = loss
        result._source = input._source
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reduction,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


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

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self.delta = _checks.real("delta", delta, above=0)
        super().__init__("huber", reduction, self.delta)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reduction, self.delta)

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
