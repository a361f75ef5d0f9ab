"""Ends a training that no longer improves."""

from contextlib import ExitStack
from typing import Any, NamedTuple

from fastmlp import _checks, _core
from fastmlp.metrics import check_mode, check_monitor
from fastmlp.modules import Module


class EarlyStopping:
    """Ends a training when nothing has improved for some epochs, and goes back to the best epoch.

    An argument of `Trainer.fit`, by that name or among the callbacks. It works in native code: the
    parameters are copied where an epoch is the best one so far, and an epoch without improvement
    costs a comparison. Each fit begins anew; `max_epoch` remains the limit.

    Parameters
    ----------
    patience : int
        After how many epochs in a row without improvement to stop.
    min_delta : float
        An improvement is a change by more than this.
    monitor : str
        "validation_loss", "loss", or the name of one of the metrics.
    restore_best : bool
        Whether the parameters, and buffers such as running statistics, are those of the best epoch
        at the end, also where `max_epoch` has ended the training. The optimizer and the schedule
        stay as they are then. After an error or Ctrl-C the parameters stay as the last step has
        left them, also after the one of `on_nonfinite="raise"`.
    mode : {None, "min", "max"}
        Whether less or more is better. None goes by the name: more is better for names that end in
        "accuracy", "r2" and the like. "auto" is another word for None.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; by `fit`, if `monitor` is not measured there.
    RuntimeError
        If one of these options is set while a fit uses them, such as by a callback.

    Notes
    -----
    A value that is NaN is no improvement. Where a callback gives the model other parameters, the
    search for the best epoch begins anew.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str = "validation_loss",
        restore_best: bool = True,
        mode: str | None = None,
    ) -> None:
        self._native: _core.EarlyStopping | None = None
        self._fits: set[ExitStack] = set()  # that are under way
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.restore_best = restore_best
        self.mode = mode

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](value)
            if self._fits:
                raise RuntimeError(f"{name}: expected no change while a fit uses it, got one")
        elif name not in ("_native", "_fits"):
            _checks.refuse_attribute(self, name, _CHECKS)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_native": None, "_fits": set()}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"EarlyStopping({options})"

    @property
    def best(self) -> float | None:
        """The monitored value of the best epoch of the last fit; None if there was none."""
        return None if self.best_epoch is None or not self._native else self._native.best

    @property
    def best_epoch(self) -> int | None:
        """The number of that epoch, counted from 0 over all fits of the trainer."""
        return self._native.best_epoch if self._native and self._native.best_epoch >= 0 else None

    @property
    def stopped_epoch(self) -> int | None:
        """The number of the epoch that ended the last fit; None if something else did."""
        if self._native is None or self._native.stopped_epoch < 0:
            return None
        return self._native.stopped_epoch

    @property
    def options(self) -> dict[str, Any]:
        """The arguments by name, to be read."""
        return {name: getattr(self, name) for name in _CHECKS}

    def _freeze(self, fit: ExitStack) -> None:
        """Until a fit, which has taken over the options, closes its stack."""
        fit.callback(self._fits.discard, fit)  # before the change: Ctrl-C may come in between
        self._fits.add(fit)

    def _for_fit(self, validates: bool, metrics: list[str]) -> _core.EarlyStopping:
        """The native part, for a fit that measures these metrics."""
        more_is_better = check_monitor(
            "early_stopping", self.monitor, self.mode, validates, metrics
        )
        return _core.EarlyStopping(
            ["loss", "validation_loss", *metrics].index(self.monitor),
            self.patience,
            self.min_delta,
            more_is_better,
            self.restore_best,
        )


class UnderWay(NamedTuple):
    """A fit that is under way; `ends`: but for the best values, which it gives back, it is over."""

    options: dict[str, Any] | None  # of early stopping
    native: _core.EarlyStopping | None
    ends: bool
    resting: list[Module]  # which are not in training mode otherwise


def _monitor(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"monitor: expected the name of a curve, got {_checks.show(value)}")
    return value


_CHECKS = {
    "patience": lambda value: _checks.integer("patience", value, at_least=0),
    "min_delta": lambda value: _checks.real("min_delta", value, at_least=0),
    "monitor": _monitor,
    "restore_best": lambda value: _checks.flag("restore_best", value),
    "mode": check_mode,
}


def take_early_stopping(
    early_stopping: Any, callbacks: list[Any]
) -> tuple[EarlyStopping | None, list[Any]]:
    """The one that there is, also among the callbacks; and the other callbacks."""
    if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
        hint = (
            "; write EarlyStopping()"
            if early_stopping is True or early_stopping is EarlyStopping
            else ""
        )
        raise TypeError(
            f"early_stopping: expected an EarlyStopping, got {_checks.show(early_stopping)}{hint}"
        )
    found = [] if early_stopping is None else [early_stopping]
    found += [callback for callback in callbacks if isinstance(callback, EarlyStopping)]
    if len(found) > 1:
        raise ValueError(f"early_stopping: expected one EarlyStopping, got {len(found)}")
    others = [callback for callback in callbacks if not isinstance(callback, EarlyStopping)]
    return (found[0] if found else None), others
