"""How `Trainer` uses a schedule: rates for many steps at once, which native code counts."""

from collections.abc import Callable
from typing import Any

from fastmlp import _checks
from fastmlp.optimizer import Optimizer
from fastmlp.plateau import ReduceLROnPlateau
from fastmlp.scheduler import LRScheduler

# Steps of the schedule that are looked at ahead: many, for each look costs as much as many steps.
_MOST = 16384


class Planner:
    """Steps a schedule during a fit, and looks ahead for native code, which needs the rates."""

    def __init__(self, scheduler: LRScheduler, interval: str | None) -> None:
        self.scheduler = scheduler
        self.by_step = scheduler.by_step if interval is None else interval == "step"
        self.needs_losses = isinstance(scheduler, ReduceLROnPlateau)
        self.repeat = 1
        self.ahead: Any = None
        self.begun = False

    @property
    def on_plan(self) -> Callable[[int, int], None] | None:
        """What native code is to call, if anything."""
        return None if self.needs_losses else self.plan

    def plan(self, epochs_left: int, batches: int) -> None:
        """Make a plan for up to so many epochs of so many steps, the one under way included."""
        self.settle()
        scheduler = self.scheduler
        steps = epochs_left * batches if self.by_step else epochs_left
        left = scheduler._left()
        if left is not None:
            if left < steps and not self.begun:
                raise ValueError(
                    f"scheduler: expected one with {steps} steps left, as many as fit will do, got"
                    f" {scheduler!r} with {left}"
                )
            steps = min(steps, left)
        self.begun = True
        self.repeat = 1 if self.by_step else batches
        self.ahead = scheduler._ahead(min(steps, _MOST))
        scheduler.optimizer._plan(current(scheduler.optimizer), self.ahead, self.repeat)

    def after_epoch(self, loss: float, validation_loss: float | None) -> None:
        """Bring the schedule to where the training is."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss if validation_loss is None else validation_loss)
        else:
            self.settle()

    def settle(self) -> None:
        """Do those of the schedule's steps that the training has used."""
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            self.scheduler._settle(ahead, self.scheduler.optimizer._end_plan() // self.repeat)


def current(optimizer: Optimizer) -> list[tuple[float, float]]:
    """Of each group the rate, and the momentum or the first beta."""
    return [
        (
            group["lr"],
            group["betas"][0] if "betas" in group else group.get("momentum", float("nan")),
        )
        for group in optimizer.param_groups
    ]


def make_planner(scheduler: Any, optimizer: Optimizer, interval: str | None) -> Planner | None:
    scheduler = check_scheduler(scheduler, optimizer)
    return None if scheduler is None else Planner(scheduler, interval)


def prepare_state(scheduler: LRScheduler | None, state: Any) -> Callable[[], None]:
    """Check a trainer's state of its schedule; what is returned loads it."""
    if (state is None) != (scheduler is None):
        raise ValueError(
            f"state_dict: expected the state of {scheduler!r} as scheduler, got"
            f" {_checks.show(state)}"
        )
    if scheduler is None:
        return lambda: None
    scheduler._checked_state(state)
    return lambda: scheduler.load_state_dict(state)


def check_scheduler(scheduler: Any, optimizer: Optimizer) -> LRScheduler | None:
    if scheduler is None:
        return None
    if not isinstance(scheduler, LRScheduler):
        hint = _checks.origin(scheduler)
        raise TypeError(
            f"scheduler: expected one of fastmlp.lr_scheduler, got {_checks.show(scheduler)}{hint}"
        )
    if scheduler.optimizer is not optimizer:
        raise ValueError("scheduler: expected one of the trainer's optimizer, got another's")
    return scheduler


def check_interval(interval: Any, scheduler: LRScheduler | None) -> str | None:
    if interval is None:
        return None
    _checks.choice("scheduler_interval", interval, ("epoch", "step"))
    if scheduler is None:
        raise ValueError(
            f"scheduler_interval: expected a scheduler with it, got {interval!r} alone"
        )
    if interval == "step" and isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "scheduler_interval: expected 'epoch' for ReduceLROnPlateau, which looks at losses of"
            " epochs, got 'step'"
        )
    return str(interval)
