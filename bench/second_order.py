"""Losses against time for methods of the first and the second order.

python bench/second_order.py [--seconds N] [--picture FILE]

Three small regressions, all rows a step, float64, one thread. Each method starts from the same
weights and ends after `--seconds`, or when nothing changes any more. SciPy's `least_squares` gets
our predictions and our Jacobian of the weights, as the best that it can do; torch's L-BFGS computes
in torch. The table has the loss at some times, and when each method was below the best loss that
Adam found in all of its time.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from threadpoolctl import threadpool_limits

import fastmlp as fm
from fastmlp.nn.utils import parameters_to_vector, vector_to_parameters
from machine import machine

Curve = tuple[list[float], list[float]]  # seconds and losses
TIMES = (0.03, 0.3, 3.0)
LBFGS: dict[str, Any] = {
    "line_search_fn": "strong_wolfe",
    "tolerance_grad": 0.0,
    "tolerance_change": 0.0,
}
UNCHANGED = 20  # epochs without any change that end a run


def problems() -> Iterator[tuple[str, list[int], Any, Any]]:
    """Name, layers, inputs and targets, of mean 0 and variance 1."""
    tables = {
        "temperature 1-13-1": ([1, 13, 1], fm.datasets.temperature()),
        "Boston 13-3-3-3-1": ([13, 3, 3, 3, 1], fm.datasets.boston()),
        "surface 2-20-20-1": ([2, 20, 20, 1], fm.datasets.surface("franke", 1000)),
    }
    for name, (sizes, (x, t)) in tables.items():
        x, t = (np.asarray(part, np.float64).reshape(len(part), -1) for part in (x, t))
        yield name, sizes, (x - x.mean(0)) / x.std(0), (t - t.mean(0)) / t.std(0)


class Clock:
    """Losses with the times since the start."""

    def __init__(self, seconds: float) -> None:
        self.start, self.seconds = time.perf_counter(), seconds
        self.curve: Curve = ([], [])
        self._same = 0

    def add(self, loss: float) -> bool:
        """Whether the run ends."""
        passed, (times, losses) = time.perf_counter() - self.start, self.curve
        self._same = self._same + 1 if losses and loss == losses[-1] else 0
        times.append(passed)
        losses.append(loss)
        return passed > self.seconds or self._same > UNCHANGED


def model_of(sizes: list[int]) -> fm.MLP:
    return fm.MLP(sizes, activation="tanh", dtype="float64", seed=1)


def by_trainer(make: Callable[[Any], Any], every: int = 1) -> Callable[..., Curve]:
    """A run by `Trainer.fit`, looked at every so many epochs."""

    def run(sizes: list[int], x: Any, t: Any, seconds: float) -> Curve:
        model = model_of(sizes)
        trainer = fm.Trainer(model, make(model.parameters()), fm.MSELoss(), on_nonfinite="ignore")
        clock = Clock(seconds)
        ends = False
        while not ends:
            trainer.fit(x, t, max_epoch=every, batch_size=None, progress=False)
            ends = clock.add(trainer.evaluate(x, t)["loss"])
        return clock.curve

    return run


class TimeIsOverError(Exception):
    """Ends SciPy's run."""


def by_scipy(sizes: list[int], x: Any, t: Any, seconds: float) -> Curve:
    model = model_of(sizes)
    clock = Clock(seconds)
    best = np.inf

    def residuals(values: Any) -> Any:
        nonlocal best
        vector_to_parameters(values, model.parameters())
        errors = np.ravel(model.predict(x) - t)
        best = min(best, float(errors @ errors) / errors.size)
        clock.add(best)
        if clock.curve[0][-1] > seconds:
            raise TimeIsOverError
        return errors

    def jacobian(values: Any) -> Any:
        vector_to_parameters(values, model.parameters())
        return model.weight_jacobian(x).reshape(len(x), -1)

    start = np.array(parameters_to_vector(model.parameters()))
    with suppress(TimeIsOverError):
        least_squares(residuals, start, jacobian, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return clock.curve


def by_torch(sizes: list[int], x: Any, t: Any, seconds: float) -> Curve:
    layers: list[Any] = []
    for width, following in pairwise(sizes):
        layers += [torch.nn.Linear(width, following), torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1]).double()
    for own, other in zip(model.parameters(), model_of(sizes).parameters(), strict=True):
        own.data = torch.tensor(np.array(other))
    optimizer = torch.optim.LBFGS(model.parameters(), **LBFGS)
    inputs, targets = torch.tensor(x), torch.tensor(t)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    clock = Clock(seconds)
    while not clock.add(float(optimizer.step(closure).detach())):
        pass
    return clock.curve


METHODS: dict[str, Callable[..., Curve]] = {
    "Adam": by_trainer(lambda params: fm.Adam(params, lr=0.01), every=100),
    "L-BFGS": by_trainer(lambda params: fm.LBFGS(params, **LBFGS)),
    "Levenberg-Marquardt": by_trainer(fm.LevenbergMarquardt),
    "SciPy least_squares": by_scipy,
    "torch L-BFGS": by_torch,
}


def at(curve: Curve, seconds: float) -> float:
    """The best loss up to a time."""
    return min((loss for when, loss in zip(*curve, strict=True) if when <= seconds), default=np.inf)


def when(curve: Curve, level: float) -> float:
    """When the loss was first no more than this."""
    return next((s for s, loss in zip(*curve, strict=True) if loss <= level), np.inf)


def draw(curves: dict[str, dict[str, Curve]], path: str) -> None:
    from fastmlp import plot

    figure, axes = plot.figure(1, len(curves), size=(4.4 * len(curves), 4.4))
    for ax, (name, own) in zip(axes, curves.items(), strict=True):
        for (method, (times, losses)), colour, dash in zip(
            own.items(), plot.COLOURS, ("-", "-", "-", "--", "--"), strict=False
        ):
            best = np.minimum.accumulate(np.maximum(losses, 1e-16))
            seen = np.searchsorted(times, np.geomspace(times[0], times[-1], 300))
            seen = np.unique(np.clip(seen, 0, len(times) - 1))  # an SVG has no room for all
            ax.loglog(
                np.array(times)[seen], best[seen], dash, color=colour, label=method, linewidth=1.8
            )
        ax.set(title=name, xlabel="seconds")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean squared error, the best so far")
    axes[-1].legend(loc="lower left", fontsize="small")
    plot.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--picture")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{name} {fact}" for name, fact in machine().items()))
    curves: dict[str, dict[str, Curve]] = {}
    with fm.threads(1), threadpool_limits(1):
        for name, sizes, x, t in problems():
            own = curves[name] = {}
            for method, run in METHODS.items():
                run(sizes, x, t, 0.05)  # whatever is made at the first call
                own[method] = run(sizes, x, t, given.seconds)
            adam = at(own["Adam"], np.inf)
            print(f"\n{name}: losses after ...; time to {adam:.2e}, Adam's best")
            shown = [s for s in TIMES if s < given.seconds] + [given.seconds]
            print(f"{'':22}" + "".join(f"{f'{s:g} s':>11}" for s in shown) + f"{'time':>12}")
            for method, curve in own.items():
                losses = "".join(f"{at(curve, s):11.2e}" for s in shown)
                print(f"{method:22}{losses}{when(curve, adam):10.3f} s")
    if given.picture:
        draw(curves, given.picture)


if __name__ == "__main__":
    main()
