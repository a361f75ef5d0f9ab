"""The losses by scikit-learn's names: what is minimised, and what is told of it.

The gradient is that of a mean over rows, summed over outputs, as scikit-learn takes it for all
losses. What `loss_curve_` tells of the losses of a regression is the mean over outputs instead, but
for Poisson's.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from fastmlp._types import Array
from fastmlp.distribution_losses import PoissonNLLLoss, QuantileLoss
from fastmlp.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss

REGRESSION = ("squared_error", "poisson", "absolute_error", "huber", "quantile")
_BY_ROWS = ("mean", "sum", "none", "batchmean")


class _BCE(BCEWithLogitsLoss):
    _reductions = _BY_ROWS


class _Huber(HuberLoss):
    _reductions = _BY_ROWS


class _L1(L1Loss):
    _reductions = _BY_ROWS


class _Poisson(PoissonNLLLoss):
    _reductions = _BY_ROWS


class _Quantile(QuantileLoss):
    _reductions = _BY_ROWS


_FAR = 1e18  # beyond any error, and its square is still a float32


class Objective(NamedTuple):
    """A loss, the output's activation by scikit-learn's name, and what the loss is divided by."""

    loss: Loss
    out_activation: str
    parts: int = 1

    def constant(self, t: Array, weights: Array | None) -> float:
        """What scikit-learn adds to the loss, which depends on the targets alone."""
        if not isinstance(self.loss, PoissonNLLLoss):
            return 0.0
        t = np.asarray(t, np.float64)
        return float(np.average(xlogy(t, t) - t, weights=weights, axis=0).sum())


def of_classes(multiclass: bool) -> Objective:
    """The log-loss of one class among several, or of each output's yes or no."""
    if multiclass:
        return Objective(CrossEntropyLoss(), "softmax")
    return Objective(_BCE(reduction="batchmean"), "logistic")


def of_values(loss: str, outputs: int, delta: float, quantiles: Any) -> Objective:
    """The loss of a regression."""
    if loss == "poisson":
        return Objective(_Poisson(reduction="batchmean"), "exp")
    if loss == "quantile":
        return Objective(_Quantile(quantiles, reduction="batchmean"), "identity", outputs)
    if loss == "absolute_error":
        return Objective(_L1(reduction="batchmean"), "identity", outputs)
    if loss == "squared_error":
        delta = _FAR  # half the square
    return Objective(_Huber(reduction="batchmean", delta=delta), "identity", outputs)
