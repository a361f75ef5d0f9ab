"""Schedules of learning rates, with torch's names, arguments, formulas and rates.

`scheduler.step()` in a loop of one's own, after the optimizer's step or at the end of an epoch; or
`Trainer(..., scheduler=scheduler)`.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp.cycles import CosineAnnealingWarmRestarts, OneCycleLR
from fastmlp.optimizer import Optimizer
from fastmlp.plateau import ReduceLROnPlateau
from fastmlp.scheduler import FAR, LRScheduler, Rates, check_optimizer, joined

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class StepLR(LRScheduler):
    """Multiplies the rates by `gamma` every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = _checks.integer("step_size", step_size, at_least=1, below=FAR)
        self.gamma = _checks.real("gamma", gamma, at_least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return _core.stepwise_rates(lr, self.gamma, self.step_size, first, count)


class MultiStepLR(LRScheduler):
    """Multiplies the rates by `gamma` at each of the milestones.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        Steps; one that occurs twice counts twice.
    gamma : float
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(check_steps("milestones", milestones))
        self.gamma = _checks.real("gamma", gamma, at_least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        factors = np.ones(count)
        for step, times in self.milestones.items():
            if first <= step < first + count:
                factors[step - first] = self.gamma**times
        return np.multiply.accumulate(np.concatenate([[lr], factors]))[1:]


class ExponentialLR(LRScheduler):
    """Multiplies the rates by `gamma` at each step.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = _checks.real("gamma", gamma, at_least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return _core.exponential_rates(lr, self.gamma, count)

    def _first_rate(self, number: int, lr: float, base: float) -> float:
        return lr

    def _restart_rate(self, number: int, base: float) -> float:
        return base


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` times the rates, over `total_iters` steps.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        Above 0 and at most 1.
    end_factor : float
        From 0 to 1.
    total_iters : int
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = _checks.real("start_factor", start_factor, above=0, at_most=1)
        self.end_factor = _checks.real("end_factor", end_factor, at_least=0, at_most=1)
        self.total_iters = _checks.integer("total_iters", total_iters, at_least=1, below=FAR)
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return _core.linear_rates(
            lr, self.start_factor, self.end_factor, self.total_iters, first, count
        )

    def _first_rate(self, number: int, lr: float, base: float) -> float:
        return lr * self.start_factor if self.last_epoch == 0 else lr

    def _restart_rate(self, number: int, base: float) -> float:
        return base * self.start_factor


class CosineAnnealingLR(LRScheduler):
    """From the rates to `eta_min` along half a cosine of `T_max` steps, and back, and so on.

    Loshchilov and Hutter, arXiv 1608.03983, in torch's recursive form: a rate follows from the one
    before, which something else may have changed.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
    eta_min : float
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803  torch's name
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = _checks.integer("T_max", T_max, at_least=1, below=FAR)
        self.eta_min = _checks.real("eta_min", eta_min, at_least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return _core.cosine_rates(lr, base, self.eta_min, self.T_max, first, count)

    def _first_rate(self, number: int, lr: float, base: float) -> float:
        return lr

    def _restart_rate(self, number: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * 2 / 2


class LambdaLR(LRScheduler):
    """The initial rates times a function of the number of steps.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or a list of one for each group
        Of an int; `Trainer` calls it ahead, once a step.
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(check_optimizer(optimizer).param_groups)
        given: Any = lr_lambda
        functions = list(given) if isinstance(given, list | tuple) else [given] * groups
        if len(functions) != groups:
            raise ValueError(
                f"lr_lambda: expected a function for each of {groups} groups, got {len(functions)}"
            )
        for function in functions:
            if not callable(function):
                raise TypeError(f"lr_lambda: expected functions, got {_checks.show(function)}")
        self.lr_lambdas: list[Callable[[int], float]] = functions
        super().__init__(optimizer, last_epoch)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        function = self.lr_lambdas[number]
        factors = [
            _checks.real(f"lr_lambda({step})", function(step), at_least=0)
            for step in range(first, first + count)
        ]
        return base * np.array(factors)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the functions; of objects with a state, that."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(f, FunctionType) or not hasattr(f, "__dict__") else {**vars(f)}
            for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on from such a state dict; see `LRScheduler.load_state_dict`."""
        state = self._checked_state(state_dict)
        for function, own in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if own is not None:
                vars(function).update(own)
        self.__dict__.update(state)


class SequentialLR(LRScheduler):
    """Several schedules, one after the other.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : list of LRScheduler
        Of this optimizer. Each begins anew at its milestone.
    milestones : list of int
        At which step the second one begins, the third, and so on.
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if not isinstance(schedulers, list | tuple):
            raise TypeError(f"schedulers: expected a list, got {_checks.show(schedulers)}")
        schedulers = list(schedulers)
        if not schedulers:
            raise ValueError("schedulers: expected at least one, got none")
        for scheduler in schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"schedulers: expected schedules, got {_checks.show(scheduler)}")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    "schedulers: expected those that need no loss, got ReduceLROnPlateau"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError("schedulers: expected those of this optimizer, got another's")
        steps = check_steps("milestones", milestones)
        if len(steps) != len(schedulers) - 1 or steps != sorted(set(steps)):
            raise ValueError(
                f"milestones: expected {len(schedulers) - 1} rising numbers for {len(schedulers)}"
                f" schedulers, got {steps}"
            )
        self.optimizer = optimizer
        self._schedulers = schedulers
        self._milestones = steps
        self.last_epoch = _checks.integer("last_epoch", last_epoch, at_least=-1) + 1
        self._step_count = 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo()
        first = schedulers[bisect_right(steps, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def _undo(self) -> None:
        """Take back the first steps, which the schedules did when they were made."""
        for scheduler in self._schedulers:
            if isinstance(scheduler, SequentialLR):
                scheduler._undo()
            else:
                scheduler.last_epoch -= 1

    @property
    def by_step(self) -> bool:  # type: ignore[override]
        """Whether one of the schedules is one of steps."""
        return any(scheduler.by_step for scheduler in self._schedulers)

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]
        """The rates of the groups at the beginning."""
        return self._schedulers[0].base_lrs

    def _pieces(self, count: int) -> list[tuple[LRScheduler, bool, int]]:
        """Of the next steps: the schedule, whether it begins anew there, and how many it does."""
        pieces = []
        step, end = self.last_epoch + 1, self.last_epoch + 1 + count
        while step < end:
            index = bisect_right(self._milestones, step)
            stop = min([end, *self._milestones[index : index + 1]])
            begins = index > 0 and self._milestones[index - 1] == step
            pieces.append((self._schedulers[index], begins, stop - step))
            step = stop
        return pieces

    def _ahead(self, count: int) -> Rates:
        # Each schedule goes on from the rates that the one before it leaves: on trial, then back.
        kept = [dict(scheduler.__dict__) for scheduler in self._schedulers]
        groups = [dict(group) for group in self.optimizer.param_groups]
        try:
            return joined([self._do(*piece) for piece in self._pieces(count)])
        finally:
            for scheduler, state in zip(self._schedulers, kept, strict=True):
                scheduler.__dict__.update(state)
            for group, before in zip(self.optimizer.param_groups, groups, strict=True):
                group.update(before)

    def _do(self, scheduler: LRScheduler, begins: bool, count: int) -> Rates:
        pieces = []
        if begins:
            pieces.append(scheduler._restart())
            count -= 1
        if count > 0:
            pieces.append(scheduler._ahead(count))
            scheduler._settle(pieces[-1], count)
        return joined(pieces)

    def _settle(self, entries: Rates, steps: int) -> None:
        first = 0
        for scheduler, begins, count in self._pieces(steps):
            if begins:
                scheduler._restart()
            scheduler._settle(entries[:, first + begins : first + count], count - begins)
            first += count
            self._last_lr = scheduler.get_last_lr()
        self.last_epoch += steps
        self._step_count += steps

    def _left(self) -> int | None:
        steps, last = 0, self.last_epoch
        for index in range(bisect_right(self._milestones, last), len(self._schedulers)):
            left = self._schedulers[index]._left()
            own = self._milestones[index] - 1 - last if index < len(self._milestones) else None
            if left is not None and (own is None or left < own):
                return steps + left
            steps, last = steps + (own or 0), last + (own or 0)
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, in torch's layout."""
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on from such a state dict; see `LRScheduler.load_state_dict`."""
        state = self._checked_state(state_dict)
        states = state.pop("_schedulers")
        for scheduler, own in zip(self._schedulers, states, strict=True):
            scheduler._checked_state(own)
        for scheduler, own in zip(self._schedulers, states, strict=True):
            scheduler.load_state_dict(own)
        self.__dict__.update(state)

    def _may_miss(self, name: str) -> bool:
        return name == "_step_count"


def check_steps(name: str, value: Any) -> list[int]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: expected numbers of steps, got {_checks.show(value)}")
    return [_checks.integer(f"{name}[{i}]", step, at_least=0) for i, step in enumerate(value)]
