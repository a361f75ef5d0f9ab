"""A schedule that follows a loss."""

import math
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.cycles import each
from fastmlp.optimizer import Optimizer
from fastmlp.scheduler import LRScheduler, check_optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rates by `factor` where a loss has not become better for some epochs.

    `Trainer` gives it the validation loss, or the training loss where there is none.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether less is better, or more.
    factor : float
    patience : int
        How many epochs in a row may be no better.
    threshold : float
        Better is what differs from the best by more than this, or this share of it.
    threshold_mode : {"rel", "abs"}
    cooldown : int
        Epochs after a reduction that are not looked at.
    min_lr : float, or list of one for each group
    eps : float
        Smaller changes of a rate are left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = check_optimizer(optimizer)
        self.factor = _checks.real("factor", factor, at_least=0, below=1)
        self.min_lrs = each("min_lr", min_lr, len(optimizer.param_groups), at_least=0)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else self.min_lrs[0]
        self.patience = _checks.integer("patience", patience, at_least=0)
        self.cooldown = _checks.integer("cooldown", cooldown, at_least=0)
        self.eps = _checks.real("eps", eps, at_least=0)
        self.last_epoch = 0
        self.mode = _checks.choice("mode", mode, ("min", "max"))
        self.threshold = _checks.real("threshold", threshold, at_least=0)
        self.threshold_mode = _checks.choice("threshold_mode", threshold_mode, ("rel", "abs"))
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: float) -> None:  # type: ignore[override]
        """Look at the loss of an epoch.

        Parameters
        ----------
        metrics : float
            NaN is never better.
        """
        current = _loss(metrics)
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise ValueError(
                    f"min_lr: expected {len(groups)} values, one for each group, got"
                    f" {len(self.min_lrs)}"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        self.last_epoch += 1
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = [group["lr"] for group in groups]

    def _is_better(self, loss: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            limit = self.best * (1.0 + sign * self.threshold)
        else:
            limit = self.best + sign * self.threshold
        return loss > limit if self.mode == "max" else loss < limit


def _loss(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not hasattr(type(value), "__float__"):
        raise TypeError(f"metrics: expected a number, got {_checks.show(value)}")
    return float(value)
