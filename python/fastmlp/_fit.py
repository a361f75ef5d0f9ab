"""One call of `Trainer.fit`: what it is given, checked, and the native training with callbacks."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np

from fastmlp import _checks, _core, _data, live
from fastmlp._fitting import native_options, nonfinite_loss, to_training
from fastmlp._hooks import Hooks, check_callbacks
from fastmlp._whole_fit import check_fit, own_step
from fastmlp.early_stopping import EarlyStopping, take_early_stopping
from fastmlp.function_loss import FunctionLoss, loss_function
from fastmlp.history import History, Training
from fastmlp.metrics import Metric, check_metrics, names_of, native_metrics
from fastmlp.modules import Module
from fastmlp.progress import make_progress, progress_stream
from fastmlp.scheduling import Scheduled, check_scheduler, make_planner
from fastmlp.whole_batch import WholeBatchOptimizer

Poll = Callable[[int, float], None]  # is told of the epoch that is under way, and its loss so far


class Exchange(Protocol):
    """What several processes train together by."""

    def end_epoch(self, ends: bool, changed: bool) -> tuple[bool, bool]:
        """Whether the training ends, and whether something has been exchanged, anywhere."""
        ...


class Trains(Training, Scheduled, Protocol):
    """A `Trainer`, as far as a fit goes."""

    _history: _core.History
    _best_epoch: int | None
    _convergence: _core.Convergence | None
    _metrics: tuple[Metric, ...]

    @property
    def history(self) -> History: ...
    def _choose_seed(self, seed: int | None) -> int: ...
    def _check_parameters(self) -> None: ...
    def _begin_fit(
        self,
        early: EarlyStopping | None,
        native: _core.EarlyStopping | None,
        last: int,
        resting: list[Module],
    ) -> None: ...
    def _end_fit(self) -> None: ...


class Fit:
    """A fit that has not begun. The arguments are those of `Trainer.fit`, all of them.

    Attributes
    ----------
    problem : str or None
        What there is to tell after `run`, of a loss that is no number any more.
    exchange : Exchange or None
        Set before `run` where other processes train with this one.
    seed : int
        Of the order of the rows and of dropout, which may be set, too.
    is_shareable : bool
        Whether there can be fits like this one, see `for_other`.
    """

    def __init__(
        self,
        trainer: Trains,
        x: Any,
        t: Any,
        *,
        max_epoch: Any,
        batch_size: Any,
        max_grad: Any,
        eval_interval: Any,
        validation_data: Any,
        shuffle: Any,
        seed: Any,
        callbacks: Any,
        progress: Any,
        allow_nonfinite: Any,
        sample_weight: Any,
        validation_split: Any,
        early_stopping: Any,
        accumulate: Any,
        metrics: Any,
    ) -> None:
        self.trainer = trainer
        self.problem: str | None = None
        self.exchange: Exchange | None = None
        self.max_epoch = _checks.integer("max_epoch", max_epoch, at_least=1)
        self.options = native_options(
            batch_size, max_grad, accumulate, eval_interval, shuffle, allow_nonfinite
        )
        self._early, others = take_early_stopping(early_stopping, check_callbacks(callbacks))
        self._batches = _data.check_batches(x, self.max_epoch) if t is None else None
        self._data, self._validation = _data.check_data(
            (x, t, sample_weight),
            self._batches,
            validation_data,
            validation_split,
            allow_nonfinite=self.options["allow_nonfinite"],
        )
        self._validates = self._validation[0] is not None
        self._metrics = check_metrics(metrics, self._validates)
        self._names = names_of(self._metrics)
        early = self._early
        self._native = early._for_fit(self._validates, self._names) if early else None
        self.seed = trainer._choose_seed(seed)
        self._stream = progress_stream(progress)
        trainer._check_parameters()
        self._given = (x, t, batch_size, self.options["accumulate"], self.options["max_grad"])
        check_fit(trainer, *self._given)
        steps = self._batches.steps(self.options["accumulate"]) if self._batches else None
        self._planner = make_planner(trainer, self.max_epoch, steps)
        calls_back = bool(others) or any(not isinstance(m, str) for m in self._metrics)
        if calls_back:
            self._data = _data.copied("", self._data)
            self._validation = _data.copied("validation_data ", self._validation)
        self.is_shareable = not (self._batches or self._planner or calls_back)
        self._take_hooks(others)

    def _take_hooks(self, callbacks: list[Any]) -> None:
        self.first = self.trainer._history.epochs
        self.last = self.first + self.max_epoch  # epoch, and one
        self._hooks = Hooks(self.trainer, callbacks, self._planner, self.first, self.last)

    def for_other(self, trainer: Trains, seed: Any, early_stopping: Any) -> "Fit":
        """The same of a trainer that is like this one's, which nothing has to be checked for again.

        This fit has to be `is_shareable`.
        """
        fit = copy.copy(self)
        fit.trainer = trainer
        fit._early = early = early_stopping
        fit._native = early._for_fit(self._validates, self._names) if early else None
        fit.seed = trainer._choose_seed(seed)
        fit._take_hooks([])
        return fit

    def check(self) -> None:
        """What the native training checks before it begins, which it does not; all stays as it was.

        Batches that come one by one are not asked for.
        """
        if self._batches:
            return
        with ExitStack() as stack:
            to_training(self.trainer.model, stack)
            if self._planner is not None:
                stack.callback(self._planner.settle)
            _core.fit([self._request(lambda: True)])

    @property
    def metrics(self) -> list[str]:
        """Their names."""
        return self._names

    @property
    def batches(self) -> int | None:
        """How many an epoch has; None where nobody knows."""
        if self._batches:
            return self._batches.steps(1) or None
        x = self._data[0]
        rows = int(x.shape[0]) if hasattr(x, "shape") else len(x)
        size: int = self.options["batch_size"]
        return -(-rows // size)

    def facts(self) -> dict[str, Any]:
        """What processes that train together have in common, by the names of arguments."""
        alike = ("max_grad", "eval_interval", "accumulate")
        return {
            "x": "batches" if self._batches else "an array",
            "max_epoch": self.max_epoch,
            "validation_data": "given" if self._validates else "none",
            "early_stopping": self._early.options if self._early else None,
            "metrics": self._names,
            **{name: self.options[name] for name in alike},
        }

    def run(self, poll: Poll | None = None) -> History:
        """The training, to its end. `poll` is called now and then, and may raise."""
        with self._running() as line:
            self._train(poll if line is None else line.poll)
            return self._result(line)

    @contextmanager
    def _running(self) -> Iterator[Any]:
        """What is to be undone after the training, however it ends; gives what shows progress."""
        with ExitStack() as stack:
            if self._early is not None:
                self._early._freeze(stack)
            stack.callback(self._hooks.end)
            stack.callback(self.trainer._end_fit)
            line = self._line()
            if line is not None:
                stack.enter_context(line)
            self._resting = to_training(self.trainer.model, stack)
            if self._planner is not None:
                stack.callback(self._planner.settle)
            yield line

    def _begin(self) -> bool:
        """All has been checked. Returns whether nothing is trained: something was exchanged."""
        trainer = self.trainer
        if self._early is not None:
            self._early._native = self._native
        trainer._metrics, trainer._best_epoch = self._metrics, None
        trainer._begin_fit(self._early, self._native, self.last, self._resting)
        return self._hooks.begin()

    def _train(self, poll: Poll | None) -> None:
        """The epochs that are left; after a change by a callback with what there is now."""
        trainer = self.trainer
        while trainer._history.epochs < self.last:
            _core.fit([self._request(self._begin, poll)])
            if not self._hooks.changed:
                break
            trainer._check_parameters()
            check_scheduler(trainer.scheduler, trainer.optimizer)

    def _result(self, line: Any = None) -> History:
        trainer, native = self.trainer, self._native
        history = trainer.history
        self.problem = nonfinite_loss(trainer, history, self.first, self._validates)
        if native is not None:
            if not (self.problem and trainer.on_nonfinite == "raise"):
                native.restore()
            trainer._best_epoch = native.best_epoch if native.best_epoch >= 0 else None
            history._best_epoch = trainer._best_epoch
        if line is not None:
            line.finish(len(history.loss), history.loss[-1])
        return history

    def _request(self, begin: Callable[[], bool], poll: Poll | None = None) -> dict[str, Any]:
        """What native code is asked for: the epochs that are left, or those up to a change.

        `begin` is called when all has been checked; with true nothing is trained.
        """
        trainer, hooks, planner = self.trainer, self._hooks, self._planner
        check_fit(trainer, *self._given)
        data, validation = self._data, self._validation
        network = trainer._network()
        hooks.enter(network, self._names)
        if self._batches:
            self._batches.restart()
        return {
            "network": network,
            "optimizer": trainer.optimizer,
            "loss": trainer.loss_fn,
            "history": trainer._history,
            "data": (*data, loss_function(trainer, "t", data)),
            "validation_data": (
                *validation,
                loss_function(trainer, "validation_data t", validation),
            ),
            "max_epoch": self.last - trainer._history.epochs,
            **self.options,
            "seed": self.seed,
            "stop_at_nonfinite": trainer.on_nonfinite == "raise",
            "early_stopping": self._native,
            "convergence": trainer._convergence,
            "metrics": native_metrics(self._metrics, trainer.loss_fn, validation[1]),
            "next_batch": self._next_batch if self._batches else None,
            "own_step": own_step(trainer, *data),
            "on_begin": begin,
            "on_epoch": self._on_epoch(),
            "on_plan": planner.on_plan if planner else None,
            "on_poll": poll,
            "exchange": self.exchange,
        }

    def _on_epoch(self) -> Callable[..., bool] | None:
        if self.exchange is None:
            return self._hooks.on_epoch
        exchange, hooks = self.exchange, self._hooks

        def end_epoch(*measured: Any) -> bool:
            ends = hooks.end_epoch(*measured)
            ends, hooks.changed = exchange.end_epoch(ends and not hooks.changed, hooks.changed)
            return ends or hooks.changed

        return end_epoch

    def _next_batch(self) -> tuple[Any, ...] | None:
        batch = self._batches() if self._batches else None
        return None if batch is None else (*batch, loss_function(self.trainer, "t", batch))

    def _line(self) -> Any:
        """What shows progress, if anything does."""
        history = self.trainer._history
        if self._stream is None:
            return None
        if self._stream is live.PAGE:
            return live.Curves(lambda: self.trainer.history, self.first, self.last)
        return make_progress(
            self._stream, self.first, self.last, lambda: history.last_validation_loss
        )

    def group_key(self) -> tuple[Any, ...] | None:
        """Equal for fits that `run_together` takes; None where it takes none like this.

        For trainers of one dtype on one CUDA device, whose losses are alike.
        """
        trainer = self.trainer
        alone = (
            self._batches
            or self._stream is not None
            or self._hooks.on_epoch is not None
            or any(not isinstance(metric, str) for metric in self._metrics)
            or self.options["max_grad"] is not None
            or self.options["accumulate"] != 1
            or isinstance(trainer.optimizer, WholeBatchOptimizer)
            or isinstance(trainer.loss_fn, FunctionLoss)
            or any(map(_data.is_on_device, (*self._data, *self._validation)))
            or any(isinstance(part, np.memmap) for part in self._data)
        )
        if alone:
            return None
        rows = np.shape(self._data[1])[0]
        with ExitStack() as stack:
            to_training(trainer.model, stack)
            batch = min(rows, self.options["batch_size"])
            kind = trainer._network().group_key(trainer.optimizer, trainer.loss_fn, batch)
        if kind is None:
            return None
        own = trainer._history.epochs, self.max_epoch, trainer.on_nonfinite == "raise"
        has = self._validates, self._planner is not None, self._data[2] is not None
        return (kind, rows, *own, *has, *self._names, *self.options.values())


def run_together(fits: Sequence[Fit], poll: Poll) -> list[History]:
    """Trainings of one `group_key`, side by side, each to the bits of its `run`."""
    with ExitStack() as stack:
        for fit in fits:
            stack.enter_context(fit._running())
        _core.fit([fit._request(fit._begin, poll) for fit in fits])
        if any(fit._hooks.changed for fit in fits):  # nothing was trained
            for fit in fits:
                fit._train(poll)
        return [fit._result() for fit in fits]
