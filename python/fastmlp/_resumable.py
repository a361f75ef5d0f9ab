"""What a trainer remembers, so that a training can go on elsewhere."""

from collections.abc import Mapping
from typing import Any

from fastmlp import _checks, _core, seeds
from fastmlp.metrics import Metric
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.scheduler import LRScheduler
from fastmlp.scheduling import prepare_state


class Resumable:
    """The states of a `Trainer`, for pickle and as a dict."""

    model: Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    _history: _core.History
    _metrics: tuple[Metric, ...]
    _seed: int | None

    def __getstate__(self) -> dict[str, Any]:
        names = tuple(metric for metric in self._metrics if isinstance(metric, str))
        return {**self.__dict__, "_checked": None, "_metrics": names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def state_dict(self) -> dict[str, Any]:
        """Everything from which a training goes on: of the model, the optimizer, and this trainer.

        Returns
        -------
        dict
            `model` and `optimizer`: their state dicts. `history`: the curves and counters, by name.
            `seed`: of fits without one; None before the first. `scheduler`: its state dict, or
            None. Arrays are copies.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self._history.state(),
            "seed": self._seed,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another trainer of such a model and optimizer was.

        Raises
        ------
        TypeError, ValueError
            If something is missing or does not fit. Nothing has changed then.
        """
        names = ("model", "optimizer", "history", "seed", "scheduler")
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(names):
            raise TypeError(
                f"state_dict: expected a mapping with {', '.join(names)}, got"
                f" {_checks.show(state_dict)}"
            )
        history = _core.History(state_dict["history"])
        seed = state_dict["seed"]
        seed = None if seed is None else seeds.check_seed(seed)
        optimizer = self.optimizer._checked(state_dict["optimizer"])
        load_schedule = prepare_state(self.scheduler, state_dict["scheduler"])
        self.model.load_state_dict(state_dict["model"])
        self.optimizer._load(optimizer)
        load_schedule()
        self._history.set_state(history.state())
        self._seed = seed
