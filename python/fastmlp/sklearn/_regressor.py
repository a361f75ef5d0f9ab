"""The regressor."""

from collections.abc import Iterable
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp import _checks
from fastmlp._rows import parts
from fastmlp._types import Array
from fastmlp.layers import Dropout
from fastmlp.seeds import seeded
from fastmlp.sklearn._base import BaseMLP
from fastmlp.sklearn._losses import REGRESSION, Objective, of_values
from fastmlp.tensor import no_grad


class MLPRegressor(RegressorMixin, BaseMLP):
    """A regressor, drop-in for `sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    others
        Those of scikit-learn's come first, with their order, defaults and meaning.
    solver : {"adam", "sgd", "lbfgs", "adamw", "lm"}
        "lm" is Levenberg and Marquardt's method, in float64: for "squared_error" and networks of up
        to a few thousand weights, where it needs by far the fewest iterations. Each of `max_iter`
        is a step, accepted or not.
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"}
        What is minimised; "quantile" takes one target.
    quantile : float
        With `loss="quantile"`: which one, between 0 and 1.
    huber_delta : float
        With `loss="huber"`: where the square ends.
    standardize_target : bool
        Whether the targets that the network sees have mean 0 and variance 1; `loss_curve_` tells of
        them. Not with "poisson".
    more
        Those of our `MLPClassifier` but `class_weight`, which also says what the attributes are and
        where the training differs from scikit-learn's.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw", "lm"})],
        "loss": [StrOptions(set(REGRESSION))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "standardize_target": ["boolean"],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }
    loss: str
    quantile: Any
    huber_delta: float
    standardize_target: bool

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantile: float = 0.5,
        huber_delta: float = 1.0,
        dtype: str = "float32",
        dropout: float | Iterable[float] = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        max_grad_norm: float | None = None,
        callbacks: Any = None,
        standardize: bool = False,
        standardize_target: bool = False,
        categorical_features: Any = None,
        missing: str = "error",
        preset: str | None = None,
    ) -> None:
        self._set_parameters(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPRegressor":
        """Train on a table and its targets.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix, shape (rows, features)
        y : array_like
            Of shape (rows,), or (rows, outputs).
        sample_weight : array_like, shape (rows,), optional
            What each row counts.
        X_val, y_val, sample_weight_val : optional
            Likewise rows to validate with after each epoch, which `early_stopping` takes instead of
            a part of X.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train for one epoch more."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any, return_std: bool = False, samples: int = 50) -> Any:
        """The values, of shape (rows,), or (rows, outputs) where there are several.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix, shape (rows, features)
        return_std : bool
            With `dropout` alone: whether to return standard deviations, too. They and the values
            are then those of passes with values dropped (Gal and Ghahramani, arXiv 1506.02142).
            Of networks without, `BaggingMLPRegressor` has them.
        samples : int
            How many passes these are. With a number as `random_state` they are the same in each
            call.

        Returns
        -------
        mean : ndarray
        std : ndarray of the same shape
            With `return_std` alone.
        """
        return_std = _checks.flag("return_std", return_std)
        if not return_std:
            y, dtype = self._outputs(X)
            y = self._values(y.astype(dtype, copy=False))
            if self._target_scale is not None:
                y = np.asarray(y * self._target_scale[1] + self._target_scale[0], dtype)
            return y.ravel() if y.shape[1] == 1 else y
        mean, std, dtype = self._moments(X, _checks.integer("samples", samples, at_least=2))
        center, scale = self._target_scale or (0.0, 1.0)
        mean, std = np.asarray(mean * scale + center, dtype), np.asarray(std * scale, dtype)
        return (mean.ravel(), std.ravel()) if mean.shape[1] == 1 else (mean, std)

    def _moments(self, X: Any, samples: int) -> tuple[Array, Array, Any]:
        """Mean and deviation over passes with dropout, and the dtype of what comes of them."""
        check_is_fitted(self)
        if not any(self._architecture.dropout):
            raise ValueError(
                "return_std: expected False of a network without dropout, got True; a"
                " BaggingMLPRegressor has it of any networks"
            )
        x = self._encode(X, reset=False)
        dtype = np.result_type(x.dtype, self.coefs_[0].dtype)
        model = deepcopy(self._model)  # predictions may be under way in other threads
        for module in model.modules():
            if isinstance(module, Dropout):
                module.train()
        means, deviations = [], []
        seed = self.random_state
        with no_grad(), seeded(int(seed) if isinstance(seed, Integral) else None):
            for part in parts(self._inputs(x)):
                passes = (np.asarray(model(part), np.float64) for _ in range(samples))
                y = np.stack([self._values(one) for one in passes])
                means.append(y.mean(axis=0))
                deviations.append(y.std(axis=0))
        return np.concatenate(means), np.concatenate(deviations), dtype

    def _values(self, y: Array) -> Array:
        return np.asarray(np.exp(y) if self.out_activation_ == "exp" else y)

    def _quantiles(self) -> Any:
        return self.quantile

    def _takes_any_target(self) -> bool:
        return self.loss != "poisson"

    def _check_targets(self, y: Any, incremental: bool, reset: bool) -> tuple[Array, int]:
        if self.standardize_target and not self._takes_any_target():
            raise ValueError("standardize_target: expected False with loss='poisson', got True")
        if self.solver == "lm" and self.loss != "squared_error":
            raise ValueError(f"loss: expected 'squared_error' with solver='lm', got {self.loss!r}")
        t = self._validation_targets(y)
        return t, t.shape[1]

    def _validation_targets(self, y: Any) -> Array:
        y = self._check_y(y, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.dtype != np.float32:
            y = y.astype(np.float64)
        t: Array = y.reshape(len(y), -1)
        if self.loss == "poisson" and np.any(t < 0):
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson'.")
        if self.loss == "quantile" and t.shape[1] > 1:
            raise ValueError(
                f"y: expected one target with loss='quantile', got {t.shape[1]} columns"
            )
        return t

    def _make_objective(self, outputs: int) -> Objective:
        return of_values(self.loss, outputs, self.huber_delta, self._quantiles())

    def _score_outputs(self, y: Array, t: Array, weights: Array | None) -> float:
        """R2, the mean over outputs: `r2_score`, without checks that take as long as epochs."""
        y, t = self._values(y.astype(np.float64)), t.astype(np.float64)
        if not np.isfinite(y).all():
            return float("nan")
        w = np.ones(len(t)) if weights is None else weights
        mean = np.average(t, axis=0, weights=w)
        error, spread = w @ (t - y) ** 2, w @ (t - mean) ** 2
        constant = spread == 0
        score = 1 - error / np.where(constant, 1, spread)
        return float(np.mean(np.where(constant, error == 0, score)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
