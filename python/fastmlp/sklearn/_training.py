"""Training by mini-batches: native epochs, and what scikit-learn does after each of them."""

from math import cos, inf, pi
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import _core
from fastmlp._types import Array
from fastmlp.history import EpochInfo
from fastmlp.modules import Module
from fastmlp.optim import SGD, Adam, AdamW, Optimizer
from fastmlp.sklearn._data import Rows
from fastmlp.sklearn._embeddings import Embedded, Stepwise
from fastmlp.sklearn._network import arrays_of, layers_of
from fastmlp.sklearn._warnings import warn
from fastmlp.trainer import Trainer

SOLVERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
LEAST_RATE = 1e-6  # "adaptive" ends where the rate is no more than this
SEEDS = 2**31 - 1


def make_optimizer(model: Module, settings: SimpleNamespace, decay: float = 0.0) -> Optimizer:
    """That of `solver`; its first group has the weights, which alone decay."""
    weights = [layer.weight for layer in layers_of(model)]
    own = {id(weight._native) for weight in weights}
    others = [p for p in model.parameters() if id(p._native) not in own]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": decay}, {"params": others}]
    rate = settings.learning_rate_init
    if settings.solver == "sgd":
        nesterov = settings.nesterovs_momentum and settings.momentum > 0
        return SGD(groups, rate, momentum=settings.momentum, nesterov=nesterov)
    kind = AdamW if settings.solver == "adamw" else Adam
    betas = settings.beta_1, settings.beta_2
    return kind(groups, rate, betas=betas, eps=settings.epsilon, weight_decay=0.0)


def begin_curves(mlp: Any, early_stopping: bool) -> None:
    """The attributes that tell of epochs, before the first one."""
    mlp.loss_curve_ = []
    mlp._no_improvement_count = 0
    mlp.best_loss_ = None if early_stopping else inf
    mlp.validation_scores_ = mlp.validation_loss_curve_ = None
    mlp.best_validation_score_ = -inf if early_stopping else None


def ready_curves(mlp: Any, settings: SimpleNamespace, validates: bool) -> None:
    """The same before a fit that may go on from another one."""
    stopped_by_loss = getattr(mlp, "best_loss_", None) is not None
    if not hasattr(mlp, "loss_curve_") or settings.early_stopping == stopped_by_loss:
        begin_curves(mlp, settings.early_stopping)  # of the other way to stop
    if validates and mlp.validation_scores_ is None:
        mlp.validation_scores_, mlp.validation_loss_curve_ = [], []


def fit_stochastic(
    mlp: Any,
    settings: SimpleNamespace,
    data: Rows,
    validation: Rows | None,
    incremental: bool,
) -> None:
    """`max_iter` epochs at most, or one; scikit-learn's attributes tell of them."""
    epochs = Epochs(mlp, settings, data, validation, incremental)
    try:
        epochs.trainer.fit(callbacks=epochs.callbacks, seed=epochs.seed, **epochs.options())
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    finally:
        epochs.take()
    epochs.finish()


def _as_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if hasattr(callbacks, "__iter__") else [callbacks]


def _batch_size(mlp: Any, settings: SimpleNamespace, rows: int) -> int:
    if settings.batch_size == "auto":
        batch_size = min(200, rows)
    else:
        if settings.batch_size > rows and mlp.batch_size != "auto":
            warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            )
        batch_size = min(settings.batch_size, rows)
    while settings.batch_norm and 1 < batch_size < rows and rows % batch_size == 1:
        batch_size += 1  # a single row has no statistics
    return batch_size


