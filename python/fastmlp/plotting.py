"""Pictures in one quiet style: loss curves, decision regions, contours, predictions against truth.

The user's matplotlib backend and settings stay as they are: every function draws inside
:func:`look`, which restores them.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fastmlp._look import COLOURS, hangul_font, is_available, look, use_hangul_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "curves",
    "decision_regions",
    "figure",
    "hangul_font",
    "is_available",
    "look",
    "plot_history",
    "predictions",
    "probability_contour",
    "save",
    "use_hangul_font",
]

Array = npt.NDArray[Any]

_GRID_CHUNK = 1 << 17  # grid points predicted at once: a few MiB, whatever the picture's size


class _History(Protocol):
    @property
    def loss(self) -> npt.NDArray[np.float64]: ...
    @property
    def validation_loss(self) -> npt.NDArray[np.float64]: ...


class _Predictor(Protocol):
    def predict(self, x: Array, /) -> Array: ...


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (7.2, 4.8)
) -> "tuple[Figure, npt.NDArray[np.object_]]":
    """Make a figure for :func:`save`, outside pyplot, so that no display is ever needed.

    Parameters
    ----------
    rows, columns : int
        The grid of axes.
    size : (float, float)
        Width and height in inches, at 100 dots an inch.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : ndarray of matplotlib.axes.Axes, shape (rows * columns,)
    """
    with look():
        from matplotlib.figure import Figure

        made = Figure(figsize=size, layout="constrained")
        return made, np.ravel(made.subplots(rows, columns, squeeze=False))


def save(made: "Figure", path: str | PathLike[str]) -> Path:
    """Write a figure to `path` (its suffix chooses the format) and return the path."""
    with look():
        made.savefig(path)
    return Path(path)


def _axes(ax: "Axes | None") -> "Axes":
    """Return `ax`, or fresh axes in a pyplot window where the caller has none."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained")[1]


def plot_history(
    history: _History, ax: "Axes | None" = None, *, title: str = "Loss", log: bool = False
) -> "Axes":
    """Draw the losses of every epoch, a mark at the best one, and metrics on a second axis.

    Parameters
    ----------
    history : History
        What ``Trainer.fit`` returns. Of other objects with ``loss`` and ``validation_loss``, the
        attributes ``best_epoch`` and ``metrics`` are drawn if they are there.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    title : str
        The title of the axes.
    log : bool
        Use a logarithmic scale for the loss.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra ``plot``.
    """
    lines = {"training": history.loss}
    if len(history.validation_loss):
        lines["validation"] = history.validation_loss
    best, metrics = getattr(history, "best_epoch", None), getattr(history, "metrics", {})
    axes = curves(lines, ax, title=title, log=log)
    with look():
        if best is not None:
            value = lines[list(lines)[-1]][best]
            axes.plot(best + 1, value, "o", color="#222222", label="best", zorder=3)
        if metrics:
            _add_metrics(axes, metrics)
        elif best is not None:
            axes.legend()
    return axes


def _add_metrics(ax: "Axes", metrics: Mapping[str, npt.ArrayLike]) -> None:
    """Draw metrics over the epochs, against an axis on the right of `ax`; the legend is for all."""
    place = _legend_place(ax)
    second = ax.twinx()
    for name, colour in zip(metrics, itertools.cycle(COLOURS[2:])):
        y = np.asarray(metrics[name])
        second.plot(_epochs(y), y, "--", label=name, color=colour, marker=_marker(y))
    second.set_ylabel(", ".join(metrics))
    second.grid(visible=False)
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    # Of the axes that are drawn last, or their lines would cover it.
    second.legend(handles=[*ax.get_lines(), *second.get_lines()], **place)


