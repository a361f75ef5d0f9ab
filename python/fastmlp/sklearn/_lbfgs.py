"""L-BFGS of all rows at once, native, with the steps that scikit-learn takes by SciPy."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._types import Array
from fastmlp.options import Option, not_negative
from fastmlp.sklearn._data import Rows, dense
from fastmlp.sklearn._network import layers_of, view
from fastmlp.sklearn._warnings import warn
from fastmlp.trainer import Trainer
from fastmlp.whole_batch import WholeBatchOptimizer

# How a minimisation may end, by the native status: SciPy's status and words.
_ENDS = (
    (0, "CONVERGENCE"),
    (1, "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT"),
    (1, "STOP: TOTAL NO. OF F,G EVALUATIONS EXCEEDS LIMIT"),
    (2, "ABNORMAL: no step along the line makes the loss smaller"),
)


class _Minimiser(WholeBatchOptimizer):
    """One step is a whole minimisation, of the loss and `decays` times half the squares."""

    max_iter = Option(not_negative)
    max_eval = Option(not_negative)
    tolerance_grad = Option(not_negative)

    def __init__(self, params: Any, decays: Array, **options: Any) -> None:
        super().__init__(params, options, "scipy_lbfgs")
        self._set_state({"decay": decays})

    def _native_options(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(value) for name, value in options.items()}

    def result(self) -> SimpleNamespace:
        """`n_iter`, `status`, and the `loss` with the squares."""
        return SimpleNamespace(**self._state())


def fit_lbfgs(mlp: Any, settings: SimpleNamespace, data: Rows) -> None:
    """Minimise the loss with its L2 term; `loss_`, `n_iter_` and the weights are the result's."""
    model, objective = mlp._model, mlp._objective
    x = dense(data.x)
    rows = len(x) if data.weights is None else float(data.weights.sum())
    parameters = list(model.parameters())
    decaying = {id(layer.weight._native) for layer in layers_of(model)}
    decays = [settings.alpha / rows if id(p._native) in decaying else 0.0 for p in parameters]
    optimizer = _Minimiser(
        parameters,
        np.repeat(decays, [p.size for p in parameters]),
        max_iter=settings.max_iter,
        max_eval=settings.max_fun,
        tolerance_grad=settings.tol,
    )
    trainer = Trainer(model, optimizer, objective.loss, on_nonfinite="ignore")
    trainer.fit(
        x,
        data.t,
        max_epoch=1,
        batch_size=None,
        seed=0,
        progress=False,
        allow_nonfinite=True,  # they have been looked at
        sample_weight=data.weights,
    )
    model.zero_grad()
    result = optimizer.result()
    penalty = sum(
        0.5 * decay * float(np.vdot(view(p), view(p)))
        for p, decay in zip(parameters, decays, strict=True)
    )
    constant = objective.constant(data.t, data.weights)
    mlp.loss_ = (result.loss - penalty + constant) / objective.parts + penalty
    mlp.n_iter_ = result.n_iter
    if settings.verbose:
        print(f"Iteration {mlp.n_iter_}, loss = {mlp.loss_:.8f}")
    status, message = _ENDS[result.status]
    if status != 0:
        warn(
            f"lbfgs failed to converge after {result.n_iter} iteration(s) (status={status}):\n"
            f"{message}\n\nIncrease the number of iterations"
            f" (max_iter={settings.max_iter}) or scale the data to improve the convergence.",
            ConvergenceWarning,
        )
