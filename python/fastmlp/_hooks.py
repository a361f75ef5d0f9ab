"""Functions that run after each epoch, and what they may change."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp.history import EpochInfo, Training
from fastmlp.scheduling import Planner

Callback = Callable[[EpochInfo], Any]


class EpochHook:
    """Calls the callbacks, and ends the native training where something has been exchanged.

    The loop goes on then with what there is now, from the next epoch on.
    """

    def __init__(
        self,
        trainer: Training,
        network: _core.Network,
        functions: list[Callback],
        planner: Planner | None = None,
    ) -> None:
        self.trainer = trainer
        self.planner = planner
        self.functions = functions
        self.parts = network, trainer.model, trainer.optimizer, trainer.loss_fn
        self.structure = _core.structure()
        self.changed = False

    def _is_changed(self) -> bool:
        trainer = self.trainer
        network = self.parts[0]
        if _core.structure() != self.structure:  # of any module
            network = trainer._network()
            self.structure = _core.structure()
        now = network, trainer.model, trainer.optimizer, trainer.loss_fn
        return any(a is not b for a, b in zip(now, self.parts, strict=True))

    def __call__(self, epoch: int, loss: float, validation_loss: float | None) -> bool:
        if self.planner is not None:
            self.planner.after_epoch(loss, validation_loss)
        info = EpochInfo(epoch, loss, validation_loss, self.trainer)
        answers = [function(info) for function in self.functions]
        if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
            return True
        self.changed = self._is_changed()
        return self.changed


def check_callbacks(callbacks: Any) -> list[Callback]:
    if callable(callbacks):
        return [callbacks]
    if not hasattr(callbacks, "__iter__"):
        raise TypeError(f"callbacks: expected functions, got {_checks.show(callbacks)}")
    functions: list[Callback] = list(callbacks)
    for function in functions:
        if not callable(function):
            raise TypeError(f"callbacks: expected functions, got {_checks.show(function)}")
    if not functions and isinstance(callbacks, Iterator):
        raise ValueError("callbacks: expected functions, got an iterator that has been used up")
    return functions


def host_copy(name: str, data: Any) -> Any:
    """A copy of what lies in the host's memory, which callbacks cannot change."""
    if not isinstance(data, np.ndarray) and (
        hasattr(data, "__cuda_array_interface__") or getattr(data, "is_cuda", False)
    ):
        return data
    array = _conversions.as_array(data, name)
    return array.copy() if array is data or array.base is not None else array