class Epochs:
    """The epochs of one fit. A call is what comes after each: true ends the native training.

    It is called only where there is more to do than to count epochs without improvement, which is
    native.

    Attributes
    ----------
    trainer : Trainer or Stepwise
        Whose `fit` gets `seed`, `callbacks` and `options()`.
    """

    def __init__(
        self,
        mlp: Any,
        settings: SimpleNamespace,
        data: Rows,
        validation: Rows | None,
        incremental: bool,
    ) -> None:
        self._rows = rows = len(data.t)
        self.batch_size = batch_size = _batch_size(mlp, settings, rows)
        mlp.n_iter_ = 0
        self.mlp, self.settings = mlp, settings
        self.data, self.validation = data, validation
        self._incremental = incremental
        self.max_epoch = 1 if incremental else settings.max_iter
        self.stopped = False
        self._best: dict[str, Array] | None = None
        # The weights of a batch's rows, on average: what scikit-learn divides `alpha` by.
        share = batch_size * (1.0 if data.weights is None else float(np.mean(data.weights)))
        decay = settings.alpha / share if share > 0 else 0.0
        batches = -(-rows // batch_size)
        penalty = 0.5 * decay * batch_size * batches / rows
        if settings.solver == "adamw":
            decay, penalty = settings.alpha, 0.0
        elif batches > 1:  # a last batch of fewer rows is divided by those: here all take a part
            last = rows - (batches - 1) * batch_size
            decay *= (batches - 1 + batch_size / last) / batches
        if not incremental or type(mlp._optimizer) is not SOLVERS[settings.solver]:
            mlp._optimizer = make_optimizer(mlp._model, settings, decay)
        optimizer: Any = mlp._optimizer
        if optimizer.param_groups[0]["weight_decay"] != decay:
            optimizer.param_groups[0]["weight_decay"] = decay
        schedules = ["cosine", "invscaling"] if settings.solver == "sgd" else ["cosine"]
        self._has_schedule = settings.learning_rate in schedules
        self._slows_down = settings.solver == "sgd" and settings.learning_rate == "adaptive"
        best = -mlp.best_validation_score_ if settings.early_stopping else mlp.best_loss_
        self._convergence = _core.Convergence(
            [layer.weight._native for layer in layers_of(mlp._model)],
            tol=settings.tol,
            patience=inf if self._slows_down else settings.n_iter_no_change,
            of_losses=not settings.early_stopping,
            constant=mlp._objective.constant(data.t, data.weights),
            parts=mlp._objective.parts,
            penalty=penalty,
            changes_within=batch_size < rows,
            best=best,
            waited=mlp._no_improvement_count,
        )
        if validation is not None:
            self._validation_constant = mlp._objective.constant(validation.t, validation.weights)

        parts = mlp._model, optimizer, mlp._objective.loss
        self.trainer: Any = (
            Stepwise(*parts)
            if isinstance(mlp._model, Embedded)
            else Trainer(*parts, on_nonfinite="ignore")
        )
        self.trainer._convergence = self._convergence
        self.seed = int(mlp._random_state.randint(SEEDS))
        self.callbacks = _as_list(mlp.callbacks)
        acts = validation is not None or self._has_schedule or self._slows_down
        if acts or settings.verbose or self.callbacks:
            self.callbacks.insert(0, self)

    def options(self) -> dict[str, Any]:
        """The other arguments of the trainer's `fit`."""
        settings, batch_size = self.settings, self.batch_size
        x, t, weights = self.data
        given: dict[str, Any] = {"x": x, "t": t, "sample_weight": weights, "batch_size": batch_size}
        if self.validation is not None:
            given |= {"validation_data": tuple(self.validation), "metrics": [self._score]}
        return given | {
            "max_epoch": self.max_epoch,
            "max_grad": settings.max_grad_norm,
            "shuffle": bool(settings.shuffle),
            "progress": False,
            "allow_nonfinite": True,  # they have been looked at
        }

    def finish(self) -> None:
        """The best epoch's weights; a warning if there were not epochs enough."""
        mlp, settings = self.mlp, self.settings
        self.take()
        self.stopped |= self._has_converged()
        if self._best is not None:
            mlp._model.load_state_dict(self._best)
        ends_as_planned = self.stopped or self._incremental or settings.learning_rate == "cosine"
        if mlp.n_iter_ == settings.max_iter and not ends_as_planned:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) reached and the"
                " optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def __call__(self, info: EpochInfo) -> bool:
        mlp, settings = self.mlp, self.settings
        self.take()
        self._tell("Iteration %d, loss = %.8f", mlp.n_iter_, mlp.loss_)
        if info.validation_loss is not None:
            score = info.metrics["_score"]
            mlp.validation_loss_curve_.append(
                (info.validation_loss + self._validation_constant) / mlp._objective.parts
            )
            mlp.validation_scores_.append(score)
            self._tell("Validation score: %f", score)
            if settings.early_stopping:
                if score > mlp.best_validation_score_:
                    self._best = arrays_of(mlp._model)
                self._convergence.count(-score)
        if self._has_schedule:
            self._set_rate(self._next_rate())
        if self._has_converged():
            self._stop_or_slow_down()
        self.take()
        return self.stopped

    def _score(self, y: Array, t: Array) -> float:
        assert self.validation is not None
        return float(self.mlp._score_outputs(y, t, self.validation.weights))

    def take(self) -> None:
        """What scikit-learn's attributes tell, up to the last epoch."""
        mlp, convergence = self.mlp, self._convergence
        losses = convergence.losses(mlp.n_iter_)
        if losses:
            mlp.loss_ = losses[-1]
        mlp.loss_curve_ += losses
        mlp.n_iter_ += len(losses)
        mlp.t_ += len(losses) * self._rows
        mlp._no_improvement_count = convergence.waited
        if self.settings.early_stopping:
            mlp.best_validation_score_ = -convergence.best
        else:
            mlp.best_loss_ = convergence.best

    def _has_converged(self) -> bool:
        return bool(self._convergence.waited > self.settings.n_iter_no_change)

    def _next_rate(self) -> float:
        mlp, settings = self.mlp, self.settings
        initial = float(settings.learning_rate_init)
        if settings.learning_rate == "invscaling":
            return initial / float((mlp.t_ + 1) ** settings.power_t)
        return initial * max((1 + cos(pi * mlp.n_iter_ / settings.max_iter)) / 2, 1e-4)

    def _stop_or_slow_down(self) -> None:
        mlp, settings = self.mlp, self.settings
        what = "Validation score" if settings.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change}"
            " consecutive epochs."
        )
        rate = mlp._optimizer.param_groups[0]["lr"]
        if not self._slows_down:
            self.stopped = True
            self._tell(message + " Stopping.")
        elif rate <= LEAST_RATE:
            self.stopped = True
            self._tell(message + " Learning rate too small. Stopping.")
        else:
            self._tell(message + " Setting learning rate to %f", rate / 5)
            self._set_rate(rate / 5)
            self._convergence.forgive()

    def _set_rate(self, rate: float) -> None:
        """Another rate from the next step on; what has been gathered keeps its own.

        The buffers of our optimizer hold gradients, scikit-learn's velocities those times the rate.
        """
        optimizer = self.mlp._optimizer
        if self.settings.solver != "sgd" or self.settings.momentum == 0:
            optimizer.lr = rate
            return
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            factor, group["lr"] = group["lr"] / rate, rate
        for entry in state["state"].values():
            if entry.get("momentum_buffer") is not None:
                entry["momentum_buffer"] = entry["momentum_buffer"] * factor
        optimizer.load_state_dict(state)

    def _tell(self, message: str, *values: float) -> None:
        if self.settings.verbose:
            print(message % values)