def _epochs(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.arange(1, len(values) + 1)


def _marker(values: npt.NDArray[np.float64]) -> str | None:
    """Where one point is all there is, since its line would be invisible."""
    return "o" if np.count_nonzero(np.isfinite(values)) == 1 else None


def curves(
    lines: Mapping[str, npt.ArrayLike],
    ax: "Axes | None" = None,
    *,
    title: str = "Loss",
    xlabel: str = "epoch",
    ylabel: str = "loss",
    log: bool = False,
) -> "Axes":
    """Draw one line for each named series of values; the first value is that of epoch 1.

    A legend appears where there is more than one line. Parameters as in :func:`plot_history`.
    """
    with look(pyplot=ax is None):
        ax = _axes(ax)
        for name, values in lines.items():
            y = np.asarray(values)
            ax.plot(_epochs(y), y, label=name, marker=_marker(y))
        if log:
            ax.set_yscale("log")
        if len(lines) > 1:
            ax.legend()
        ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return ax


def decision_regions(
    model: _Predictor,
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    ax: "Axes | None" = None,
    *,
    step: float | None = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    logits: bool | None = None,
    title: str = "Decision regions",
) -> "Axes":
    """Colour the plane by the class that the model predicts, with the points drawn on top.

    Parameters
    ----------
    model : object with ``predict``
        Takes (rows, 2) and returns (rows, classes), of which the largest wins, or (rows, 1),
        where class 1 wins from the probability `threshold` on.
    x : array_like, shape (rows, 2)
    labels : array_like, shape (rows,) or (rows, 1) of class indices, or (rows, classes) one-hot
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    step : float, optional
        Distance of the grid's points; by default the longer side has 500 of them.
    names : sequence of str, optional
        One name a class, for the legend.
    threshold : float
        For models with one output column.
    logits : bool, optional
        Whether the model gives logits; by default, whether it is a model of fastmlp that does not
        end in a sigmoid or softmax.
    title : str
        The title of the axes.

    Returns
    -------
    matplotlib.axes.Axes
    """
    with look(pyplot=ax is None):
        ax = _axes(ax)
        points = np.asarray(x, dtype=np.float64)
        grid = _Grid(points, step)
        logits = gives_logits(model) if logits is None else logits
        limit = _logit(threshold) if logits else threshold
        regions = grid.map(model, lambda y: _winners(y, limit))
        # Colours before resampling: an average of the classes 0 and 2 must not look like 1.
        ax.imshow(_tints(0.35)[regions % len(COLOURS)], extent=grid.extent, origin="lower")
        _points(ax, points, labels, names)
        ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        ax.grid(visible=False)
    return ax


def probability_contour(
    model: _Predictor,
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    ax: "Axes | None" = None,
    *,
    step: float | None = None,
    names: Sequence[str] | None = None,
    logits: bool | None = None,
    title: str = "Probability of class 1",
) -> "Axes":
    """Fill the plane by the probability that a model with one or two output columns predicts.

    Of logits probabilities are formed; of two columns, the second one's is drawn. The line where it
    is 0.5 is drawn in black. Parameters as in :func:`decision_regions`.
    """
    with look(pyplot=ax is None):
        from matplotlib.colors import LinearSegmentedColormap

        ax = _axes(ax)
        points = np.asarray(x, dtype=np.float64)
        grid = _Grid(points, step)
        are_logits = gives_logits(model) if logits is None else logits
        p = grid.map(model, lambda y: _probabilities(y, are_logits))
        ends = _tints(0.75) / 255  # opaque tints: transparent bands show seams
        shades = LinearSegmentedColormap.from_list("fastmlp", [ends[0], (1, 1, 1), ends[1]])
        bands = np.linspace(0, 1, 21)
        filled = ax.contourf(grid.x1, grid.x2, p, levels=bands, cmap=shades)
        if p.min() < 0.5 < p.max():
            ax.contour(grid.x1, grid.x2, p, levels=[0.5], colors="#222222", linewidths=1.2)
        ax.figure.colorbar(filled, ax=ax, label="probability", ticks=np.linspace(0, 1, 6))
        _points(ax, points, labels, names)
        ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        ax.grid(visible=False)
    return ax


def predictions(
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    ax: "Axes | None" = None,
    *,
    title: str = "Prediction against truth",
) -> "Axes":
    """Scatter predictions against targets; a perfect model puts every point on the line.

    Parameters
    ----------
    target, predicted : array_like
        The same number of elements each.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    title : str
        The title of the axes.

    Returns
    -------
    matplotlib.axes.Axes
    """
    with look(pyplot=ax is None):
        ax = _axes(ax)
        truth, guess = np.ravel(target), np.ravel(predicted)
        ends = [min(truth.min(), guess.min()), max(truth.max(), guess.max())]
        ax.plot(ends, ends, color="#8c939c", linewidth=1.2, label="prediction = truth")
        ax.scatter(truth, guess, s=14, alpha=0.6, linewidths=0)
        ax.set(title=title, xlabel="target $y$", ylabel=r"prediction $\hat y$", aspect="equal")
        ax.legend(loc="upper left")
    return ax


class _Grid:
    """A rectangle of evenly spaced points around some others, predicted a few rows at a time."""

    def __init__(self, points: npt.NDArray[np.float64], step: float | None) -> None:
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"x must have the shape (rows, 2), but has {points.shape}")
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.1 * max(float((high - low).max()), 1e-6)
        low, high = low - margin, high + margin
        if step is None:
            step = float((high - low).max()) / 500
        self.x1, self.x2 = (np.arange(a, b + step, step) for a, b in zip(low, high, strict=True))
        self.shape = (len(self.x2), len(self.x1))
        self.extent = (self.x1[0], self.x1[-1], self.x2[0], self.x2[-1])

    def map(self, model: _Predictor, reduce: Callable[[Array], Array]) -> Array:
        """Return `reduce` of the model's predictions, one value a point, as an image."""
        lines = max(1, _GRID_CHUNK // len(self.x1))
        parts = []
        for start in range(0, len(self.x2), lines):
            x2 = self.x2[start : start + lines]
            plane = np.stack(np.meshgrid(self.x1, x2), axis=-1).reshape(-1, 2)
            parts.append(reduce(model.predict(plane)))
        return np.concatenate(parts).reshape(self.shape)


def gives_logits(model: object) -> bool:
    """Say whether a model of fastmlp ends in no probabilities; of others it is not known."""
    from fastmlp.modules import Module

    if not isinstance(model, Module):
        return False
    last = model._compiled().operations[-1]
    if last[0] != "activation":
        return True
    _, _, name, low, high = last
    return not (name in ("sigmoid", "softmax") or (name == "hardtanh" and low >= 0 and high <= 1))


def _logit(probability: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def _probabilities(y: Array, logits: bool) -> Array:
    """Return the probability of class 1."""
    if y.shape[1] > 2:
        raise ValueError(f"model: expected one or two output columns, got {y.shape[1]}")
    if not logits:
        return np.asarray(y[:, -1])
    z = np.asarray(y[:, -1] - y[:, 0] if y.shape[1] == 2 else y[:, 0], dtype=np.float64)
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


def _winners(y: Array, threshold: float) -> Array:
    classes: Array = y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0] >= threshold
    return classes.astype(np.uint8)


def _tints(strength: float) -> npt.NDArray[np.uint8]:
    """Return the colours, mixed with white, as rows of red, green and blue."""
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in COLOURS])
    return np.asarray(np.rint(255 * (1 - strength * (1 - colours))), dtype=np.uint8)


