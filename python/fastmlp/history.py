"""What a training measured, and what a callback learns of it."""

from typing import Protocol

from fastmlp import _core
from fastmlp.losses import Loss
from fastmlp.modules import Module
from fastmlp.optim import Optimizer


class History:
    """What a trainer measured, over all its fits up to the moment when this was taken.

    Attributes
    ----------
    loss : ndarray of float64, shape (epochs,)
        The mean training loss of each epoch, measured before each step's update.
    validation_loss : ndarray of float64, shape (epochs,)
        The loss of the validation data after each epoch; empty if there are none.
    learning_rate : ndarray of float64, shape (epochs,)
        The rate of the optimizer's first group in the last step of each epoch.
    report_step : ndarray of int64
        The number of steps done at each report, one every `eval_interval` steps.
    report_loss : ndarray of float64
        The mean training loss since the report before.
    """

    def __init__(self, native: _core.History) -> None:
        self.loss = native.loss
        self.validation_loss = native.validation_loss
        self.learning_rate = native.learning_rate
        self.report_step = native.report_step
        self.report_loss = native.report_loss

    def __repr__(self) -> str:
        if not len(self.loss):
            return "History(0 epochs)"
        count = f"{len(self.loss)} epoch{'s' if len(self.loss) > 1 else ''}"
        return f"History({count}, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g})"


class Training(Protocol):
    """A `Trainer`, as a callback sees it."""

    model: Module
    optimizer: Optimizer
    loss_fn: Loss

    @property
    def history(self) -> History: ...
    def _network(self) -> _core.Network: ...


class EpochInfo:
    """What a callback learns after each epoch.

    Attributes
    ----------
    epoch : int
        Counted from 0, over all fits of the trainer.
    loss : float
        The mean training loss of the epoch.
    validation_loss : float or None
        The loss of the validation data, if there are any.
    trainer : Trainer
    """

    __slots__ = ("epoch", "loss", "trainer", "validation_loss")

    def __init__(
        self, epoch: int, loss: float, validation_loss: float | None, trainer: Training
    ) -> None:
        self.epoch = epoch
        self.loss = loss
        self.validation_loss = validation_loss
        self.trainer = trainer

    def __repr__(self) -> str:
        validation = self.validation_loss
        return f"EpochInfo(epoch={self.epoch}, loss={self.loss}, validation_loss={validation})"
