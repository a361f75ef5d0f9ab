"""What a trainer remembers, so that a training can go on elsewhere."""

import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from fastmlp import _checks, _core, seeds
from fastmlp.early_stopping import EarlyStopping, UnderWay
from fastmlp.losses import Loss
from fastmlp.metrics import Metric
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.scheduler import LRScheduler
from fastmlp.scheduling import prepare_state

R = TypeVar("R", bound="Resumable")


class Fitting(NamedTuple):
    """A fit that is under way."""

    early: EarlyStopping | None
    native: _core.EarlyStopping | None
    last: int  # epoch, and one
    resting: list[Module]  # which are not in training mode otherwise
    thread: int


class Resumable:
    """The states of a `Trainer`, in files, for pickle and as a dict."""

    model: Module
    optimizer: Optimizer
    loss_fn: Loss
    on_nonfinite: str
    scheduler: LRScheduler | None
    scheduler_interval: str | None
    _history: _core.History
    _best_epoch: int | None
    _metrics: tuple[Metric, ...]
    _seed: int | None
    _fitting: Fitting | None = None
    # Early stopping of the fit in which a file was written: its options and state.
    _resumed: tuple[dict[str, Any], dict[str, Any]] | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything from which the training goes on to one file, as `fastmlp.save` does.

        After `Trainer.load`, `fit` with the same arguments and the epochs that are left gives the
        same bits as a training that never stopped. The file has the model, the optimizer and its
        states, the loss, the schedule, the history, the seed and, where it is written in a callback
        of a fit with early stopping, the best epoch so far; after the fit's last epoch, the model
        as the fit leaves it. What is given to `fit` (data, seed, callbacks) is given again.

        Parameters
        ----------
        path : str or os.PathLike
            By custom it ends in ".safetensors". `fastmlp.load(path)` gives the model alone.

        Raises
        ------
        TypeError, ValueError
            If the optimizer is no class of fastmlp's, or has parameters that are not the model's.
        RuntimeError
            If another thread is in a fit of this trainer.
        OSError
            If the file cannot be written; the old one is whole then.
        """
        from fastmlp.files.trainers import save_trainer

        save_trainer(self, path)

    @classmethod
    def load(
        cls: type[R],
        path: str | os.PathLike[str],
        *,
        model: Module | None = None,
        loss_fn: Loss | None = None,
        scheduler: Any = None,
        device: str | None = None,
    ) -> R:
        """The trainer of a file that `save` has written.

        The code of Python functions and of classes of one's own is in no file. Where the training
        had some, they are given again.

        Parameters
        ----------
        path : str or os.PathLike
        model : Module, optional
            Fill this model instead of making one; see `fastmlp.load`.
        loss_fn : Loss, optional
            In place of the file's, such as a FunctionLoss.
        scheduler : callable, optional
            ``scheduler(optimizer)`` gives the schedule, such as a LambdaLR, which goes on where the
            file's was.
        device : {"cpu", "cuda"}, optional
            Where the model goes; see `fastmlp.load`.

        Returns
        -------
        Trainer

        Raises
        ------
        TypeError
            If an argument is of another kind.
        ValueError
            If the file is damaged or of another sort, or if something that is missing in it has
            not been given. `model` is as it was then.
        OSError
            If there is no such file.
        """
        from fastmlp.files.trainers import load_trainer

        trainer: R = load_trainer(cls, path, model, loss_fn, scheduler, device)
        return trainer

    def _begin_fit(
        self,
        early: EarlyStopping | None,
        native: _core.EarlyStopping | None,
        last: int,
        resting: list[Module],
    ) -> None:
        """Go on with the search for the best epoch, if a file has one with these options."""
        if native is not None and early is not None and self._resumed is not None:
            options, state = self._resumed
            if options == early.options:
                native.resume(state)
        self._resumed = None
        self._fitting = Fitting(early, native, last, resting, threading.get_ident())

    def _end_fit(self) -> None:
        self._fitting = None

    def _under_way(self) -> UnderWay | None:
        """The fit in whose callback this is called, if there is one."""
        if (fitting := self._fitting) is None:
            return None
        if fitting.thread != threading.get_ident():
            raise RuntimeError("trainer: another thread is in its fit; save it in a callback")
        stopped = fitting.native is not None and fitting.native.stopped_epoch >= 0
        ends = stopped or self._history.epochs >= fitting.last
        options = fitting.early.options if fitting.early is not None else None
        return UnderWay(options, fitting.native, ends, fitting.resting)

    def _next_seed(self) -> int:
        """That of the next fit without one."""
        if self._seed is not None:
            return self._seed
        return seeds.Generator(**self._seed_generator().state()).next_seed()

    def _seed_generator(self) -> seeds.Generator:
        model_seed = self.model.__dict__.get("_seed")  # MLP's
        return seeds.current() if model_seed is None else seeds.Generator(model_seed)

    def __getstate__(self) -> dict[str, Any]:
        names = tuple(metric for metric in self._metrics if isinstance(metric, str))
        of_a_fit = dict.fromkeys(("_checked", "_fitting", "_convergence"))
        return {**self.__dict__, **of_a_fit, "_metrics": names}

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
