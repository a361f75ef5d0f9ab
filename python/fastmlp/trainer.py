"""Training in native code: epochs, mini-batches, validation, callbacks."""

import os
from collections.abc import Iterable
from typing import Any

from fastmlp import _checks, _core, _data, seeds
from fastmlp._fit import Fit
from fastmlp._fitting import KINDS, check_kind, evaluated, tell
from fastmlp._hooks import Function as Callback
from fastmlp._resumable import Resumable
from fastmlp._whole_fit import ALL_ROWS_OR_32
from fastmlp.early_stopping import EarlyStopping
from fastmlp.history import EpochInfo, History
from fastmlp.losses import CrossEntropyLoss, Loss
from fastmlp.metrics import Metric, check_metrics
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.scheduler import LRScheduler
from fastmlp.scheduling import check_interval, check_scheduler

__all__ = ["Callback", "EpochInfo", "History", "Trainer"]


class Trainer(Resumable):
    """Trains a model in native code.

    Parameters
    ----------
    model : Module
        Without hooks, which `fit` refuses.
    optimizer : Optimizer
        Holds parameters of the model; those that it does not hold stay as they are.
    loss_fn : Loss, optional
        CrossEntropyLoss() if there is none.
    on_nonfinite : {"warn", "raise", "ignore"}
        What to do about a loss that becomes NaN or infinite: a RuntimeWarning at the end of `fit`
        that names the epoch; or to stop there with a FloatingPointError, the model as that epoch
        has left it; or nothing.
    scheduler : LRScheduler, optional
        Of the optimizer. ReduceLROnPlateau gets the validation loss, or, where there is none, the
        training loss.
    scheduler_interval : {"epoch", "step"}, optional
        When it is stepped; without it, OneCycleLR after each of the optimizer's steps, others after
        each epoch.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the optimizer holds no parameter of the model.
    """

    _convergence: _core.Convergence | None = None  # of an estimator's fit

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Loss | None = None,
        on_nonfinite: str = "warn",
        scheduler: LRScheduler | None = None,
        scheduler_interval: str | None = None,
        **unknown: Any,
    ) -> None:
        _checks.refuse_unknown("Trainer", unknown, Trainer.__init__)
        loss_fn = CrossEntropyLoss() if loss_fn is None else loss_fn
        given = {"model": model, "optimizer": optimizer, "loss_fn": loss_fn}
        for name, value in given.items():
            check_kind(name, value, KINDS[name])
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.on_nonfinite = on_nonfinite
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._history = _core.History()
        self._best_epoch: int | None = None  # that early stopping has found in the last fit
        self._metrics: tuple[Metric, ...] = ()  # of the last fit
        self._seed: int | None = None  # drawn by the first fit without one
        self._checked: tuple[int, Module, Optimizer] | None = None
        self._check_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            pass
        elif name in KINDS:
            check_kind(name, value, KINDS[name])
        elif name == "on_nonfinite":
            value = _checks.choice(name, value, ("warn", "raise", "ignore"))
        elif name == "scheduler":
            value = check_scheduler(value, self.optimizer)
        elif name == "scheduler_interval":
            value = check_interval(value, self.scheduler)
        elif hasattr(Trainer, name):
            pass
        elif type(self) is Trainer or name in _checks.SYNONYMS:  # subclasses have their own ones
            known = (*KINDS, "on_nonfinite", "scheduler", "scheduler_interval")
            _checks.refuse_attribute(self, name, known)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        model = repr(self.model).replace("\n", "\n  ")
        parts = [f"model={model}", f"optimizer={self.optimizer!r}", f"loss_fn={self.loss_fn!r}"]
        if self.scheduler is not None:
            parts.append(f"scheduler={self.scheduler!r}")
        parts.append(f"epochs={self._history.epochs}")
        return "Trainer(\n  " + ",\n  ".join(parts) + "\n)"

    @property
    def history(self) -> History:
        """What was measured so far; also after an interrupted fit."""
        return History(self._history, self._best_epoch)

    def fit(
        self,
        x: Any,
        t: Any = None,
        max_epoch: int = 10,
        batch_size: int | None = ALL_ROWS_OR_32,
        max_grad: float | None = None,
        eval_interval: int = 20,
        validation_data: Any = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Any = (),
        progress: bool | str = "auto",
        allow_nonfinite: bool = False,
        sample_weight: Any = None,
        *,
        validation_split: float | None = None,
        early_stopping: EarlyStopping | None = None,
        accumulate: int = 1,
        metrics: Iterable[Metric] | Metric = (),
        **unknown: Any,
    ) -> History:
        """Train for a number of epochs; a second fit goes on from the first.

        The model is in training mode meanwhile, and in its own mode afterwards.

        Parameters
        ----------
        x : array_like, shape (rows, in_features), or an iterable of batches
            Converted once to the model's dtype, if needed, and copied once to its device; but where
            that would take much more memory, the rows are converted by the batch instead, to the
            same bits: large arrays of narrower numbers (uint8, float16), SciPy's sparse tables, and
            large parts of files (`numpy.memmap`), which are read, not mapped, the next batch while
            one is trained on. Such a file must keep its length: else RuntimeError ends the fit
            after the last whole step. Its numbers are taken as they are when they are read, and
            looked at for NaN once, before the first step. So are targets and weights in files; a
            `FunctionLoss` has its targets in memory. A CUDA device gets such rows by parts, where
            no other array lies there, and all rows of other data, and to validate with, at once.

            Without t, an iterable of batches (x, t) or (x, t, sample_weight), such as a torch
            DataLoader: each pass through it is an epoch, the batches are taken as they come, and
            `batch_size` and `shuffle` say nothing. A wrong batch is an error when it comes, after
            the steps before it; so is one too many for the schedule, unless `len(x)` tells at once.
        t : array_like
            Targets, as the loss takes them. With a model on a CUDA device, x, t and the
            validation data may each lie there: arrays of torch, CuPy and whatever else has
            `__cuda_array_interface__` or `__dlpack__`, C-contiguous, of the model's dtype (classes
            of int64), which are not copied. The work goes to the stream that is current in torch or
            CuPy, unless that is a default one, and is done when this returns.
        max_epoch : int
            How many epochs to train.
        batch_size : int or None
            Rows in a step; the last batch may have fewer. None takes all rows. `LBFGS` and
            `LevenbergMarquardt`, whose steps need all rows, take them by default.
        max_grad : float, optional
            Limit of the gradient's norm over all parameters; see `clip_grad_norm_`.
        eval_interval : int
            Batches between two values of `report_loss`.
        validation_data : tuple of 2 or 3 array_like, or an iterable of batches, optional
            Inputs and targets, and weights of rows, whose loss is measured after each epoch,
            without dropout. Batches are put together once.
        shuffle : bool
            Whether to draw the rows in a new order each epoch.
        seed : int, optional
            For that order and for dropout; each epoch depends on (seed, epoch) alone. Without it,
            the trainer derives one from the seed of the model, if `MLP` was given one, or draws one
            from the global generator, and keeps it.
        callbacks : iterable of callables and objects, or one
            A function is called with an `EpochInfo` after each epoch; True ends the training.
            `fastmlp.callbacks` says what objects can do, and has some. What a callback changes of
            the model, the optimizer and the loss holds from the next epoch on; changes of x, t and
            the validation data are not seen: with callbacks they are copied first, but for files.
        progress : {"auto", "plot", True, False}
            Show progress on stderr, by tqdm's bar if that is installed; "auto" does so in a
            terminal and in a notebook. With "plot", a notebook shows the curves as they grow;
            elsewhere that is the same as True.
        allow_nonfinite : bool
            Whether x and t may hold NaN and infinite values. Arrays on a device are not looked at.
        sample_weight : array_like, shape (rows,), optional
            What each row counts, finite numbers of at least 0 with a sum above 0: 2 equals a row
            that occurs twice, 0 its absence. A batch's mean loss divides by the batch's own sum; a
            batch without any weight has a loss and a gradient of 0. In the host's memory.
        validation_split : float, optional
            Instead of `validation_data`: this fraction of the rows, from 0 to 1, with their
            weights, is kept to validate with. They are the last rows, before any shuffling, as in
            Keras; rows that are sorted have to be shuffled first.
        early_stopping : EarlyStopping, optional
            Ends the training when it no longer improves.
        accumulate : int
            Batches in a step: the gradient is that of the loss over all their rows, as if they were
            one batch; a mean divides by the sum of all their weights. BatchNorm1d sees each batch
            by itself. The last step of an epoch may have fewer batches.
        metrics : iterable of str or callable, or one
            What to tell of the validation data after each epoch besides the loss: "accuracy" (of
            classes; with the losses BCE and BCEWithLogits, or of one column, that of yes and no),
            "binary_accuracy", "top_5_accuracy" (or another number), "mae", "mse", "rmse", "r2", or
            functions f(y, t) of outputs and targets, arrays in the host's memory, that return a
            number and are called by their names. Functions see all rows alike; for the others rows
            count by their weights, classes do not, and ignored ones are left out. They look at
            outputs as they are, of GaussianNLLLoss at the means.

        Returns
        -------
        History
            Over all fits of this trainer.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong. Nothing has changed then.
        RuntimeError
            If another thread is in a fit of this trainer, or works with its optimizer; if a file
            becomes shorter meanwhile.
        FloatingPointError
            With `on_nonfinite="raise"`.
        KeyboardInterrupt
            After Ctrl-C. The steps up to then are done, and `history` has the whole epochs.
        """
        _checks.refuse_unknown("fit", unknown, Trainer.fit)
        fit = Fit(
            self,
            x,
            t,
            max_epoch=max_epoch,
            batch_size=batch_size,
            max_grad=max_grad,
            eval_interval=eval_interval,
            validation_data=validation_data,
            shuffle=shuffle,
            seed=seed,
            callbacks=callbacks,
            progress=progress,
            allow_nonfinite=allow_nonfinite,
            sample_weight=sample_weight,
            validation_split=validation_split,
            early_stopping=early_stopping,
            accumulate=accumulate,
            metrics=metrics,
        )
        history = fit.run()
        if fit.problem is not None:
            tell(self, fit.problem)
        return history

    def evaluate(
        self,
        x: Any,
        t: Any = None,
        metrics: Iterable[Metric] | Metric | None = None,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """The loss and the metrics of data, without dropout.

        Parameters
        ----------
        x, t : array_like
            As `fit` takes them; or x alone, an iterable of batches, which are put together. Of
            sparse tables and large files only a part is in memory, and of the outputs; but for
            functions as losses or metrics, which get all outputs.
        metrics : iterable of str or callable, or one, optional
            As `fit` takes them; by default, those of the last fit.
        sample_weight : array_like, shape (rows,), optional
            As `fit` takes it.

        Returns
        -------
        dict of str to float
            "loss", and the metrics by name.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        """
        wanted = self._metrics if metrics is None else check_metrics(metrics, True)
        data = x, t, sample_weight
        if t is None:
            _data.check_data(data, _data.check_batches(x, 1), None, None, True)
            data = _data.collect("x", x)
        return evaluated(self, data, wanted)

    def _network(self) -> _core.Network:
        network = self.model._compiled().network
        if network is None:
            raise ValueError("model: expected its forward() to use its parameters, got none")
        return network

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses of each epoch, the best one, and metrics, with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, or a file's path, optional
            Where to draw; else a new figure, which goes to the file, if one is named.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing (it comes with the extra "plot").
        """
        from fastmlp.plot import figure, loss, save

        if not isinstance(ax, str | os.PathLike):
            return loss(self.history, ax)
        made, (axes,) = figure()
        loss(self.history, axes)
        save(made, ax)
        return axes

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
            self._seed = self._seed_generator().next_seed()
        return self._seed


_OWN = {"_history", "_best_epoch", "_metrics", "_seed", "_checked", "_fitting", "_resumed"}
