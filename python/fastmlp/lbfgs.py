"""L-BFGS, with torch's names, steps and state."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.optimizer import Params
from fastmlp.options import Option, not_negative
from fastmlp.whole_batch import WholeBatchOptimizer


def _at_least_one(name: str, value: Any) -> int:
    return _checks.integer(name, value, at_least=1)


def _line_search(name: str, value: Any) -> str | None:
    return None if value is None else _checks.choice(name, value, ("strong_wolfe",))


class LBFGS(WholeBatchOptimizer):
    """L-BFGS (Liu and Nocedal, 1989): a quasi-Newton method for a loss over all rows.

    A step needs a closure that evaluates the loss again; `Trainer.fit` needs none, and takes one
    step an epoch, on all rows, in native code.

    Parameters
    ----------
    params : iterable of Parameter, or of one dict
    lr : float
        The length of a step, or, with a line search, the first length to try.
    max_iter : int
        Iterations in a call of `step`.
    max_eval : int, optional
        Evaluations of the closure in a call, at about which it ends; 1.25 times `max_iter` by
        default.
    tolerance_grad : float
        A call ends when no entry of the gradient is larger.
    tolerance_change : float
        A call ends when the loss, or every parameter, changes by less.
    history_size : int
        How many of the last steps make up the approximation of the Hessian.
    line_search_fn : {None, "strong_wolfe"}
        None takes steps of the length `lr`, of which the first ones may well go too far.

    Notes
    -----
    The steps are those of `torch.optim.LBFGS`. A call that raises or is interrupted leaves
    parameters and state as they were.
    """

    lr = Option(not_negative)
    max_iter = Option(_at_least_one)
    max_eval = Option(_at_least_one)
    tolerance_grad = Option(not_negative)
    tolerance_change = Option(not_negative)
    history_size = Option(_at_least_one)
    line_search_fn = Option(_line_search)

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if max_eval is None:
            max_eval = max(1, _at_least_one("max_iter", max_iter) * 5 // 4)
        options = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, options, "lbfgs")

    def _native_options(self, options: Mapping[str, Any]) -> dict[str, float]:
        native = dict(options)
        if "line_search_fn" in native:
            native["line_search"] = native.pop("line_search_fn") is not None
        return {name: float(value) for name, value in native.items()}

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, runs its backward pass, and returns it.

        Returns
        -------
        Tensor or float
            The first loss that the closure has returned, that before the step.
        """
        if not callable(closure):
            raise TypeError(f"closure: expected a function, got {_checks.show(closure)}")
        return _core.whole_batch_step(self, closure)

    # State. Natively a vector is in the layout of the storage, the pairs of changes are by number.

    def _entries(self) -> dict[str, Any]:
        native = self._state()
        entries: dict[str, Any] = {
            name: native[name] for name in ("func_evals", "n_iter") if name in native
        }
        if "d" not in native:
            return entries
        pairs = range(len(native["ro"]))
        return entries | {
            "d": self._shown(native["d"]),
            "t": native["t"],
            "old_dirs": [self._shown(native[f"old_dirs.{i}"]) for i in pairs],
            "old_stps": [self._shown(native[f"old_stps.{i}"]) for i in pairs],
            "ro": native["ro"].tolist(),
            "H_diag": native["H_diag"],
            "prev_flat_grad": self._shown(native["prev_flat_grad"]),
            "prev_loss": native["prev_loss"],
        }

    def _recalled(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        known = {"func_evals", "n_iter", *_ALONE, *_LISTS, "al"}
        for name in entries:
            if name not in known:
                raise ValueError(f"state_dict: expected that of LBFGS, got one with {name!r}")

        def number(name: str, value: Any) -> float:
            return _checks.real(f"state_dict: {name}", value)

        def vector(name: str, value: Any) -> Array:
            return self._stored(self._vector(name, value))

        native: dict[str, Any] = {
            name: _checks.integer(f"state_dict: {name}", entries.get(name, 0), at_least=0)
            for name in ("n_iter", "func_evals")
        }
        if native["n_iter"] == 0:
            return native
        if missing := [name for name in _ALONE if entries.get(name) is None]:
            raise ValueError(f"state_dict: expected {missing[0]!r} after a step, got none")
        lists = [_listed(entries.get(name, [])) for name in _LISTS]  # no pairs: a file has no lists
        if not all(isinstance(own, list | tuple) for own in lists) or len(set(map(len, lists))) > 1:
            raise ValueError("state_dict: expected lists of one length as old_dirs, old_stps, ro")
        native |= {name: vector(name, entries[name]) for name in ("d", "prev_flat_grad")}
        native |= {name: number(name, entries[name]) for name in ("t", "H_diag", "prev_loss")}
        for name, values in (("old_dirs", lists[0]), ("old_stps", lists[1])):
            native |= {f"{name}.{i}": vector(name, value) for i, value in enumerate(values)}
        return native | {"ro": np.array([number("ro", value) for value in lists[2]], np.float64)}

    def _remember(self, memory: dict[str, Any]) -> None:
        self._set_state(memory)

    def _shown(self, stored: Array) -> Tensor:
        """A copy of a native vector in torch's order."""
        parts = self._split(stored)
        own = [p.reshape(q.shape[::-1]).T for p, q in zip(parts, self._moved(), strict=True)]
        return np.concatenate([np.ravel(part) for part in own]).view(Tensor)

    def _stored(self, shown: Array) -> Array:
        """The reverse."""
        parts = self._split(shown)
        own = [p.reshape(q.shape).T for p, q in zip(parts, self._moved(), strict=True)]
        return np.concatenate([np.ravel(part) for part in own])

    def _split(self, vector: Array) -> list[Array]:
        return np.split(vector, np.cumsum([p.size for p in self._moved()])[:-1])


_ALONE = ("d", "t", "H_diag", "prev_flat_grad", "prev_loss")
_LISTS = ("old_dirs", "old_stps", "ro")


def _listed(values: Any) -> Any:
    """An array, as which a file has a list, as one."""
    return list(values) if isinstance(values, np.ndarray) and values.ndim else values
