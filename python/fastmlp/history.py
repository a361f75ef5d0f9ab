"""What a training measured, and what a callback learns of it."""

import html
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fastmlp import _core, pages
from fastmlp._types import Floats
from fastmlp.losses import Loss
from fastmlp.modules import Module
from fastmlp.optim import Optimizer

_NATIVE = ("_losses", "_validation_losses", "_rates", "_times")


class History:
    """What a trainer measured, over all its fits up to the moment when this was taken.

    Attributes
    ----------
    loss : ndarray of float64, shape (epochs,)
        The mean training loss of each epoch, measured before each step's update.
    validation_loss : ndarray of float64, shape (epochs,)
        The loss of the validation data after each epoch; NaN where an epoch had none, and empty if
        none had.
    metrics : dict of str to ndarray of float64, shape (epochs,)
        Of the validation data after each epoch, likewise.
    learning_rate : ndarray of float64, shape (epochs,)
        The rate of the optimizer's first group in the last step of each epoch.
    epoch_time : ndarray of float64, shape (epochs,)
        How many seconds each epoch took, with its validation and the callbacks before it. Epochs
        that ran in one native call share its time evenly.
    best_epoch : int or None
        The one that early stopping has found to be the best. Without it, the one with the smallest
        validation loss or, if there is none, training loss. None if there is no such number.
    report_step : ndarray of int64
        The number of batches done at each report, one every `eval_interval` batches.
    report_loss : ndarray of float64
        The mean training loss since the report before.
    """

    def __init__(self, native: _core.History, best_epoch: int | None = None) -> None:
        # Curves are copied when somebody asks for them: a fit of a few epochs after a million
        # others should not wait for that.
        self._losses, self._validation_losses = native.loss, native.validation_loss
        self._rates, self._times = native.learning_rate, native.epoch_time
        self._best_epoch = best_epoch
        self._epochs = len(self._losses)
        self.metrics = {
            name: _padded(values, self._epochs) for name, values in native.metrics.items()
        }
        self.report_step = native.report_step
        self.report_loss = native.report_loss

    @cached_property
    def loss(self) -> Floats:
        return self._losses.values()

    @cached_property
    def validation_loss(self) -> Floats:
        return _padded(self._validation_losses.values(), self._epochs)

    @cached_property
    def learning_rate(self) -> Floats:
        return self._rates.values()[: self._epochs]

    @cached_property
    def epoch_time(self) -> Floats:
        return self._times.values()[: self._epochs]

    @cached_property
    def best_epoch(self) -> int | None:
        if self._best_epoch is not None:
            return self._best_epoch
        validated = _smallest(self.validation_loss)
        return _smallest(self.loss) if validated is None else validated

    def __getstate__(self) -> dict[str, Any]:
        computed = ("loss", "validation_loss", "learning_rate", "epoch_time", "best_epoch")
        own = {k: v for k, v in self.__dict__.items() if k not in _NATIVE}
        return {**own, **{name: getattr(self, name) for name in computed}}

    def to_dict(self) -> dict[str, list[Any]]:
        """The curves over the epochs, as lists, by name; those of metrics beside the others.

        Curves that were not measured are left out.
        """
        curves = {"loss": self.loss, "validation_loss": self.validation_loss, **self.metrics}
        curves |= {"learning_rate": self.learning_rate, "epoch_time": self.epoch_time}
        measured = {name: values.tolist() for name, values in curves.items() if len(values)}
        return {"epoch": list(range(self._epochs)), **measured}

    def to_pandas(self) -> Any:
        """The curves as a pandas DataFrame, whose index is the epoch.

        Raises
        ------
        ImportError
            If pandas is missing (it comes with the extra "pandas").
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(
                "to_pandas() needs pandas: pip install pandas, or fastmlp[pandas]"
            ) from error
        return pd.DataFrame(self.to_dict()).set_index("epoch")

    def _repr_html_(self) -> str:
        """A table of the curves, for notebooks."""
        if not self._epochs:
            return html.escape(repr(self))
        curves = {"loss": self.loss, "validation_loss": self.validation_loss, **self.metrics}
        curves["learning_rate"] = self.learning_rate
        measured = {name: values for name, values in curves.items() if len(values)}
        return pages.history(measured, float(np.sum(self.epoch_time)), self.best_epoch)

    def __repr__(self) -> str:
        if not self._epochs:
            return "History(0 epochs)"
        count = f"{self._epochs} epoch{'s' if self._epochs > 1 else ''}"
        return f"History({count}, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g})"


def _padded(values: Floats, epochs: int) -> Floats:
    """With NaN for the last epochs, if they have none; the core knows nothing of those.

    Of epochs that a fit in another thread has added meanwhile there is nothing.
    """
    if len(values) == 0 or len(values) >= epochs:
        return values[:epochs]
    return np.concatenate([values, np.full(epochs - len(values), np.nan)])


def _smallest(values: Floats) -> int | None:
    return None if np.isnan(values).all() else int(np.nanargmin(values))


class Training(Protocol):
    """A `Trainer`, as a callback sees it."""

    model: Module
    optimizer: Optimizer
    loss_fn: Loss
    on_nonfinite: str

    @property
    def history(self) -> History: ...
    def save(self, path: str) -> None: ...
    def _under_way(self) -> Any: ...
    def _network(self) -> _core.Network: ...


class EpochInfo:
    """What a callback learns of an epoch: after it or, of its beginning, the number alone.

    Attributes
    ----------
    epoch : int
        Counted from 0, over all fits of the trainer.
    loss : float
        The mean training loss of the epoch; NaN before it.
    validation_loss : float or None
        The loss of the validation data, if there are any.
    metrics : dict of str to float
        Those of the validation data.
    trainer : Trainer
    """

    __slots__ = ("epoch", "loss", "metrics", "trainer", "validation_loss")

    def __init__(
        self,
        epoch: int,
        loss: float,
        validation_loss: float | None,
        trainer: Training,
        metrics: dict[str, float],
    ) -> None:
        self.epoch = epoch
        self.metrics = metrics
        self.loss = loss
        self.validation_loss = validation_loss
        self.trainer = trainer

    def __repr__(self) -> str:
        metrics = "".join(f", {name}={value}" for name, value in self.metrics.items())
        return (
            f"EpochInfo(epoch={self.epoch}, loss={self.loss},"
            f" validation_loss={self.validation_loss}{metrics})"
        )

    def value(self, name: str) -> float:
        """The loss, the validation loss or a metric, by name.

        Raises
        ------
        ValueError
            If it has not been measured.
        """
        measured = {"loss": self.loss, **self.metrics}
        if self.validation_loss is not None:
            measured["validation_loss"] = self.validation_loss
        if name not in measured:
            raise ValueError(
                f"monitor: expected one of {', '.join(measured)}, which are measured, got {name!r}"
            )
        return measured[name]
