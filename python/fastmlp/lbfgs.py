"""L-BFGS, with torch's names, steps and state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.line_search import Point, strong_wolfe
from fastmlp.optimizer import Params
from fastmlp.options import Option, not_negative
from fastmlp.whole_batch import WholeBatchOptimizer

_LEAST_CURVATURE = 1e-10  # below it, a pair of changes says nothing


def _at_least_one(name: str, value: Any) -> int:
    return _checks.integer(name, value, at_least=1)


def _line_search(name: str, value: Any) -> str | None:
    return None if value is None else _checks.choice(name, value, ("strong_wolfe",))


@dataclass
class _Memory:
    """What is kept from step to step; arrays and pairs are not changed once they are here."""

    iterations: int = 0
    evaluations: int = 0
    direction: Array | None = None
    length: float = 0.0  # of the last step along it
    gradient: Array | None = None  # before it
    loss: float = 0.0
    scale: float = 1.0  # of the first approximation of the inverse Hessian
    # Changes of gradients and of parameters, and 1 over their products; the last is the newest.
    changes: list[Array] = field(default_factory=list)
    steps: list[Array] = field(default_factory=list)
    inverses: list[float] = field(default_factory=list)

    def remember(self, gradient: Array, most: int) -> None:
        """The last step and what it did to the gradient, unless the curvature was none."""
        assert self.direction is not None
        assert self.gradient is not None
        change, step = gradient - self.gradient, self.direction * self.length
        curvature = float(change @ step)
        if not curvature > _LEAST_CURVATURE:
            return
        first = len(self.steps) == most
        self.changes = [*self.changes[first:], change]
        self.steps = [*self.steps[first:], step]
        self.inverses = [*self.inverses[first:], 1 / curvature]
        self.scale = curvature / float(change @ change)

    def downhill(self, gradient: Array) -> Array:
        """Minus the approximate inverse Hessian times the gradient.

        The two-loop recursion: Nocedal and Wright, Numerical Optimization, algorithm 7.4.
        """
        pairs = list(zip(self.changes, self.steps, self.inverses, strict=True))
        direction, shares = -gradient, []
        for change, step, inverse in reversed(pairs):
            share = inverse * float(step @ direction)
            direction -= share * change
            shares.append(share)
        direction *= self.scale
        for (change, step, inverse), share in zip(pairs, reversed(shares), strict=True):
            direction += (share - inverse * float(change @ direction)) * step
        return direction


class LBFGS(WholeBatchOptimizer):
    """L-BFGS (Liu and Nocedal, 1989): a quasi-Newton method for a loss over all rows.

    A step needs a closure that evaluates the loss again; `Trainer.fit` brings its own, and takes
    one step an epoch, on all rows.

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
        super().__init__(params, options)
        self._memory = _Memory()

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
        before = self._values()
        with self._whole(before), np.errstate(all="ignore"):
            first = closure()
            self._memory = self._iterate(closure, before, float(first))
        return first

    def _iterate(self, closure: Callable[[], Any], x: Array, loss: float) -> _Memory:
        """The iterations of a step, from values with this loss; returns the new memory."""
        options = self._groups[0].options
        gradient = self._gradient()
        memory: _Memory = replace(self._memory, evaluations=self._memory.evaluations + 1)
        left = options["max_eval"] - 1
        if _largest(gradient) <= options["tolerance_grad"]:
            return memory
        for iteration in range(1, options["max_iter"] + 1):
            memory.iterations += 1
            if memory.iterations > 1:
                memory.remember(gradient, options["history_size"])
            memory.length = options["lr"]
            if memory.iterations == 1:
                memory.length *= min(1.0, 1 / float(np.abs(gradient).sum()))
            direction = memory.direction = memory.downhill(gradient)
            memory.gradient, memory.loss = gradient, loss
            slope = float(gradient @ direction)
            if slope > -options["tolerance_change"]:
                break

            def at(length: float, x: Array = x, direction: Array = direction) -> Point:
                self._assign(x + length * direction)
                value = float(closure())
                found = self._gradient()
                return Point(length, value, found, float(found @ direction))

            if options["line_search_fn"] is not None:
                start = Point(0.0, loss, gradient, slope)
                point, used = strong_wolfe(at, start, memory.length, _largest(direction), left)
                memory.length, loss, gradient = point[:3]
            elif iteration < options["max_iter"]:
                _, loss, gradient, _ = at(memory.length)
                used = 1
            else:
                used = 0  # nobody looks at the last one any more
            x = x + memory.length * direction
            self._assign(x)
            memory.evaluations += used
            left -= used
            if (
                left <= 0
                or _largest(gradient) <= options["tolerance_grad"]
                or _largest(direction * memory.length) <= options["tolerance_change"]
                or abs(loss - memory.loss) < options["tolerance_change"]
            ):
                break
        return memory

    def _entries(self) -> dict[str, Any]:
        memory = self._memory
        if not memory.evaluations:
            return {}
        entries = {"func_evals": memory.evaluations, "n_iter": memory.iterations}
        if memory.direction is None:
            return entries
        return entries | {
            "d": _copy(memory.direction),
            "t": memory.length,
            "old_dirs": [_copy(change) for change in memory.changes],
            "old_stps": [_copy(step) for step in memory.steps],
            "ro": [*memory.inverses],
            "H_diag": memory.scale,
            "prev_flat_grad": _copy(memory.gradient),
            "prev_loss": memory.loss,
        }

    def _recalled(self, entries: Mapping[str, Any]) -> _Memory:
        known = {"func_evals", "n_iter", *_ALONE, *_LISTS, "al"}
        for name in entries:
            if name not in known:
                raise ValueError(f"state_dict: expected that of LBFGS, got one with {name!r}")

        def number(name: str, value: Any) -> float:
            return _checks.real(f"state_dict: {name}", value)

        def count(name: str) -> int:
            return _checks.integer(f"state_dict: {name}", entries.get(name, 0), at_least=0)

        memory = _Memory(count("n_iter"), count("func_evals"))
        if memory.iterations == 0:
            return memory
        if missing := [name for name in _ALONE if entries.get(name) is None]:
            raise ValueError(f"state_dict: expected {missing[0]!r} after a step, got none")
        lists = [_listed(entries.get(name, [])) for name in _LISTS]  # no pairs: a file has no lists
        if not all(isinstance(own, list | tuple) for own in lists) or len(set(map(len, lists))) > 1:
            raise ValueError("state_dict: expected lists of one length as old_dirs, old_stps, ro")
        memory.direction = self._vector("d", entries["d"])
        memory.gradient = self._vector("prev_flat_grad", entries["prev_flat_grad"])
        memory.length, memory.scale = number("t", entries["t"]), number("H_diag", entries["H_diag"])
        memory.loss = number("prev_loss", entries["prev_loss"])
        memory.changes = [self._vector("old_dirs", value) for value in lists[0]]
        memory.steps = [self._vector("old_stps", value) for value in lists[1]]
        memory.inverses = [number("ro", value) for value in lists[2]]
        return memory


_ALONE = ("d", "t", "H_diag", "prev_flat_grad", "prev_loss")
_LISTS = ("old_dirs", "old_stps", "ro")


def _largest(values: Array) -> float:
    return float(np.abs(values).max())


def _listed(values: Any) -> Any:
    """An array, as which a file has a list, as one."""
    return list(values) if isinstance(values, np.ndarray) and values.ndim else values


def _copy(values: Any) -> Tensor:
    return np.array(values).view(Tensor)
