"""Schedules in cycles along cosines: warm restarts, and one cycle."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp.optimizer import Optimizer
from fastmlp.scheduler import FAR, LRScheduler, Rates, check_optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the initial rates to `eta_min` along half a cosine, then anew with a longer period.

    Loshchilov and Hutter, arXiv 1608.03983.

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        Steps of the first period.
    T_mult : int
        How many times longer each next one is.
    eta_min : float
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803  torch's names
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0 = _checks.integer("T_0", T_0, at_least=1)
        self.T_i = self.T_0
        self.T_mult = _checks.integer("T_mult", T_mult, at_least=1)
        self.eta_min = _checks.real("eta_min", eta_min, at_least=0)
        self.T_cur = _checks.integer("last_epoch", last_epoch, at_least=-1)
        super().__init__(optimizer, last_epoch)

    def _begin(self) -> None:
        if self.last_epoch == -1:
            self.T_cur, self.T_i = 0, self.T_0
        else:
            self._count(1)
        super()._begin()

    def _count(self, steps: int) -> None:
        if steps == 0:
            return
        place, period = self.T_cur + 1, self.T_i
        if place >= period:
            place, period = place % period, period * self.T_mult
        place += steps - 1
        while place >= period:
            place = place % period if self.T_mult == 1 else place - period
            period *= self.T_mult
        self.T_cur, self.T_i = place, period

    def _move(self, steps: int) -> None:
        super()._move(steps)
        self._count(steps)

    def _from(self, place: int, base: float, count: int) -> Rates:
        """The rates of the steps from a place in the period on."""
        period, factor = min(self.T_i, FAR), min(self.T_mult, FAR)
        return _core.restart_rates(base, self.eta_min, min(place, FAR), period, factor, count)

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return self._from(self.T_cur + 1, base, count)

    def _first_rate(self, number: int, lr: float, base: float) -> float:
        return float(self._from(self.T_cur, base, 1)[0])

    def _restart_rate(self, number: int, base: float) -> float:
        return self._first_rate(number, base, base)


class OneCycleLR(LRScheduler):
    """Up to `max_lr`, then far down, over all steps of a training; the momentum goes the other way.

    Smith and Topin, arXiv 1708.07120. `Trainer` steps it after each batch.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, or list of one for each group
    total_steps : int, optional
        How many steps there will be; or `epochs` and `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
    pct_start : float
        The share of the steps in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Whether the momentum, or the first beta, moves between `base_momentum` and `max_momentum`.
    base_momentum, max_momentum : float, or list of one for each group
    div_factor : float
        It begins at max_lr / div_factor ...
    final_div_factor : float
        ... and ends at that / final_div_factor.
    three_phase : bool
        Whether it first falls as it rose, and then further.
    last_epoch : int
        See `LRScheduler`.
    """

    by_step = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        groups = optimizer.param_groups
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        self.pct_start = _checks.real("pct_start", pct_start, at_least=0, at_most=1)
        self._anneal_func_type = _checks.choice(
            "anneal_strategy", anneal_strategy, ("cos", "linear")
        )
        self.cycle_momentum = _checks.flag("cycle_momentum", cycle_momentum)
        self.three_phase = _checks.flag("three_phase", three_phase)
        last_epoch = _checks.integer("last_epoch", last_epoch, at_least=-1)
        div_factor = _checks.real("div_factor", div_factor, above=0)
        final_div_factor = _checks.real("final_div_factor", final_div_factor, above=0)
        rates = each("max_lr", max_lr, len(groups), at_least=0)
        self.use_beta1 = "betas" in optimizer.defaults
        if self.cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                "cycle_momentum: expected an optimizer with momentum or betas, got"
                f" {type(optimizer).__name__}; write cycle_momentum=False"
            )
        limits = {"above": 0.0, "below": 1.0}
        least = each("base_momentum", base_momentum, len(groups), **limits)
        most = each("max_momentum", max_momentum, len(groups), **limits)
        if last_epoch == -1:
            for group, rate, low, high in zip(groups, rates, least, most, strict=True):
                start = rate / div_factor
                group.update(initial_lr=start, max_lr=rate, min_lr=start / final_div_factor)
                if self.cycle_momentum:
                    own: dict[str, Any] = {"momentum": high}
                    if self.use_beta1:
                        own = {"betas": (high, group["betas"][1])}
                    group.update(own, max_momentum=high, base_momentum=low)
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[tuple[float, str, str, str, str]]:
        """The last step of each phase, and between which of a group's rates and momenta it goes."""
        last = float(self.total_steps - 1)
        rise = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
        if self.three_phase:
            return [
                (self.pct_start * self.total_steps - 1, *rise),
                (
                    2 * self.pct_start * self.total_steps - 2,
                    *("max_lr", "initial_lr", "base_momentum", "max_momentum"),
                ),
                (last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        return [
            (self.pct_start * self.total_steps - 1, *rise),
            (last, "max_lr", "min_lr", "base_momentum", "max_momentum"),
        ]

    def _along(self, number: int, momentum: bool, first: int, count: int) -> Rates:
        """The rates or momenta of a group."""
        if first + count - 1 > self.total_steps:
            raise ValueError(
                f"total_steps: expected at least {first + count - 1}, which is how many steps are"
                f" done, got {self.total_steps}"
            )
        group = self.optimizer.param_groups[number]
        values = np.empty(count)
        start, step, stop = 0.0, first, first + count
        phases = self._phases()
        for i, (end, *names) in enumerate(phases):
            last = stop if i == len(phases) - 1 else min(stop, math.floor(end) + 1)
            if last > step:
                shares = _shares(self._anneal_func_type, start, end - start, step, last - step)
                low, high = (group[name] for name in (names[2:] if momentum else names[:2]))
                own = values[step - first : last - first]
                if self._anneal_func_type == "linear":
                    np.add(np.multiply(shares, high - low, out=own), low, out=own)
                    np.maximum(own, 0.0, out=own)  # the step after the last goes on below it
                else:
                    np.add(np.multiply(shares, (low - high) / 2.0, out=own), high, out=own)
                step = last
            start = end
        return values

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        return self._along(number, False, first, count)

    def _momenta(self, number: int, first: int, count: int) -> Rates | None:
        return self._along(number, True, first, count) if self.cycle_momentum else None

    def _left(self) -> int | None:
        return self.total_steps - self.last_epoch

    def _may_miss(self, name: str) -> bool:
        return name in ("pct_start", "three_phase", "use_beta1")


@lru_cache(maxsize=3)  # of a schedule's phases: those of the rates are those of the momenta
def _shares(anneal: str, start: float, length: float, first: int, count: int) -> Rates:
    """How far the steps are along a phase: from 0 to 1, or along a cosine from 2 to 0."""
    if anneal == "cos":
        return _core.annealing_heights(start, length, first, count)
    if length == 0:  # such a phase is at its end
        return np.ones(count)
    steps = np.arange(first, first + count, dtype=np.float64)
    return (steps - start) / length


def each(name: str, value: Any, groups: int, **limits: float) -> list[float]:
    """A number for each group, from one of each or one for all."""
    if not isinstance(value, list | tuple):
        return [_checks.real(name, value, **limits)] * groups
    if len(value) != groups:
        raise ValueError(f"{name}: expected {groups} values, one for each group, got {len(value)}")
    return [_checks.real(f"{name}[{i}]", one, **limits) for i, one in enumerate(value)]


def _total(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> int:
    if total_steps is not None:
        return _checks.integer("total_steps", total_steps, at_least=1)
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            "total_steps: expected it, or epochs and steps_per_epoch, got none of them"
        )
    each_epoch = _checks.integer("steps_per_epoch", steps_per_epoch, at_least=1)
    return _checks.integer("epochs", epochs, at_least=1) * each_epoch
