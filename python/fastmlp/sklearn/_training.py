"""Training by mini-batches: native epochs, and what scikit-learn does after each of them."""

import warnings
from math import cos, pi
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._types import Array
from fastmlp.history import EpochInfo
from fastmlp.modules import Module
from fastmlp.optim import SGD, Adam, AdamW, Optimizer
from fastmlp.sklearn._data import Rows
from fastmlp.sklearn._embeddings import Embedded, Stepwise
from fastmlp.sklearn._network import arrays_of, layers_of, view
from fastmlp.trainer import Trainer

SOLVERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
LEAST_RATE = 1e-6  # "adaptive" ends where the rate is no more than this
SEEDS = 2**31 - 1


def make_optimizer(model: Module, settings: SimpleNamespace) -> Optimizer:
    """That of `solver`; its first group has the weights, which alone decay."""
    weights = [layer.weight for layer in layers_of(model)]
    own = {id(weight._native) for weight in weights}
    others = [p for p in model.parameters() if id(p._native) not in own]
    groups = [{"params": weights}, {"params": others}]
    rate = settings.learning_rate_init
    if settings.solver == "sgd":
        nesterov = settings.nesterovs_momentum and settings.momentum > 0
        return SGD(groups, rate, momentum=settings.momentum, nesterov=nesterov)
    kind = AdamW if settings.solver == "adamw" else Adam
    betas = settings.beta_1, settings.beta_2
    return kind(groups, rate, betas=betas, eps=settings.epsilon, weight_decay=0.0)


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
        warnings.warn("Training interrupted by user.", stacklevel=2)
    epochs.finish()


def _batch_size(mlp: Any, settings: SimpleNamespace, rows: int) -> int:
    if settings.batch_size == "auto":
        batch_size = min(200, rows)
    else:
        if settings.batch_size > rows and mlp.batch_size != "auto":
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be"
                " clipped",
                stacklevel=4,
            )
        batch_size = min(settings.batch_size, rows)
    while settings.batch_norm and 1 < batch_size < rows and rows % batch_size == 1:
        batch_size += 1  # a single row has no statistics
    return batch_size


class Epochs:
    """The epochs of one fit. A call is what comes after each: true ends the native training.

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
        if not incremental or type(mlp._optimizer) is not SOLVERS[settings.solver]:
            mlp._optimizer = make_optimizer(mlp._model, settings)
        optimizer: Any = mlp._optimizer
        mlp.n_iter_ = 0
        self.mlp, self.settings = mlp, settings
        self.data, self.validation = data, validation
        self._incremental = incremental
        self.max_epoch = 1 if incremental else settings.max_iter
        self.stopped = False
        self._best: dict[str, Array] | None = None
        self._changes_within = batch_size < rows  # do weights within an epoch
        # The weights of a batch's rows, on average: what scikit-learn divides `alpha` by.
        share = batch_size * (1.0 if data.weights is None else float(np.mean(data.weights)))
        decay = settings.alpha / share if share > 0 else 0.0
        batches = -(-rows // batch_size)
        self._penalty = 0.5 * decay * batch_size * batches / rows
        if settings.solver == "adamw":
            decay, self._penalty = settings.alpha, 0.0
        elif batches > 1:  # a last batch of fewer rows is divided by those: here all take a part
            last = rows - (batches - 1) * batch_size
            decay *= (batches - 1 + batch_size / last) / batches
        optimizer.param_groups[0]["weight_decay"] = decay
        self._weights = [view(layer.weight) for layer in layers_of(mlp._model)]
        self._norm = self._square_norm()
        schedules = ["cosine", "invscaling"] if settings.solver == "sgd" else ["cosine"]
        self._has_schedule = settings.learning_rate in schedules
        self._constant = mlp._objective.constant(data.t, data.weights)
        if validation is not None:
            self._validation_constant = mlp._objective.constant(validation.t, validation.weights)

        parts = mlp._model, optimizer, mlp._objective.loss
        self.trainer: Any = (
            Stepwise(*parts)
            if isinstance(mlp._model, Embedded)
            else Trainer(*parts, on_nonfinite="ignore")
        )
        self.seed = int(mlp._random_state.randint(SEEDS))
        self.callbacks = [self, *mlp._callbacks()]

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
        if self._best is not None:
            mlp._model.load_state_dict(self._best)
        ends_as_planned = self.stopped or self._incremental or settings.learning_rate == "cosine"
        if mlp.n_iter_ == settings.max_iter and not ends_as_planned:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) reached and the"
                " optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def __call__(self, info: EpochInfo) -> bool:
        mlp, settings = self.mlp, self.settings
        mlp.n_iter_ += 1
        mlp.t_ += self._rows
        norm = before = self._norm
        if self._penalty:
            norm = self._norm = self._square_norm()
        if self._changes_within:
            before = (before + norm) / 2
        parts = mlp._objective.parts
        mlp.loss_ = loss = (info.loss + self._constant) / parts + self._penalty * before
        mlp.loss_curve_.append(loss)
        if settings.verbose:
            print(f"Iteration {mlp.n_iter_}, loss = {loss:.8f}")
        if info.validation_loss is not None:
            mlp.validation_loss_curve_.append(
                (info.validation_loss + self._validation_constant) / parts
            )
            mlp.validation_scores_.append(info.metrics["_score"])
            if settings.verbose:
                print(f"Validation score: {mlp.validation_scores_[-1]:f}")
        self._count()
        if self._has_schedule:
            self._set_rate(self._next_rate())
        if mlp._no_improvement_count > settings.n_iter_no_change:
            self._stop_or_slow_down()
        return self.stopped

    def _score(self, y: Array, t: Array) -> float:
        assert self.validation is not None
        return float(self.mlp._score_outputs(y, t, self.validation.weights))

    def _count(self) -> None:
        """How long nothing has improved, and by what: the score if it stops, else the loss."""
        mlp, settings = self.mlp, self.settings
        if settings.early_stopping:
            score = mlp.validation_scores_[-1]
            stays = score < mlp.best_validation_score_ + settings.tol
            if score > mlp.best_validation_score_:
                mlp.best_validation_score_ = score
                self._best = arrays_of(mlp._model)
        else:
            stays = mlp.loss_ > mlp.best_loss_ - settings.tol
            mlp.best_loss_ = min(mlp.best_loss_, mlp.loss_)
        mlp._no_improvement_count = mlp._no_improvement_count + 1 if stays else 0

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
        if settings.solver != "sgd" or settings.learning_rate != "adaptive":
            self.stopped = True
            self._tell(message + " Stopping.")
        elif rate <= LEAST_RATE:
            self.stopped = True
            self._tell(message + " Learning rate too small. Stopping.")
        else:
            self._tell(message + " Setting learning rate to %f", rate / 5)
            self._set_rate(rate / 5)
            mlp._no_improvement_count = 0

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

    def _square_norm(self) -> float:
        return sum(float(np.vdot(w, w)) for w in self._weights)

    def _tell(self, message: str, *values: float) -> None:
        if self.settings.verbose:
            print(message % values)
