"""L-BFGS-B of SciPy on the native loss and gradient of all rows at once."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp._types import Array
from fastmlp.sklearn._data import Rows, dense
from fastmlp.sklearn._network import layers_of, view
from fastmlp.sklearn._warnings import warn


def fit_lbfgs(mlp: Any, settings: SimpleNamespace, data: Rows) -> None:
    """Minimise the loss with its L2 term; `loss_`, `n_iter_` and the weights are the result's."""
    model, objective = mlp._model, mlp._objective
    x = dense(data.x)
    rows = len(x) if data.weights is None else float(data.weights.sum())
    parameters = list(model.parameters())
    decaying = {id(layer.weight._native) for layer in layers_of(model)}
    decays = [settings.alpha / rows if id(p._native) in decaying else 0.0 for p in parameters]
    constant = objective.constant(data.t, data.weights)

    def assign(packed: Array) -> None:
        start = 0
        for parameter in parameters:
            own = view(parameter)
            own[...] = packed[start : start + own.size].reshape(own.shape)
            start += own.size
            parameter._native.changed()

    def loss_and_gradient(packed: Array) -> tuple[float, Array]:
        assign(packed)
        model.zero_grad()
        loss = objective.loss(model(x), data.t, sample_weight=data.weights)
        loss.backward()
        value, gradients = float(loss), []
        for parameter, decay in zip(parameters, decays, strict=True):
            own = view(parameter)
            gradient = np.asarray(parameter.grad).T
            value += 0.5 * decay * float(np.vdot(own, own))
            gradients.append((gradient + decay * own).ravel())
        return value, np.concatenate(gradients)

    result = minimize(
        loss_and_gradient,
        np.concatenate([view(p).ravel() for p in parameters]),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol},
    )
    assign(result.x)
    model.zero_grad()
    penalty = sum(
        0.5 * decay * float(np.vdot(view(p), view(p)))
        for p, decay in zip(parameters, decays, strict=True)
    )
    mlp.loss_ = (float(result.fun) - penalty + constant) / objective.parts + penalty
    mlp.n_iter_ = min(result.nit, settings.max_iter)
    if settings.verbose:
        print(f"Iteration {mlp.n_iter_}, loss = {mlp.loss_:.8f}")
    if result.status != 0:
        warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):"
            f"\n{result.message}\n\nIncrease the number of iterations"
            f" (max_iter={settings.max_iter}) or scale the data to improve the convergence.",
            ConvergenceWarning,
        )
