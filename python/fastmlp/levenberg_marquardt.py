"""Levenberg and Marquardt's method for sums of squares of few thousand weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp._types import Array
from fastmlp.optimizer import Params
from fastmlp.options import Option
from fastmlp.parameter import Parameter
from fastmlp.whole_batch import WholeBatchOptimizer

SCALINGS = ("identity", "marquardt")
MOST_DAMPING = 1e16  # where no step changes anything


class LeastSquares(Protocol):
    """A sum of squares at the values that the parameters have now."""

    def loss(self) -> float: ...
    def normal(self) -> tuple[Array, Array]:
        """J^T J and J^T r, of the residuals r and their derivatives J."""
        ...


@dataclass(frozen=True)
class _Memory:
    """What is kept from step to step."""

    steps: int = 0
    damping: float | None = None  # of the next step; None: the first one makes it
    growth: float = 2.0  # by which it grows if that is refused
    accepted: bool = True


class _Known(NamedTuple):
    """The equations at some values, which a refused step leaves good for the next one."""

    values: Array
    loss: float
    matrix: Array
    gradient: Array


def _scaling(name: str, value: Any) -> str:
    return _checks.choice(name, value, SCALINGS)


class LevenbergMarquardt(WholeBatchOptimizer):
    """Levenberg and Marquardt's method (Marquardt, 1963), for `MSELoss` and small networks.

    A damped Gauss-Newton step p solves (J^T J + mu D) p = -J^T r for the residuals r and their
    derivatives J with respect to the weights. One that makes the loss smaller is accepted, and mu
    shrinks by how well the linear model has foretold that; after another one the parameters stay
    as they were, and mu grows (Nielsen's rule: Madsen, Nielsen and Tingleff, 2004, algorithm 3.16).
    It takes memory for weights x weights numbers, and time for their cube. `Trainer.fit` takes one
    step an epoch, on all rows.

    Parameters
    ----------
    params : iterable of Parameter, or of one dict
        Those with `requires_grad` are moved.
    damping : float
        Of the first step: mu, or with "identity" what that is beside the largest entry of J^T J's
        diagonal.
    scaling : {"identity", "marquardt"}
        D: the identity, or the diagonal of J^T J.

    Attributes
    ----------
    accepted : bool
        Whether the last step was.
    """

    damping = Option(lambda name, value: _checks.real(name, value, above=0))
    scaling = Option(_scaling)
    _known: _Known | None = None
    _memory = _Memory()

    def __init__(self, params: Params, damping: float = 1e-2, scaling: str = "identity") -> None:
        super().__init__(params, {"damping": damping, "scaling": scaling})
        self._memory = _Memory()

    @property
    def accepted(self) -> bool:
        return bool(self._memory.accepted)

    def step(  # type: ignore[override]
        self, residuals: Callable[[], Any], jacobian: Callable[[], Any]
    ) -> float:
        """Try one step.

        Parameters
        ----------
        residuals : callable
            Gives the residuals at the values that the parameters have then, such as
            ``lambda: model.predict(x) - t``, an array of any shape.
        jacobian : callable
            Gives their derivatives, with a last dimension of the weights, such as
            ``lambda: model.weight_jacobian(x)``.

        Returns
        -------
        float
            The sum of the residuals' squares before the step.
        """
        for name, value in (("residuals", residuals), ("jacobian", jacobian)):
            if not callable(value):
                raise TypeError(f"{name}: expected a function, got {_checks.show(value)}")
        weights = sum(parameter.size for parameter in self._moved())
        return self._advance(_Given(residuals, jacobian, weights))

    def _advance(self, problem: LeastSquares) -> float:
        before = self._values()
        with self._whole(before), np.errstate(all="ignore"):
            loss = problem.loss()
            known = self._known
            if known is None or known.loss != loss or not np.array_equal(known.values, before):
                known = _Known(before, loss, *problem.normal())
            memory = replace(self._memory, steps=self._memory.steps + 1, accepted=False)
            diagonal = np.diagonal(known.matrix)
            damping = memory.damping
            if damping is None:
                damping = self.damping
                if self.scaling == "identity":
                    damping *= float(diagonal.max()) or 1.0
            scale = np.maximum(diagonal, 1e-12 * diagonal.max())
            added = damping * (scale if self.scaling == "marquardt" else np.ones_like(scale))
            step = _solve(known.matrix + np.diag(added), -known.gradient)
            gain = 0.0
            if step is not None:
                self._assign((before + step).astype(before.dtype))
                foretold = float(step @ (added * step - known.gradient))
                if foretold > 0:
                    gain = (loss - problem.loss()) / foretold
            if gain > 0:
                memory = replace(
                    memory,
                    damping=damping * max(1 / 3, 1 - (2 * gain - 1) ** 3),
                    growth=2.0,
                    accepted=True,
                )
            else:
                self._assign(before)
                damping = min(damping * memory.growth, MOST_DAMPING)
                memory = replace(
                    memory, damping=damping, growth=min(2 * memory.growth, MOST_DAMPING)
                )
            self._known = None if memory.accepted else known
            self._memory = memory
        return loss

    def _moved(self) -> list[Parameter]:
        return [p for p in self._groups[0]["params"] if p.requires_grad]

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["attributes"].pop("_known", None)
        return state

    def _entries(self) -> dict[str, Any]:
        memory = self._memory
        if not memory.steps:
            return {}
        return {
            "step": memory.steps,
            "damping": memory.damping,
            "growth": memory.growth,
            "accepted": memory.accepted,
        }

    def _remember(self, memory: _Memory) -> None:
        self._memory = memory

    def _recalled(self, entries: Mapping[str, Any]) -> _Memory:
        if not entries:
            return _Memory()
        if set(entries) != {"step", "damping", "growth", "accepted"}:
            raise ValueError(
                "state_dict: expected that of LevenbergMarquardt, with step, damping, growth and"
                f" accepted, got {', '.join(map(repr, entries))}"
            )
        return _Memory(
            _checks.integer("state_dict: step", entries["step"], at_least=0),
            _checks.real("state_dict: damping", entries["damping"], above=0),
            _checks.real("state_dict: growth", entries["growth"], above=1),
            _checks.flag("state_dict: accepted", entries["accepted"]),
        )


def _solve(matrix: Array, right: Array) -> Array | None:
    """By Cholesky's decomposition; None where the matrix is not positive definite."""
    if not np.isfinite(matrix).all():
        return None
    try:
        from scipy.linalg.lapack import dposv
    except ImportError:
        try:
            lower = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return None
        step = np.linalg.solve(lower.T, np.linalg.solve(lower, right))
    else:
        _, step, info = dposv(matrix, right)
        if info != 0:
            return None
    return step if np.isfinite(step).all() else None


class _Given:
    """The residuals and derivatives of a call of `step`."""

    def __init__(
        self, residuals: Callable[[], Any], jacobian: Callable[[], Any], weights: int
    ) -> None:
        self._residuals, self._jacobian, self._weights = residuals, jacobian, weights

    def loss(self) -> float:
        self._r = _flat("residuals", self._residuals())
        return float(self._r @ self._r)

    def normal(self) -> tuple[Array, Array]:
        derivatives = _conversions.as_array(self._jacobian(), "jacobian")
        size = len(self._r) * self._weights
        if derivatives.size != size or derivatives.shape[-1:] != (self._weights,):
            raise ValueError(
                f"jacobian: expected {len(self._r)} x {self._weights} numbers, one for each"
                f" residual and weight, got shape {derivatives.shape}"
            )
        j = derivatives.reshape(-1, self._weights).astype(np.float64, copy=False)
        return j.T @ j, j.T @ self._r


def _flat(name: str, values: Any) -> Array:
    return np.ravel(_conversions.as_array(values, name)).astype(np.float64, copy=False)
