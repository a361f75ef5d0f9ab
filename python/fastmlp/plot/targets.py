"""Predictions of numbers beside the truth, and what is left of it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.plot.arguments import numbers, same_rows
from fastmlp.plot.style import MARKERS, Array, colour, drawing, foreground, legend, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def predictions(t: Any, y: Any, ax: "Axes | None" = None, *, label: str | None = None) -> "Axes":
    """Scatter predictions against targets; a perfect model puts every point on the line.

    Parameters
    ----------
    t, y : array_like, shape (rows,) or (rows, outputs)
        Targets and predictions. Each output has a colour and a marker of its own.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    label : str, optional
        What is predicted, with its unit, such as "price in 1000 USD"; else the name of a Series.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `t` and `y` are no finite numbers of one shape.
    """
    truth, guess, outputs = _pair(t, y)
    what = _label(label, t)
    with drawing(ax, (5.2, 5.2)) as ax:
        ends = [min(truth.min(), guess.min()), max(truth.max(), guess.max())]
        ax.plot(
            ends, ends, color=foreground(ax), linewidth=1, alpha=0.6, label="prediction = target"
        )
        for i, name in enumerate(outputs):
            score = _r2(truth[:, i], guess[:, i])
            about = "" if score is None else f"$R^2$ {score:.3f}"
            _scatter(ax, i, truth[:, i], guess[:, i], ", ".join(filter(None, [name, about])))
        ax.set(xlabel=f"{what or 'target'}, true", ylabel=f"{what or 'target'}, predicted")
        if not what:
            ax.set(xlabel="target", ylabel="prediction")
        ax.set_aspect("equal", adjustable="datalim")
        legend(ax, below=True)
    return ax


def residuals(t: Any, y: Any, ax: "Axes | None" = None, *, label: str | None = None) -> "Axes":
    """Scatter what the predictions lack, target minus prediction, against the predictions.

    Parameters as in `predictions`. The dashed lines are at plus and minus the root mean square.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `t` and `y` are no finite numbers of one shape.
    """
    truth, guess, outputs = _pair(t, y)
    what = _label(label, t)
    left = truth - guess
    with drawing(ax) as ax:
        ax.axhline(0, color=foreground(ax), linewidth=1, alpha=0.6)
        spread = float(np.sqrt(np.mean(left**2)))
        for i, name in enumerate(outputs):
            _scatter(ax, i, guess[:, i], left[:, i], name)
        if len(outputs) == 1:
            for sign in (-1, 1):
                ax.axhline(
                    sign * spread, color=foreground(ax), linewidth=1, linestyle="--", alpha=0.6,
                    label=f"root mean square, {spread:.3g}" if sign > 0 else None,
                )  # fmt: skip
        ax.set(
            xlabel=f"{what}, predicted" if what else "prediction",
            ylabel="true minus predicted" if what else "target minus prediction",
        )
        legend(ax, below=True)
    return ax


def _pair(t: Any, y: Any) -> tuple[Array, Array, list[str]]:
    truth, guess = numbers("t", t, columns=True), numbers("y", y, columns=True)
    same_rows("t", truth, "y", guess)
    if truth.shape != guess.shape:
        raise ValueError(f"y: expected shape {truth.shape}, as t has, got {guess.shape}")
    names = list(getattr(t, "columns", range(truth.shape[1])))
    outputs = [plain(n) if isinstance(n, str) else f"output {n}" for n in names]
    return truth, guess, outputs if len(outputs) > 1 else [""]


def _label(label: Any, t: Any) -> str:
    if label is None:
        label = getattr(t, "name", None)
    return plain(label) if isinstance(label, str) else ""


def _scatter(ax: Any, index: int, x: Array, y: Array, label: str) -> None:
    many = len(x) > 2000
    ax.scatter(
        x,
        y,
        s=8 if many else 16,
        alpha=max(0.1, min(0.65, 1000 / len(x))),
        linewidths=0,
        color=colour(ax, index),
        marker=MARKERS[index % len(MARKERS)],
        label=label or None,
        rasterized=many,  # in a PDF, thousands of circles are slow to look at
    )


def _r2(t: Array, y: Array) -> float | None:
    spread = float(np.sum((t - t.mean()) ** 2))
    return None if spread == 0 else 1 - float(np.sum((t - y) ** 2)) / spread
