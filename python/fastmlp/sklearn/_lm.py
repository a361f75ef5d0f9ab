"""Levenberg and Marquardt's method on the squares of all rows at once."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._types import Array
from fastmlp.levenberg_marquardt import MOST_DAMPING, LevenbergMarquardt
from fastmlp.sklearn._data import Rows, dense
from fastmlp.sklearn._network import layers_of
from fastmlp.sklearn._warnings import warn

_PIECE = 1 << 23  # derivatives that are held at once
_STALLED = 1e-12  # a share of the loss by which it hardly falls


def fit_lm(mlp: Any, settings: SimpleNamespace, data: Rows) -> None:
    """Minimise the loss with its L2 term; `loss_`, `n_iter_` and the weights are the result's."""
    problem = _Squares(mlp, settings.alpha, data)
    optimizer = LevenbergMarquardt(mlp._model.parameters())
    loss, converged = np.inf, False
    mlp.n_iter_ = 0
    while mlp.n_iter_ < settings.max_iter and not converged:
        before = optimizer._advance(problem)
        mlp.n_iter_ += 1
        if settings.verbose:
            print(f"Iteration {mlp.n_iter_}, loss = {before:.8f}")
        stalled = optimizer.accepted and before >= loss * (1 - _STALLED)
        flat = 2 * np.abs(problem.gradient).max() <= settings.tol
        converged = stalled or flat or (optimizer._memory.damping or 0) >= MOST_DAMPING
        if optimizer.accepted:
            loss = before
    problem.loss()
    mlp.loss_ = problem.error / mlp._objective.parts + problem.penalty
    if not converged:
        warn(
            f"Levenberg-Marquardt: maximum iterations ({settings.max_iter}) reached and the"
            " optimization hasn't converged yet.",
            ConvergenceWarning,
        )


class _Squares:
    """Half the squared error of a row, its mean over rows, and the L2 term."""

    def __init__(self, mlp: Any, alpha: float, data: Rows) -> None:
        self._model, self._x = mlp._model, dense(data.x)
        self._t = np.asarray(data.t, np.float64)
        weights = np.ones(len(self._x)) if data.weights is None else np.asarray(data.weights)
        self._scale = np.sqrt(weights / (2 * weights.sum()))[:, None]
        decaying = {id(layer.weight._native) for layer in layers_of(self._model)}
        shares = [
            np.full(p.size, alpha / (2 * weights.sum()) if id(p._native) in decaying else 0.0)
            for p in self._model.parameters()
        ]
        self._decay = np.concatenate(shares)
        self.error = self.penalty = np.inf
        self.gradient = np.full(1, np.inf)

    def loss(self) -> float:
        self._values = np.concatenate([np.ravel(p.numpy()) for p in self._model.parameters()])
        self._r = (self._model.predict(self._x) - self._t) * self._scale
        self.error = float(np.vdot(self._r, self._r))
        self.penalty = float(self._decay @ self._values**2)
        return self.error + self.penalty

    def normal(self) -> tuple[Array, Array]:
        """A piece of the rows at a time."""
        count, outputs = len(self._values), self._r.shape[1]
        matrix, gradient = np.diag(self._decay), self._decay * self._values
        piece = max(1, _PIECE // (count * outputs))
        for first in range(0, len(self._x), piece):
            own = slice(first, first + piece)
            j = self._model.weight_jacobian(self._x[own]) * self._scale[own, :, None]
            j = j.reshape(-1, count)
            matrix += j.T @ j
            gradient += j.T @ self._r[own].ravel()
        self.gradient = gradient
        return matrix, gradient
