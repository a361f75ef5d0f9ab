"""The regressor of several quantiles."""

from collections.abc import Iterable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import d2_pinball_score
from sklearn.utils._param_validation import Interval

from fastmlp._types import Array
from fastmlp.sklearn._regressor import MLPRegressor


class MLPQuantileRegressor(MLPRegressor):
    """An `MLPRegressor` of quantiles, all of one network; their predictions never cross.

    Parameters
    ----------
    quantiles : float or array_like of float
        Between 0 and 1.
    others
        Those of `MLPRegressor` but for `loss`, `quantile` and `huber_delta`.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLPRegressor._parameter_constraints,
        "quantiles": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }
    loss = "quantile"
    huber_delta = 1.0
    quantiles: Any

    def __init__(
        self,
        quantiles: float | Iterable[float] = (0.1, 0.5, 0.9),
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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the pinball loss that the prediction saves, the mean over quantiles.

        It is saved of the loss of the best constants; see `sklearn.metrics.d2_pinball_score`.
        """
        predicted = self.predict(X)
        return self._share_saved(np.reshape(predicted, (len(predicted), -1)), y, sample_weight)

    def _quantiles(self) -> Any:
        return np.atleast_1d(self.quantiles)

    def _check_targets(self, y: Any, incremental: bool, reset: bool) -> tuple[Array, int]:
        quantiles = self._quantiles()
        if quantiles.ndim != 1 or not np.all((quantiles > 0) & (quantiles < 1)):
            raise ValueError(
                f"quantiles: expected numbers between 0 and 1, in one row, got {self.quantiles}"
            )
        return self._validation_targets(y), len(quantiles)

    def _values(self, y: Array) -> Array:
        """In their order (Chernozhukov et al., 2010), which a network need not keep."""
        places = np.argsort(np.argsort(self._quantiles(), kind="stable"))
        return np.sort(y, axis=1)[:, places]

    def _score_outputs(self, y: Array, t: Array, weights: Array | None) -> float:
        return self._share_saved(self._values(y), t, weights) if np.isfinite(y).all() else np.nan

    def _share_saved(self, y: Array, t: Any, weights: Any) -> float:
        shares = [
            d2_pinball_score(t, column, sample_weight=weights, alpha=quantile)
            for column, quantile in zip(y.T, self._quantiles(), strict=True)
        ]
        return float(np.mean(shares))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags
