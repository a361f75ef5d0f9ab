"""Training in native code: epochs, mini-batches, validation, callbacks."""

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastmlp import _checks, _core, seeds
from fastmlp.losses import CrossEntropyLoss, Loss
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.progress import Progress, progress_stream


class History:
    """What a trainer measured, over all its fits up to the moment when this was taken.

    Attributes
    ----------
    loss : ndarray of float64, shape (epochs,)
        The mean training loss of each epoch, measured before each step's update.
    validation_loss : ndarray of float64, shape (epochs,)
        The loss of the validation data after each epoch; empty if there are none.
    report_step : ndarray of int64
        The number of steps done at each report, one every `eval_interval` steps.
    report_loss : ndarray of float64
        The mean training loss since the report before.
    """

    def __init__(self, native: _core.History) -> None:
        self.loss = native.loss
        self.validation_loss = native.validation_loss
        self.report_step = native.report_step
        self.report_loss = native.report_loss

    def __repr__(self) -> str:
        if not len(self.loss):
            return "History(0 epochs)"
        return f"History({len(self.loss)} epochs, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g})"


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
        self, epoch: int, loss: float, validation_loss: float | None, trainer: "Trainer"
    ) -> None:
        self.epoch = epoch
        self.loss = loss
        self.validation_loss = validation_loss
        self.trainer = trainer

    def __repr__(self) -> str:
        validation = self.validation_loss
        return f"EpochInfo(epoch={self.epoch}, loss={self.loss}, validation_loss={validation})"


Callback = Callable[[EpochInfo], Any]


class Trainer:
    """Trains a model in native code.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
        Holds parameters of the model; those that it does not hold stay as they are.
    loss_fn : Loss, optional
        CrossEntropyLoss() if there is none.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the optimizer holds no parameter of the model.
    """

    def __init__(self, model: Module, optimizer: Optimizer, loss_fn: Loss | None = None) -> None:
        loss_fn = CrossEntropyLoss() if loss_fn is None else loss_fn
        for name, value, kind in (
            ("model", model, Module),
            ("optimizer", optimizer, Optimizer),
            ("loss_fn", loss_fn, Loss),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name}: expected a {kind.__name__}, got {_checks.show(value)}")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self._history = _core.History()
        self._seed: int | None = None  # drawn by the first fit without one
        self._checked: tuple[int, Module, Optimizer] | None = None
        self._check_parameters()

    @property
    def history(self) -> History:
        """What was measured so far; also after an interrupted fit."""
        return History(self._history)

    def fit(
        self,
        x: Any,
        t: Any,
        max_epoch: int = 10,
        batch_size: int | None = 32,
        max_grad: float | None = None,
        eval_interval: int = 20,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | str = "auto",
    ) -> History:
        """Train for a number of epochs; a second fit goes on from the first.

        The model is in training mode meanwhile, and in its own mode afterwards.

        Parameters
        ----------
        x : array_like, shape (rows, in_features)
            Converted once to the model's dtype, if needed, and copied once to its device.
        t : array_like
            Targets, as the loss takes them. With a model on a CUDA device, x, t and the
            validation data may each lie there: arrays of torch, CuPy and whatever else has
            `__cuda_array_interface__` or `__dlpack__`, C-contiguous, of the model's dtype (classes
            of int64), which are not copied. The work goes to the stream that is current in torch or
            CuPy, unless that is a default one, and is done when this returns.
        max_epoch : int
            How many epochs to train.
        batch_size : int or None
            Rows in a step; the last batch may have fewer. None takes all rows.
        max_grad : float, optional
            Limit of the gradient's norm over all parameters; see `clip_grad_norm_`.
        eval_interval : int
            Steps between two values of `report_loss`.
        validation_data : (array_like, array_like), optional
            Inputs and targets whose loss is measured after each epoch, without dropout.
        shuffle : bool
            Whether to draw the rows in a new order each epoch.
        seed : int, optional
            For that order and for dropout; each epoch depends on (seed, epoch) alone. Without it,
            the trainer draws one from the global generator and keeps it.
        callbacks : iterable of callable
            Each is called with an `EpochInfo` after each epoch; True ends the training.
        progress : {"auto", True, False}
            Show progress on stderr; "auto" does so in a terminal.

        Returns
        -------
        History
            Over all fits of this trainer.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong. Nothing has changed then.
        KeyboardInterrupt
            After Ctrl-C. The steps up to then are done, and `history` has the whole epochs.
        """
        max_epoch = _checks.integer("max_epoch", max_epoch, at_least=1)
        if batch_size is None:
            batch_size = sys.maxsize  # the core takes no more rows than there are
        batch_size = _checks.integer("batch_size", batch_size, at_least=1)
        if max_grad is not None:
            max_grad = _checks.real("max_grad", max_grad, above=0)
        eval_interval = _checks.integer("eval_interval", eval_interval, at_least=1)
        validation_data = _check_pair(validation_data)
        shuffle = _checks.flag("shuffle", shuffle)
        on_epoch = self._epoch_hook(callbacks)
        seed = self._choose_seed(seed)
        stream = progress_stream(progress)
        self._check_parameters()

        first = self._history.epochs
        with ExitStack() as stack:
            line = stream and stack.enter_context(Progress(stream, first, first + max_epoch))
            if not self.model.training:
                self.model.train()
                stack.callback(self.model.eval)
            network = self.model._compiled().network
            if network is None:
                raise ValueError("model: expected its forward() to use its parameters, got none")
            _core.fit(
                network,
                self.optimizer,
                self.loss_fn,
                self._history,
                x,
                t,
                max_epoch=max_epoch,
                batch_size=batch_size,
                shuffle=shuffle,
                seed=seed,
                max_grad=max_grad,
                eval_interval=eval_interval,
                validation_data=validation_data,
                on_epoch=on_epoch,
                on_poll=line.poll if line else None,
            )
            history = self.history
            if line:
                line.finish(len(history.loss), history.loss[-1])
        return history

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss of each epoch with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; else a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing (it comes with the extra "plot").
        """
        from fastmlp.plotting import plot_history

        return plot_history(self.history, ax)

    def _check_parameters(self) -> None:
        checked = _core.structure(), self.model, self.optimizer
        if checked == self._checked:  # walking the model takes as long as many steps
            return
        own = {id(parameter._native) for parameter in self.model.parameters()}
        if not any(id(parameter._native) in own for parameter in self.optimizer.parameters):
            raise ValueError("optimizer: expected parameters of the model, got none of them")
        self._checked = checked

    def _choose_seed(self, seed: int | None) -> int:
        if seed is not None:
            return seeds.check_seed(seed)
        if self._seed is None:
            self._seed = seeds.current().next_seed()
        return self._seed

    def _epoch_hook(self, callbacks: Any) -> Callable[[int, float, float | None], bool] | None:
        if not hasattr(callbacks, "__iter__"):
            raise TypeError(f"callbacks: expected functions, got {_checks.show(callbacks)}")
        functions: list[Callback] = list(callbacks)
        for function in functions:
            if not callable(function):
                raise TypeError(f"callbacks: expected functions, got {_checks.show(function)}")
        if not functions:
            return None

        def on_epoch(epoch: int, loss: float, validation_loss: float | None) -> bool:
            info = EpochInfo(epoch, loss, validation_loss, self)
            answers = [function(info) for function in functions]
            return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)

        return on_epoch


def _check_pair(data: Any) -> tuple[Any, Any] | None:
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data: expected a pair (x, t), got {_checks.show(data)}")
    return data[0], data[1]
