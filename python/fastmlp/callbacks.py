"""Ready-made callbacks for `Trainer.fit`.

A callback is a function of an `EpochInfo`, called after each epoch, or an object with any of the
methods `on_train_begin`, `on_epoch_begin`, `on_epoch_end`, `on_train_end`, each of which gets one,
too. True from a function or from `on_epoch_end` ends the training. `on_train_end` is called however
the training ends, once the best parameters are back, for all whose `on_train_begin` has returned.
"""

import csv
import importlib
import math
import os
from typing import Any, TextIO

import numpy as np

from fastmlp import _checks, _core
from fastmlp._types import Floats
from fastmlp.early_stopping import EarlyStopping
from fastmlp.history import EpochInfo
from fastmlp.metrics import check_mode, grows

__all__ = [
    "CSVLogger",
    "EarlyStopping",
    "GradientNorm",
    "LearningRateMonitor",
    "MLflow",
    "ModelCheckpoint",
    "TensorBoard",
]


class ModelCheckpoint:
    """Keeps the training in a file as it goes, from which `Trainer.load` goes on.

    Without a path it keeps the model's state in memory: after the best epoch, and after the last.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The file, which `Trainer.save` writes: there is always a whole one.
    every : int
        After how many epochs it is written; always after the last one.
    keep_best : bool
        Whether there is a second file, `best_path`, of the best epoch so far.
    monitor : str
        What tells the best epoch: "validation_loss", "loss", or the name of a metric.
    mode : {None, "min", "max"}
        Whether less or more of it is better; None goes by the name, as `EarlyStopping` does.
    save_best_only : bool
        Whether to keep the best epoch alone, in `path` or in memory.

    Attributes
    ----------
    best_path : str or None
        "run-best.safetensors" for the path "run.safetensors".
    best_state, last_state : dict or None
        In memory: state dicts of the model; None before there is one.
    best_epoch, last_epoch : int or None
        Their epochs, or those of the files. Where the file of a best epoch is there when the
        training begins, the epochs of the trainer's history count, too.
    best : float or None
        The monitored value of the best epoch; NaN is never the best.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; in the training, if `monitor` is not measured.
    OSError
        In the training, if a file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        every: int = 1,
        keep_best: bool = False,
        monitor: str = "validation_loss",
        mode: str | None = None,
        save_best_only: bool = False,
    ) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"path: expected a file's path, got {_checks.show(path)}")
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected the name of a curve, got {_checks.show(monitor)}")
        self.path = None if path is None else os.fspath(path)
        self.every = _checks.integer("every", every, at_least=1)
        self.keep_best = _checks.flag("keep_best", keep_best)
        self.monitor = monitor
        self.mode = check_mode(mode)
        self.save_best_only = _checks.flag("save_best_only", save_best_only)
        if self.path is None and (self.every > 1 or self.keep_best):
            raise ValueError("path: expected one with every or keep_best, got None")
        if self.save_best_only and (self.every > 1 or self.keep_best):
            raise ValueError("save_best_only: expected False with every or keep_best, got True")
        grows(self.monitor, self.mode)  # or an error
        self.on_train_begin()

    @property
    def best_path(self) -> str | None:
        if self.path is None or self.save_best_only:
            return self.path
        name, suffix = os.path.splitext(self.path)
        return f"{name}-best{suffix}" if self.keep_best else None

    def on_train_begin(self, info: EpochInfo | None = None) -> None:
        """Forget the last training, but for a best epoch whose file is there."""
        self.best_state: dict[str, Any] | None = None
        self.last_state: dict[str, Any] | None = None
        self.best_epoch: int | None = None
        self.last_epoch: int | None = None
        self.best: float | None = None
        if info is None or self.best_path is None or not os.path.exists(self.best_path):
            return
        history = info.trainer.history
        curves = {"loss": history.loss, "validation_loss": history.validation_loss}
        for epoch, value in enumerate({**history.metrics, **curves}.get(self.monitor, ())):
            if self._improves(value):
                self.best_epoch, self.best = epoch, float(value)

    def on_epoch_end(self, info: EpochInfo) -> None:
        """Keep the epoch, if it is wanted."""
        improves = False
        if self.path is None or self.best_path is not None:
            value = info.value(self.monitor)
            if improves := self._improves(value):
                self.best_epoch, self.best = info.epoch, value
        if improves and self.best_path is not None:
            info.trainer.save(self.best_path)
        elif improves:
            self.best_state = info.trainer.model.state_dict()
        if self.save_best_only:
            return
        if self.path is None:
            self.last_state = info.trainer.model.state_dict()
        elif (info.epoch + 1) % self.every and not info.trainer._under_way().ends:
            return
        else:
            info.trainer.save(self.path)
        self.last_epoch = info.epoch

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return not np.isnan(value)
        return bool(value > self.best if grows(self.monitor, self.mode) else value < self.best)


class CSVLogger:
    """Writes a line for each epoch to a file: its number, the losses, the metrics.

    Parameters
    ----------
    path : str or os.PathLike
    separator : str
        One character.
    append : bool
        Whether to keep what the file holds; its columns have to be the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    OSError
        As the training begins, if the file cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path: expected a file's path, got {_checks.show(path)}")
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator: expected one character, got {_checks.show(separator)}")
        self.path = path
        self.separator = separator
        self.append = _checks.flag("append", append)
        self._file: TextIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def on_train_begin(self, info: EpochInfo) -> None:
        """Open the file."""
        self._file = open(  # noqa: SIM115, on_train_end closes it
            self.path, "a" if self.append else "w", newline="", encoding="utf-8"
        )
        self._has_header = self._file.tell() > 0

    def on_epoch_end(self, info: EpochInfo) -> None:
        """Write a line, which is in the file at once."""
        assert self._file is not None
        line: dict[str, Any] = {"epoch": info.epoch, "loss": info.loss}
        if info.validation_loss is not None:
            line["validation_loss"] = info.validation_loss
        line |= info.metrics
        writer = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        if not self._has_header:
            writer.writerow(line)
            self._has_header = True
        writer.writerow(line.values())
        self._file.flush()

    def on_train_end(self, info: EpochInfo) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class LearningRateMonitor:
    """Remembers the learning rates of each epoch's beginning, over all fits.

    Attributes
    ----------
    epochs : list of int
    lr : ndarray of float64, shape (epochs, groups)
        One for each of the optimizer's parameter groups; NaN where there were fewer.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._rates: list[list[float]] = []

    def on_epoch_begin(self, info: EpochInfo) -> None:
        """Read the rates."""
        groups = info.trainer.optimizer.param_groups
        self.epochs.append(info.epoch)
        self._rates.append([float(group["lr"]) for group in groups])

    @property
    def lr(self) -> Floats:
        rates = np.full((len(self._rates), max(map(len, self._rates), default=0)), np.nan)
        for row, found in zip(rates, self._rates, strict=True):
            row[: len(found)] = found
        return rates


class GradientNorm:
    """Remembers the norm of the gradient of each epoch's last step, over all fits.

    It is the Euclidean norm over all parameters together, after `max_grad` has limited it.
    `fastmlp.plot.gradient_norm` draws it.

    Attributes
    ----------
    epochs : list of int
    norms : ndarray of float64, shape (epochs,)
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._norms: list[float] = []

    def on_epoch_end(self, info: EpochInfo) -> None:
        """Measure the gradients that the epoch has left."""
        parameters = info.trainer.model.parameters()
        self._norms.append(_core.clip_grad_norm([p._native for p in parameters], math.inf))
        self.epochs.append(info.epoch)

    @property
    def norms(self) -> Floats:
        return np.array(self._norms)


