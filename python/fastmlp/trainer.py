"""Training in native code: epochs, mini-batches, validation, callbacks."""

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from fastmlp import _checks, _core, seeds
from fastmlp._data import check_validation
from fastmlp.callbacks import Callback, EpochHook, check_callbacks, host_copy
from fastmlp.function_loss import loss_functions
from fastmlp.history import EpochInfo, History
from fastmlp.losses import CrossEntropyLoss, Loss
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.progress import Progress, progress_stream
from fastmlp.scheduler import LRScheduler
from fastmlp.scheduling import check_interval, check_scheduler, make_planner, prepare_state

__all__ = ["Callback", "EpochInfo", "History", "Trainer"]


class Trainer:
    """Trains a model in native code.

    Parameters
    ----------
    model : Module
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
        When it is stepped; without it, OneCycleLR after each batch, others after each epoch.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the optimizer holds no parameter of the model.
    """

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
        _refuse_unknown("Trainer", unknown, Trainer.__init__)
        loss_fn = CrossEntropyLoss() if loss_fn is None else loss_fn
        given = {"model": model, "optimizer": optimizer, "loss_fn": loss_fn}
        for name, value in given.items():
            _check_kind(name, value, _KINDS[name])
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.on_nonfinite = on_nonfinite
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._history = _core.History()
        self._seed: int | None = None  # drawn by the first fit without one
        self._checked: tuple[int, Module, Optimizer] | None = None
        self._check_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _KINDS:
            _check_kind(name, value, _KINDS[name])
        elif name == "on_nonfinite":
            value = _checks.choice(name, value, ("warn", "raise", "ignore"))
        elif name == "scheduler":
            value = check_scheduler(value, self.optimizer)
        elif name == "scheduler_interval":
            value = check_interval(value, self.scheduler)
        elif hasattr(Trainer, name) or name in ("_history", "_seed", "_checked"):
            pass
        elif type(self) is Trainer or name in _checks.SYNONYMS:  # subclasses have their own ones
            known = (*_KINDS, "on_nonfinite", "scheduler", "scheduler_interval")
            _checks.refuse_attribute(self, name, known)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_checked": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        model = repr(self.model).replace("\n", "\n  ")
        parts = [f"model={model}", f"optimizer={self.optimizer!r}", f"loss_fn={self.loss_fn!r}"]
        if self.scheduler is not None:
            parts.append(f"scheduler={self.scheduler!r}")
        count = self._history.epochs
        parts.append(f"epochs={count}")
        return "Trainer(\n  " + ",\n  ".join(parts) + "\n)"

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
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Iterable[Callback] | Callback = (),
        progress: bool | str = "auto",
        allow_nonfinite: bool = False,
        sample_weight: Any = None,
        **unknown: Any,
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
        validation_data : (array_like, array_like) or (array_like, array_like, array_like), optional
            Inputs and targets, and weights of rows, whose loss is measured after each epoch,
            without dropout.
        shuffle : bool
            Whether to draw the rows in a new order each epoch.
        seed : int, optional
            For that order and for dropout; each epoch depends on (seed, epoch) alone. Without it,
            the trainer derives one from the seed of the model, if `MLP` was given one, or draws one
            from the global generator, and keeps it.
        callbacks : iterable of callable, or one
            Each is called with an `EpochInfo` after each epoch; True ends the training. What a
            callback changes of the model, the optimizer and the loss holds from the next epoch on;
            changes of x, t and the validation data are not seen: with callbacks they are copied
            first.
        progress : {"auto", True, False}
            Show progress on stderr; "auto" does so in a terminal and in a notebook.
        allow_nonfinite : bool
            Whether x and t may hold NaN and infinite values. Arrays on a device are not looked at.
        sample_weight : array_like, shape (rows,), optional
            What each row counts, finite numbers of at least 0 with a sum above 0: 2 equals a row
            that occurs twice, 0 its absence. A batch's mean loss divides by the batch's own sum; a
            batch without any weight has a loss and a gradient of 0. In the host's memory.

        Returns
        -------
        History
            Over all fits of this trainer.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong. Nothing has changed then.
        RuntimeError
            If another thread is in a fit of this trainer, or works with its optimizer.
        FloatingPointError
            With `on_nonfinite="raise"`.
        KeyboardInterrupt
            After Ctrl-C. The steps up to then are done, and `history` has the whole epochs.
        """
        _refuse_unknown("fit", unknown, Trainer.fit)
        max_epoch = _checks.integer("max_epoch", max_epoch, at_least=1)
        if batch_size is None:
            batch_size = sys.maxsize  # the core takes no more rows than there are
        batch_size = _checks.integer("batch_size", batch_size, at_least=1)
        if max_grad is not None:
            max_grad = _checks.real("max_grad", max_grad, above=0)
        eval_interval = _checks.integer("eval_interval", eval_interval, at_least=1)
        validation_data = check_validation(validation_data)
        shuffle = _checks.flag("shuffle", shuffle)
        allow_nonfinite = _checks.flag("allow_nonfinite", allow_nonfinite)
        functions = check_callbacks(callbacks)
        seed = self._choose_seed(seed)
        stream = progress_stream(progress)
        self._check_parameters()
        planner = make_planner(self.scheduler, self.optimizer, self.scheduler_interval)
        if functions:
            x, t = host_copy("x", x), host_copy("t", t)
            if sample_weight is not None:
                sample_weight = host_copy("sample_weight", sample_weight)
            validation_data = tuple(
                None if data is None else host_copy(f"validation_data {name}", data)
                for name, data in zip(("x", "t", "sample_weight"), validation_data, strict=True)
            )

        first = self._history.epochs
        with ExitStack() as stack:
            line = stream and stack.enter_context(Progress(stream, first, first + max_epoch))
            resting = [module for module in self.model.modules() if not module.training]
            stack.callback(_rest, resting)  # before the change: Ctrl-C may come in between
            for module in resting:
                module.training = True
            if planner is not None:
                stack.callback(planner.settle)
            while (left := first + max_epoch - self._history.epochs) > 0:
                before = self._history.epochs
                network = self._network()
                hooked = functions or (planner and planner.needs_losses)
                hook = EpochHook(self, network, functions, planner) if hooked else None
                _core.fit(
                    network,
                    self.optimizer,
                    self.loss_fn,
                    self._history,
                    x,
                    t,
                    max_epoch=left,
                    batch_size=batch_size,
                    shuffle=shuffle,
                    seed=seed,
                    max_grad=max_grad,
                    eval_interval=eval_interval,
                    allow_nonfinite=allow_nonfinite,
                    stop_at_nonfinite=self.on_nonfinite == "raise",
                    sample_weight=sample_weight,
                    validation_data=validation_data,
                    functions=loss_functions(self, x, t, sample_weight, validation_data),
                    on_epoch=hook,
                    on_plan=planner.on_plan if planner else None,
                    on_poll=line.poll if line else None,
                )
                if hook is None or not hook.changed or self._history.epochs == before:
                    break
                self._check_parameters()
                check_scheduler(self.scheduler, self.optimizer)
            history = self.history
            if line:
                line.finish(len(history.loss), history.loss[-1])
        self._judge(history, first)
        return history

    def _network(self) -> _core.Network:
        network = self.model._compiled().network
        if network is None:
            raise ValueError("model: expected its forward() to use its parameters, got none")
        return network

    def _judge(self, history: History, first: int) -> None:
        """Tell of a loss that is no number any more."""
        told = [("loss", history.loss[first:])]
        if len(history.validation_loss):  # measured in the last epochs
            told.append(("validation loss", history.validation_loss[-len(told[0][1]) :]))
        for what, values in told:
            if self.on_nonfinite == "ignore" or np.isfinite(values).all():
                continue
            at = int(np.argmin(np.isfinite(values)))
            text = (
                f"the {what} became {values[at]} in epoch {first + at}; a smaller learning rate may"
                f" help (the optimizer's is {getattr(self.optimizer, 'lr', None)}), or max_grad"
            )
            if self.on_nonfinite == "raise":
                raise FloatingPointError(text)
            # The training is done, whether or not there is a stream to write to.
            with suppress(ValueError, OSError, AttributeError):
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            return

    def state_dict(self) -> dict[str, Any]:
        """Everything from which a training goes on: of the model, the optimizer, and this trainer.

        Returns
        -------
        dict
            `model` and `optimizer`: their state dicts. `history`: the curves and counters, by name.
            `seed`: of fits without one; None before the first. `scheduler`: its state dict, or
            None. Arrays are copies.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self._history.state(),
            "seed": self._seed,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another trainer of such a model and optimizer was.

        Raises
        ------
        TypeError, ValueError
            If something is missing or does not fit. Nothing has changed then.
        """
        names = ("model", "optimizer", "history", "seed", "scheduler")
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(names):
            raise TypeError(
                f"state_dict: expected a mapping with {', '.join(names)}, got"
                f" {_checks.show(state_dict)}"
            )
        history = _core.History(state_dict["history"])
        seed = state_dict["seed"]
        seed = None if seed is None else seeds.check_seed(seed)
        optimizer = self.optimizer._checked(state_dict["optimizer"])
        load_schedule = prepare_state(self.scheduler, state_dict["scheduler"])
        self.model.load_state_dict(state_dict["model"])
        self.optimizer._load(optimizer)
        load_schedule()
        self._history.set_state(history.state())
        self._seed = seed

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss of each epoch with matplotlib.

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
        from fastmlp.plotting import figure, plot_history, save

        if not isinstance(ax, str | os.PathLike):
            return plot_history(self.history, ax)
        made, (axes,) = figure()
        plot_history(self.history, axes)
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
            model_seed = self.model.__dict__.get("_seed")  # MLP's
            generator = seeds.current() if model_seed is None else seeds.Generator(model_seed)
            self._seed = generator.next_seed()
        return self._seed


_KINDS: dict[str, type] = {"model": Module, "optimizer": Optimizer, "loss_fn": Loss}
_OF_OPTIMIZER = ("lr", "learning_rate", "momentum", "weight_decay")
_OF_TRAINER = ("loss_fn", "loss", "criterion", "optimizer", "model", "on_nonfinite", "scheduler")


def _check_kind(name: str, value: Any, kind: type) -> None:
    if isinstance(value, kind):
        return
    hint = _checks.origin(value)
    if isinstance(value, type):
        hint = f"; write {value.__name__}({'...' if kind is Optimizer else ''})"
    elif isinstance(value, tuple(_KINDS.values())):
        hint = f"; the order is {', '.join(_KINDS)}"
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise TypeError(f"{name}: expected {article} {kind.__name__}, got {_checks.show(value)}{hint}")


def _refuse_unknown(call: str, unknown: dict[str, Any], function: Callable[..., Any]) -> None:
    """TypeError for an argument that does not exist, with what was probably meant."""
    for name in unknown:
        hint = _checks.similar(name, [*inspect.signature(function).parameters][1:-1])
        if not hint and name in _OF_OPTIMIZER:
            hint = "; it is an option of the optimizer"
        if not hint and name in _OF_TRAINER:
            hint = "; it is an argument of Trainer"
        raise TypeError(f"{call}() has no argument {name!r}{hint}")


def _rest(modules: list[Module]) -> None:
    """Back to evaluation, what was there before; what a callback has put there stays."""
    interrupt = None
    for module in modules:
        while module.training:
            try:
                module.training = False
            except KeyboardInterrupt as error:  # this, too, is undone in full
                interrupt = error
    if interrupt is not None:
        raise interrupt