def _points(
    ax: "Axes",
    points: npt.NDArray[np.float64],
    labels: npt.ArrayLike,
    names: Sequence[str] | None,
) -> None:
    classes = np.asarray(labels)
    one_hot = classes.ndim == 2 and classes.shape[1] > 1
    classes = classes.argmax(axis=1) if one_hot else classes.ravel().astype(np.intp)
    markers = "osD^vP"
    for index in np.unique(classes):
        ax.scatter(
            points[classes == index, 0],
            points[classes == index, 1],
            s=max(16, min(60, 4000 / len(points))),
            color=COLOURS[index % len(COLOURS)],
            marker=markers[index % len(markers)],
            edgecolors="white",
            linewidths=0.6,
            label=names[index] if names else f"class {index}",
        )
    ax.legend(**_legend_place(ax))


def _legend_place(ax: "Axes") -> dict[str, Any]:
    """Below the axis's labels, however large these are; within a user's subplot."""
    if _shares_figure(ax):
        return {"loc": "best", "ncols": 1}
    return {"loc": "upper left", "bbox_to_anchor": (0, -0.12), "ncols": 3, "borderaxespad": 0}


def _shares_figure(ax: "Axes") -> bool:
    """Say whether there are other axes, which a legend beside these would cover."""
    return len([other for other in ax.figure.axes if other.get_label() != "<colorbar>"]) > 1