class TensorBoard:
    """Writes the losses, the metrics and the learning rate of each epoch for TensorBoard.

    Parameters
    ----------
    log_dir : str or os.PathLike
        A folder for this training's event files.

    Raises
    ------
    TypeError
        If it is no path.
    ImportError
        As the training begins, if neither `tensorboardX` nor torch and `tensorboard` are installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        if not isinstance(log_dir, str | os.PathLike):
            raise TypeError(f"log_dir: expected a folder's path, got {_checks.show(log_dir)}")
        self.log_dir = log_dir
        self._writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None}

    def on_train_begin(self, info: EpochInfo) -> None:
        """Open the folder."""
        self._writer = _summary_writer()(os.fspath(self.log_dir))

    def on_epoch_end(self, info: EpochInfo) -> None:
        """Write the epoch's numbers."""
        for name, value in _numbers(info).items():
            self._writer.add_scalar(name, value, info.epoch)

    def on_train_end(self, info: EpochInfo) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _summary_writer() -> Any:
    for name in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            return importlib.import_module(name).SummaryWriter
        except ImportError:
            continue
    raise ImportError("TensorBoard() needs tensorboardX: pip install tensorboardX")


class MLflow:
    """Logs the losses, the metrics and the learning rate of epochs to MLflow, and what is trained.

    The run is the active one, or, if there is none, a new one, which ends with the training.

    Parameters
    ----------
    every : int
        After how many epochs numbers are logged, which takes a moment each time; also after the
        last one.
    parameters : dict, optional
        More to log of the run, beside the names and options of optimizer and loss, and the number
        of the model's parameters. What the run has already stays as it is.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    ImportError
        As the training begins, if MLflow is not installed (it comes with the extra "mlflow").
    """

    def __init__(self, every: int = 1, parameters: dict[str, Any] | None = None) -> None:
        self.every = _checks.integer("every", every, at_least=1)
        if parameters is not None and not isinstance(parameters, dict):
            raise TypeError(f"parameters: expected a dict, got {_checks.show(parameters)}")
        self.parameters = dict(parameters or {})
        self._mlflow: Any = None
        self._owns_run = False
        self._left: EpochInfo | None = None  # an epoch that has not been logged

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mlflow": None, "_owns_run": False, "_left": None}

    def on_train_begin(self, info: EpochInfo) -> None:
        """Take or begin a run, and log what is trained."""
        try:
            import mlflow
        except ImportError as error:
            raise ImportError('MLflow() needs MLflow: pip install "fastmlp[mlflow]"') from error
        self._left, self._mlflow = None, mlflow
        self._owns_run = mlflow.active_run() is None
        run = mlflow.start_run() if self._owns_run else mlflow.active_run()
        there = mlflow.get_run(run.info.run_id).data.params
        trainer = info.trainer
        found = {
            "optimizer": repr(trainer.optimizer),
            "loss": repr(trainer.loss_fn),
            "model_parameters": sum(p.size for p in trainer.model.parameters()),
            **self.parameters,
        }
        mlflow.log_params({name: found[name] for name in found if name not in there})

    def on_epoch_end(self, info: EpochInfo) -> None:
        """Log the epoch's numbers, if it is its turn."""
        self._left = info
        if (info.epoch + 1) % self.every == 0:
            self._log()

    def on_train_end(self, info: EpochInfo) -> None:
        """Log the last epoch, and end the run, if it is our own."""
        if self._mlflow is None:
            return
        try:
            self._log()
        finally:
            if self._owns_run:
                self._mlflow.end_run()
            self._mlflow, self._owns_run = None, False

    def _log(self) -> None:
        if self._left is not None:
            self._mlflow.log_metrics(_numbers(self._left), step=self._left.epoch)
            self._left = None


def _numbers(info: EpochInfo) -> dict[str, float]:
    """What an epoch has measured, and the optimizer's rate, by name."""
    numbers = {"loss": info.loss, **info.metrics}
    if info.validation_loss is not None:
        numbers["validation_loss"] = info.validation_loss
    if (rate := getattr(info.trainer.optimizer, "lr", None)) is not None:
        numbers["lr"] = rate
    return numbers
