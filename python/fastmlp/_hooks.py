"""Calls callbacks at the beginnings and ends of a training and its epochs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp.early_stopping import EarlyStopping
from fastmlp.history import EpochInfo, Training
from fastmlp.scheduling import Planner

Function = Callable[[EpochInfo], Any]
EVENTS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


class Hooks:
    """The callbacks of one call of `fit`.

    They may exchange whatever the native training works with: it ends then, and goes on with what
    there is, from the next epoch on.

    Parameters
    ----------
    trainer : Trainer
    callbacks : list
        What `check_callbacks` returns.
    planner : Planner or None
        Of the trainer's schedule, which comes before the callbacks of each epoch.
    first, last : int
        The epochs to come are first, ..., last - 1.
    """

    def __init__(
        self,
        trainer: Training,
        callbacks: list[Any],
        planner: Planner | None,
        first: int,
        last: int,
    ) -> None:
        self.trainer = trainer
        self.last = last
        self.changed = False  # since `enter`
        self._callbacks = callbacks
        self._planner = planner
        self._on_epoch_begin = _functions(callbacks, "on_epoch_begin")
        self._on_epoch_end = _functions(callbacks, "on_epoch_end")
        self._metrics: list[str] = []
        self._begun: list[Any] = []
        self._has_begun = False
        self._info = self._before(first)

    @property
    def on_epoch(self) -> Callable[[int, float, float | None, list[float], bool], bool] | None:
        """What native code is to call, if anything."""
        if self._callbacks or (self._planner and self._planner.after_epochs):
            return self.end_epoch
        return None

    def enter(self, network: _core.Network, metrics: list[str]) -> None:
        """The native training is about to work with this network, and to measure these."""
        trainer = self.trainer
        self._metrics = metrics
        self._parts = network, trainer.model, trainer.optimizer, trainer.loss_fn
        self._structure = _core.structure()
        self.changed = False

    def begin(self) -> bool:
        """Its arguments are right. Returns whether something has been exchanged."""
        if not self._has_begun:
            self._has_begun = True
            for callback in self._callbacks:
                for function in _functions([callback], "on_train_begin"):
                    function(self._info)
                self._begun.append(callback)
            self._begin_epoch(self._info.epoch)
            if self._callbacks and self._planner:
                self._planner.settle()  # they may have changed rates; there will be a new plan
        return self.changed

    def end_epoch(
        self,
        epoch: int,
        loss: float,
        validation_loss: float | None,
        metrics: list[float],
        stops: bool,
    ) -> bool:
        """After an epoch, the last one if `stops`. Returns whether the native training ends."""
        if self._planner:
            self._planner.after_epoch(loss, validation_loss)
        named = dict(zip(self._metrics, metrics, strict=True))
        self._info = EpochInfo(epoch, loss, validation_loss, self.trainer, named)
        ends = False
        for function in self._on_epoch_end:
            answer = function(self._info)
            ends |= isinstance(answer, bool | np.bool_) and bool(answer)
        if ends:
            return True
        if not stops and epoch + 1 < self.last:
            self._begin_epoch(epoch + 1)
        return self.changed

    def end(self) -> None:
        """After the training, however it has ended: for those that saw it begin."""
        if self._begun:
            with ExitStack() as stack:  # all of them, whatever one may raise
                for function in reversed(_functions(self._begun, "on_train_end")):
                    stack.callback(function, self._info)

    def _begin_epoch(self, epoch: int) -> None:
        if self._on_epoch_begin:
            info = self._before(epoch)
            for function in self._on_epoch_begin:
                function(info)
        self.changed = self._is_changed()

    def _before(self, epoch: int) -> EpochInfo:
        return EpochInfo(epoch, float("nan"), None, self.trainer, {})

    def _is_changed(self) -> bool:
        trainer = self.trainer
        network, model, optimizer, loss_fn = self._parts
        is_kept = (
            trainer.model is model and trainer.optimizer is optimizer and trainer.loss_fn is loss_fn
        )
        if _core.structure() != self._structure:  # of any module
            is_kept &= trainer._network() is network
            self._structure = _core.structure()
        return not is_kept


def _functions(callbacks: list[Any], event: str) -> list[Function]:
    """What is to be called at an event; plain functions are called after each epoch."""
    functions = []
    for callback in callbacks:
        if _is_object(callback):
            if (function := getattr(callback, event, None)) is not None:
                functions.append(function)
        elif event == "on_epoch_end":
            functions.append(callback)
    return functions


def _is_object(callback: Any) -> bool:
    return any(hasattr(callback, event) for event in EVENTS)


def check_callbacks(callbacks: Any) -> list[Any]:
    """A list of functions and objects with events."""
    if callable(callbacks) or _is_object(callbacks) or isinstance(callbacks, EarlyStopping):
        callbacks = [callbacks]
    expected = f"callbacks: expected functions, or objects with one of {', '.join(EVENTS)}"
    if not hasattr(callbacks, "__iter__"):
        raise TypeError(f"{expected}, got {_checks.show(callbacks)}")
    found = list(callbacks)
    for callback in found:
        if _is_object(callback):
            if isinstance(callback, type):
                raise TypeError(f"{expected}, got {_checks.show(callback)}; make one of it")
            for event in EVENTS:
                if not callable(getattr(callback, event, print)):
                    raise TypeError(
                        f"callbacks: expected {event} of {type(callback).__name__} to be a"
                        f" function, got {_checks.show(getattr(callback, event))}"
                    )
        elif not callable(callback) and not isinstance(callback, EarlyStopping):
            raise TypeError(f"{expected}, got {_checks.show(callback)}")
    if not found and isinstance(callbacks, Iterator):
        raise ValueError(f"{expected}, got an iterator that has been used up")
    return found
