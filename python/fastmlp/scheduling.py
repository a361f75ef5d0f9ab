"""How `Trainer` uses a schedule: rates for many steps at once, which native code counts."""

from collections.abc import Callable
from typing import Any, Protocol

from fastmlp import _checks
from fastmlp.optimizer import Optimizer
from fastmlp.plateau import ReduceLROnPlateau
from fastmlp.scheduler import LRScheduler

# Steps of the schedule that are looked at ahead: many, for each look costs as much as many steps.
_MOST = 8000


class Scheduled(Protocol):
    """A `Trainer`, as far as its schedule goes."""

    optimizer: Optimizer
    scheduler: LRScheduler | None
    scheduler_interval: str | None


class Planner:
    """Steps a schedule during a fit, and looks ahead for native code, which needs the rates.

    One that follows losses, or epochs of which nobody knows how many steps they have, is stepped
    after each of them.
    """

    def __init__(self, scheduler: LRScheduler, interval: str | None, counts_steps: bool) -> None:
        self.scheduler = scheduler
        self.by_step = scheduler.by_step if interval is None else interval == "step"
        self.after_epochs = isinstance(scheduler, ReduceLROnPlateau) or not (
            counts_steps or self.by_step
        )
        self.repeat = 1
        self.ahead: Any = None
        self.begun = False

    @property
    def on_plan(self) -> Callable[[int, int], None] | None:
        """What native code is to call, if anything."""
        return None if self.after_epochs else self.plan

    def plan(self, epochs_left: int, epoch_steps: int) -> None:
        """Make a plan for up to so many epochs of so many steps, the one under way included.

        The optimizer's steps are meant. Where nobody knows how many an epoch has, it is 0 of them,
        and the plan is for the next step alone.
        """
        self.settle()
        scheduler = self.scheduler
        steps = epochs_left * epoch_steps if self.by_step else epochs_left
        if not self.begun:
            self.check(steps)
        steps = min(max(steps, 1), _MOST)
        if (left := scheduler._left()) is not None:
            steps = min(steps, left)
            if steps == 0:
                raise ValueError(f"scheduler: expected one with steps left, got {scheduler!r}")
        self.begun = True
        self.repeat = 1 if self.by_step else epoch_steps
        self.ahead = scheduler._ahead(steps)
        scheduler.optimizer._plan(current(scheduler.optimizer), self.ahead, self.repeat)

    def check(self, steps: int) -> None:
        """ValueError for a schedule with fewer steps left."""
        left = self.scheduler._left()
        if left is not None and left < steps:
            raise ValueError(
                f"scheduler: expected one with {steps} steps left, as many as fit will do, got"
                f" {self.scheduler!r} with {left}"
            )

    def after_epoch(self, loss: float, validation_loss: float | None) -> None:
        """Bring the schedule to where the training is."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss if validation_loss is None else validation_loss)
        elif self.after_epochs:
            self.scheduler.step()
        else:
            self.settle()

    def settle(self) -> None:
        """Do those of the schedule's steps that the training has used."""
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            self.scheduler._settle(ahead, self.scheduler.optimizer._end_plan() // self.repeat)


def current(optimizer: Optimizer) -> tuple[list[float], list[float]]:
    """Of each group the rate, and the momentum or the first beta."""
    groups = optimizer.param_groups
    return [group["lr"] for group in groups], [
        group["betas"][0] if "betas" in group else group.get("momentum", float("nan"))
        for group in groups
    ]


def make_planner(trainer: Scheduled, epochs: int, epoch_steps: int | None) -> Planner | None:
    """Of a trainer's schedule, if there is one; None: native code counts the steps of epochs."""
    scheduler = check_scheduler(trainer.scheduler, trainer.optimizer)
    if scheduler is None:
        return None
    planner = Planner(scheduler, trainer.scheduler_interval, epoch_steps is None)
    if epoch_steps is not None:
        planner.check(epochs * (epoch_steps if planner.by_step else 1))
    return planner


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
