"""The base of the schedules: rates of many steps at once, and state in torch's layout."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.optimizer import Optimizer

Rates = np.ndarray[Any, np.dtype[np.float64]]

FAR = 2**53  # a step that is never reached, in numbers that float64 counts exactly

# What torch's state dicts hold beside ours.
_FOREIGN = (
    "_is_initial",
    "_get_lr_called_within_step",
    "_schedule_phases",
    "verbose",
    "mode_worse",
)


class LRScheduler:
    """Base of the schedules.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' learning rates are set, at once and by each `step()`.
    last_epoch : int
        -1 to begin; else how many steps were done, where the groups have an `initial_lr`.

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The rates of the groups at the beginning.
    last_epoch : int
        How many steps were done.
    """

    optimizer: Optimizer
    base_lrs: list[float]
    last_epoch: int
    _step_count: int
    _last_lr: list[float]

    by_step = False  # whether `Trainer` steps it after each batch, unless told otherwise

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = check_optimizer(optimizer)
        last_epoch = _checks.integer("last_epoch", last_epoch, at_least=-1)
        groups = optimizer.param_groups
        for number, group in enumerate(groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"last_epoch: expected 'initial_lr' in param_groups[{number}] where it is not"
                    f" -1, got {list(group)}; load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in groups]
        self.last_epoch = last_epoch
        self._begin()

    # What a schedule says of a group with the rate `lr`, which was `base` at the beginning

    def _rates(self, number: int, lr: float, base: float, first: int, count: int) -> Rates:
        """Those of the steps from number `first` on, one after the other."""
        raise NotImplementedError

    def _momenta(self, number: int, first: int, count: int) -> Rates | None:
        """Likewise the momentum, or the first beta, where it is set, too."""
        return None

    def _first_rate(self, number: int, lr: float, base: float) -> float:
        """The rate that a new schedule sets."""
        return float(self._rates(number, lr, base, self.last_epoch, 1)[0])

    def _restart_rate(self, number: int, base: float) -> float:
        """That of step 0 in a sequence of schedules."""
        return float(self._rates(number, base, base, 0, 1)[0])

    def _left(self) -> int | None:
        """How many steps it can do; None: any number."""
        return None

    def _move(self, steps: int) -> None:
        """Count steps."""
        self.last_epoch += steps
        self._step_count += steps

    # Steps

    def _begin(self) -> None:
        self._step_count = 1
        self.last_epoch += 1
        groups = self.optimizer.param_groups
        rates = [
            self._first_rate(i, group["lr"], base)
            for i, (group, base) in enumerate(zip(groups, self.base_lrs, strict=True))
        ]
        self._set(self._entry(rates))

    def _restart(self) -> Rates:
        """Begin anew in a sequence of schedules; returns what is set."""
        self.last_epoch = 0
        entry = self._entry([self._restart_rate(i, b) for i, b in enumerate(self.base_lrs)])
        self._set(entry)
        return entry[:, None]

    def _entry(self, rates: list[float]) -> Rates:
        """What this step sets."""
        momenta = [self._momenta(number, self.last_epoch, 1) for number in range(len(rates))]
        return _planes([np.array([rate]) for rate in rates], momenta)[:, 0]

    def step(self) -> None:
        """Set the rates of the next step; after the optimizer's step, or at an epoch's end."""
        if self._step_count == 1 and self.optimizer.steps == 0:
            warnings.warn(
                "scheduler.step() came before optimizer.step(): the first rate was not used",
                UserWarning,
                stacklevel=2,
            )
        self._settle(self._ahead(1), 1)

    def _ahead(self, count: int) -> Rates:
        """What the next steps will set, rates x steps x groups, or (rate, momentum or NaN) x ..."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"scheduler: expected {len(self.base_lrs)} groups, as when it was made, got"
                f" {len(groups)}; make a new one after add_param_group"
            )
        first = self.last_epoch + 1
        numbered = list(enumerate(zip(groups, self.base_lrs, strict=True)))
        rates = [self._rates(i, group["lr"], base, first, count) for i, (group, base) in numbered]
        return _planes(rates, [self._momenta(i, first, count) for i, _ in numbered])

    def _settle(self, entries: Rates, steps: int) -> None:
        """Do the first of the steps that were looked at ahead."""
        if steps > 0:
            self._set(entries[:, steps - 1])
            self._move(steps)

    def _set(self, entry: Rates) -> None:
        rates, *momenta = entry.tolist()
        for number, rate in enumerate(rates):
            momentum = momenta[0][number] if momenta else math.nan
            self.optimizer._set_scheduled(number, rate, momentum)
        self._last_lr = rates

    def get_last_lr(self) -> list[float]:
        """The rates that the last step has set, one for each group."""
        return list(self._last_lr)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, in torch's layout."""
        own = {name: value for name, value in self.__dict__.items() if name != "optimizer"}
        return {
            name: value.copy() if hasattr(value, "copy") else value for name, value in own.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict of this kind of schedule, torch's or ours.

        The rates themselves are the optimizer's: load its state, too.

        Raises
        ------
        TypeError, ValueError
            If something is missing or of another kind. Nothing has changed then.
        """
        self.__dict__.update(self._checked_state(state_dict))

    def _checked_state(self, state_dict: Any) -> dict[str, Any]:
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a mapping, got {_checks.show(state_dict)}")
        own = self.state_dict()
        kind = type(self).__name__
        for name in state_dict:
            if name not in own and name not in _FOREIGN:
                raise ValueError(f"state_dict: expected that of {kind}, got one with {name!r}")
        for name in own:
            if name not in state_dict and not self._may_miss(name):
                raise ValueError(f"state_dict: expected that of {kind}, got one without {name!r}")
        return {
            name: _like(f"state_dict: {name}", state_dict[name], value)
            for name, value in own.items()
            if name in state_dict
        }

    def _may_miss(self, name: str) -> bool:
        """Whether torch's states do not have it."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(last_epoch={self.last_epoch}, lr={self._last_lr})"


def _planes(rates: list[Rates], momenta: list[Rates | None]) -> Rates:
    """Those of the groups together: rates x steps x groups, or (rate, momentum or NaN) x ..."""
    if len(rates) == 1 and momenta[0] is None:
        return rates[0].reshape(1, -1, 1)
    planes = np.empty((1 if all(m is None for m in momenta) else 2, len(rates[0]), len(rates)))
    for number, (rate, momentum) in enumerate(zip(rates, momenta, strict=True)):
        planes[0, :, number] = rate
        planes[1:, :, number] = np.nan if momentum is None else momentum
    return planes


def joined(pieces: list[Rates]) -> Rates:
    """Such entries, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    count = max(len(piece) for piece in pieces)
    whole = np.full((count, sum(piece.shape[1] for piece in pieces), pieces[0].shape[2]), np.nan)
    first = 0
    for piece in pieces:
        whole[: len(piece), first : first + piece.shape[1]] = piece
        first += piece.shape[1]
    return whole


def _like(name: str, value: Any, own: Any) -> Any:
    """The value, if it is of the same sort as ours."""
    if isinstance(own, bool):
        return _checks.flag(name, value)
    if isinstance(own, int):
        return _checks.integer(name, value, at_least=-1)
    if isinstance(own, float):
        if value in (np.inf, -np.inf):
            return float(value)
        return _checks.real(name, value)
    if isinstance(own, list):
        if not isinstance(value, list | tuple) or len(value) != len(own):
            raise ValueError(f"{name}: expected {len(own)} values, got {_checks.show(value)}")
        return [
            _like(f"{name}[{i}]", v, o) for i, (v, o) in enumerate(zip(value, own, strict=True))
        ]
    if own is not None and not isinstance(value, type(own)):
        raise TypeError(f"{name}: expected {type(own).__name__}, got {_checks.show(value)}")
    return value.copy() if hasattr(value, "copy") else value


def check_optimizer(optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        hint = _checks.origin(optimizer)
        raise TypeError(f"optimizer: expected an Optimizer, got {_checks.show(optimizer)}{hint}")
    return optimizer
