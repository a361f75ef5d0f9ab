"""Schedules of learning rates as JSON, and back: the table of those that a file can name.

A description has the `class`, the `state` as `state_dict` gives it, and of a SequentialLR the
`schedulers`. What the table does not have, such as a LambdaLR, has `own`: its state is there, and
the schedule itself has to be given again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fastmlp import lr_scheduler
from fastmlp.files.container import entry
from fastmlp.optimizer import Optimizer
from fastmlp.scheduler import LRScheduler

MOST_NESTED = 20
_FAR = 2**53  # more steps than anybody takes, and than float64 counts


class Schedule(NamedTuple):
    """Its class, and under which names the state has the constructor's options."""

    make: Callable[..., LRScheduler]
    options: Mapping[str, str]


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


SCHEDULES = {
    make.__name__: Schedule(make, options)
    for make, options in {
        lr_scheduler.StepLR: _same("step_size", "gamma"),
        lr_scheduler.MultiStepLR: _same("milestones", "gamma"),
        lr_scheduler.ExponentialLR: _same("gamma"),
        lr_scheduler.LinearLR: _same("start_factor", "end_factor", "total_iters"),
        lr_scheduler.CosineAnnealingLR: _same("T_max", "eta_min"),
        lr_scheduler.CosineAnnealingWarmRestarts: _same("T_0", "T_mult", "eta_min"),
        # Rates and momenta are the optimizer's groups'.
        lr_scheduler.OneCycleLR: {
            **_same("total_steps", "pct_start", "cycle_momentum", "three_phase"),
            "anneal_strategy": "_anneal_func_type",
        },
        lr_scheduler.ReduceLROnPlateau: {
            **_same("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps"),
            "min_lr": "min_lrs",
        },
    }.items()
}


def describe(scheduler: LRScheduler) -> dict[str, Any]:
    """The description of a schedule."""
    name = type(scheduler).__name__
    state = scheduler.state_dict()
    if type(scheduler) is lr_scheduler.SequentialLR:
        state.pop("_schedulers")
        inner = [describe(one) for one in scheduler._schedulers]
        return {"class": name, "state": state, "schedulers": inner}
    if name not in SCHEDULES or SCHEDULES[name].make is not type(scheduler):
        return {"class": name, "own": True, "state": state}
    if isinstance(scheduler, lr_scheduler.MultiStepLR):
        state["milestones"] = sorted(scheduler.milestones.elements())
    return {"class": name, "state": state}


def own_class(description: Any, depth: int = 0) -> str | None:
    """The name of the first one that no file can make."""
    if not isinstance(description, dict) or depth > MOST_NESTED:
        raise ValueError("scheduler: expected a description of a schedule")
    if description.get("own") is True:
        return str(entry(description, "class", str))
    inner = description.get("schedulers", [])
    return next((name for one in inner if (name := own_class(one, depth + 1))), None)


def make(description: Any, optimizer: Optimizer, given: Any) -> LRScheduler:
    """The schedule in its state; `given` is called with the optimizer to make it, if not None."""
    if (own := own_class(description)) is not None and given is None:
        raise ValueError(
            f"the schedule has a {own}, whose code is in no file: write"
            f" fastmlp.Trainer.load(path, scheduler=lambda optimizer: ...), which makes one anew"
        )
    scheduler = _make(description, optimizer) if given is None else given(optimizer)
    if not isinstance(scheduler, LRScheduler):
        raise TypeError("scheduler: expected a function of the optimizer that gives a schedule")
    scheduler.load_state_dict(_state(description))
    _check(scheduler)
    return scheduler


def _make(description: dict[str, Any], optimizer: Optimizer) -> LRScheduler:
    name, state = entry(description, "class", str), entry(description, "state", dict)
    if name == "SequentialLR":
        inner = [_make(one, optimizer) for one in entry(description, "schedulers", list)]
        return lr_scheduler.SequentialLR(optimizer, inner, entry(state, "_milestones", list))
    if name not in SCHEDULES:
        raise ValueError(f"scheduler: expected one of fastmlp.lr_scheduler, got {name!r}")
    row = SCHEDULES[name]
    missing = [own for own in row.options.values() if own not in state]
    if missing:
        raise ValueError(f"scheduler: expected {missing[0]!r} of {name}, got none")
    options = {option: state[own] for option, own in row.options.items()}
    if name == "OneCycleLR":
        options["max_lr"] = 1.0  # until the optimizer's state is there
    if name == "ReduceLROnPlateau" and state.get("default_min_lr") is not None:
        options["min_lr"] = state["default_min_lr"]  # one for all groups
    return row.make(optimizer, **options)


def _state(description: dict[str, Any]) -> dict[str, Any]:
    """As `load_state_dict` takes it."""
    state = dict(entry(description, "state", dict))
    if description["class"] == "MultiStepLR":
        state["milestones"] = Counter(entry(state, "milestones", list))
    if "schedulers" in description:
        state["_schedulers"] = [_state(one) for one in description["schedulers"]]
    return state


def _check(scheduler: LRScheduler) -> None:
    """ValueError for counters that no training has."""
    for name, value in vars(scheduler).items():
        if isinstance(value, int) and not -1 <= value < _FAR:
            raise ValueError(f"scheduler: {name}: expected less than {_FAR}, got {value}")
    if isinstance(scheduler, lr_scheduler.CosineAnnealingWarmRestarts):
        period = scheduler.T_0
        while scheduler.T_mult > 1 and period < scheduler.T_i:
            period *= scheduler.T_mult
        if period != scheduler.T_i or not 0 <= scheduler.T_cur < period:
            raise ValueError(
                f"scheduler: T_cur: expected a place in a period, got {scheduler.T_cur} of"
                f" {scheduler.T_i}"
            )
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        for inner in scheduler._schedulers:
            _check(inner)


def check_given(scheduler: Any) -> None:
    """TypeError unless it can be called with an optimizer."""
    if scheduler is not None and (not callable(scheduler) or isinstance(scheduler, LRScheduler)):
        raise TypeError(
            "scheduler: expected a function of the optimizer, such as lambda optimizer:"
            f" LambdaLR(optimizer, f), got {type(scheduler).__name__}"
        )
