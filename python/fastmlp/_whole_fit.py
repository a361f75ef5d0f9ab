"""The steps of a fit by a method that looks at all rows, several times."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp._data import to_host
from fastmlp._types import Array
from fastmlp.history import Training
from fastmlp.layers import Dropout
from fastmlp.levenberg_marquardt import LevenbergMarquardt
from fastmlp.losses import MSELoss
from fastmlp.normalization import BatchNorm1d
from fastmlp.whole_batch import WholeBatchOptimizer

_PIECE = 1 << 23  # derivatives that are held at once


class Unasked(int):
    """A batch size that nobody has asked for; methods that need all rows take all of them."""


ALL_ROWS_OR_32 = Unasked(32)


def check_fit(
    trainer: Any, x: Any, t: Any, batch_size: Any, accumulate: int, max_grad: float | None
) -> None:
    """Errors for what such an optimizer cannot do; other optimizers can do everything."""
    optimizer = trainer.optimizer
    if not isinstance(optimizer, WholeBatchOptimizer):
        return
    kind = type(optimizer).__name__
    if t is None:
        raise ValueError(f"x: expected all rows at once with {kind}, got batches")
    rows = x.shape[0] if hasattr(x, "shape") else len(x)
    if batch_size is not None and not isinstance(batch_size, Unasked) and batch_size < rows:
        raise ValueError(
            f"batch_size: expected None with {kind}, whose steps need all {rows} rows, got"
            f" {batch_size}"
        )
    if accumulate != 1:
        raise ValueError(f"accumulate: expected 1 with {kind}, got {accumulate}")
    if max_grad is not None:
        raise ValueError(f"max_grad: expected None with {kind}, got {max_grad}")
    if trainer.scheduler is not None:
        raise ValueError(
            f"scheduler: expected None with {kind}, whose steps find their lengths themselves, got"
            f" a {type(trainer.scheduler).__name__}"
        )
    if any(isinstance(module, Dropout) and module.p > 0 for module in trainer.model.modules()):
        raise ValueError(
            f"model: expected no Dropout with {kind}, for which the loss has to stay the same"
            " between evaluations; set its p to 0"
        )
    if isinstance(optimizer, LevenbergMarquardt):
        if not isinstance(trainer.loss_fn, MSELoss):
            raise ValueError(
                f"loss_fn: expected MSELoss with {kind}, got a {type(trainer.loss_fn).__name__}"
            )
        if any(isinstance(module, BatchNorm1d) for module in trainer.model.modules()):
            raise ValueError(f"model: expected rows that stand alone with {kind}, got BatchNorm1d")


def own_step(trainer: Any, x: Any, t: Any, weights: Any) -> Callable[[], float] | None:
    """What takes an epoch's step; None where native code does."""
    optimizer = trainer.optimizer
    if not isinstance(optimizer, LevenbergMarquardt):
        return None
    dtype = optimizer.parameters[0].dtype
    x, t = _converted("x", x, dtype), _converted("t", t, dtype)
    problem = MeanSquares(trainer, optimizer, x, t, weights)
    return lambda: optimizer._advance(problem)


def _converted(name: str, data: Any, dtype: Any) -> Array:
    """As the model and the loss take it, so that no evaluation converts it again."""
    array = to_host(name, data)
    is_number = array.dtype.kind == "f" or name == "x"
    return np.ascontiguousarray(array, dtype if is_number else None)


class MeanSquares:
    """MSELoss of a model as the squares of residuals."""

    def __init__(
        self, trainer: Training, optimizer: LevenbergMarquardt, x: Array, t: Array, weights: Any
    ) -> None:
        self._trainer, self._optimizer = trainer, optimizer
        self._x = x
        self._t = t.reshape(len(x), -1)
        self._weights = None if weights is None else to_host("sample_weight", weights)

    def loss(self) -> float:
        y = self._trainer.model.predict(self._x)
        self._r = (y.astype(np.float64) - self._t) * self._scale(y.shape[1])
        return float(np.vdot(self._r, self._r))

    def normal(self) -> tuple[Array, Array]:
        """A piece of the rows at a time."""
        network = self._trainer._network()
        moved = self._optimizer._moved()
        native = [parameter._native for parameter in moved]
        count = sum(parameter.size for parameter in moved)
        matrix, gradient = np.zeros((count, count)), np.zeros(count)
        rows, outputs = self._r.shape
        scale = np.broadcast_to(self._scale(outputs), (rows, 1))
        piece = max(1, _PIECE // (count * outputs))
        for first in range(0, rows, piece):
            own = slice(first, first + piece)
            j = network.weight_jacobian(self._x[own], native) * scale[own, :, None]
            j = j.reshape(-1, count).astype(np.float64, copy=False)
            matrix += j.T @ j
            gradient += j.T @ self._r[own].ravel()
        return matrix, gradient

    def _scale(self, outputs: int) -> Array:
        """The roots of what each row's squares count in the loss."""
        rows = len(self._x)
        weights = np.ones(rows) if self._weights is None else self._weights.astype(np.float64)
        reduction = self._trainer.loss_fn.reduction
        share = outputs * weights.sum() if reduction == "mean" else 1.0
        return np.asarray(np.sqrt(weights / share))[:, None]
