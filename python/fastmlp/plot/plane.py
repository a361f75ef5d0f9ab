"""What a classifier makes of a plane through its inputs: regions of classes, and probabilities."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks
from fastmlp.plot.arguments import Classes, same_rows
from fastmlp.plot.grid import Grid
from fastmlp.plot.probabilities import Predictor
from fastmlp.plot.style import (
    MARKERS,
    Array,
    background,
    colour,
    drawing,
    extent,
    foreground,
    legend,
    marker,
    plain,
    shades,
    tints,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTLINE_POINTS = 400  # along a side: finer grids have no smoother borders


def decision_regions(
    model: Any,
    x: Any,
    t: Any,
    features: Sequence[int | str] = (0, 1),
    ax: "Axes | None" = None,
    *,
    fixed: Mapping[Any, Any] | None = None,
    step: float | None = None,
    class_names: Sequence[str] | None = None,
    threshold: float = 0.5,
    logits: bool | None = None,
) -> "Axes":
    """Colour a plane by the class that the model predicts, with the rows of x drawn on top.

    Parameters
    ----------
    model : model or classifier
        A model of fastmlp, a fitted classifier of scikit-learn's kind, or anything whose `predict`
        returns (rows, classes), of which the largest wins, or a probability of class 1.
    x : array_like or DataFrame, shape (rows, columns)
    t : array_like, shape (rows,) or (rows, 1) of classes, or (rows, classes) one-hot
    features : pair of int or str
        The two columns that vary, by index or by name.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    fixed : mapping, optional
        Where other columns stay, by index or name: those that are not there, at their medians.
    step : float, optional
        Distance of the grid's points; by default there are 300 along each side.
    class_names : sequence of str, optional
        For the legend.
    threshold : float
        The probability from which on class 1 of two wins.
    logits : bool, optional
        Whether the model gives logits; by default, whether it is a model of fastmlp that does not
        end in a sigmoid or softmax.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    threshold = _checks.real("threshold", threshold, at_least=0, at_most=1)
    grid, predictor, classes = _prepare(model, x, t, features, fixed, step, class_names, logits)
    p = grid.image([predictor(part) for part in grid.rows()])
    margins = _margins(p, threshold)
    with drawing(ax, (6.4, 5.2)) as ax:
        # Colours before resampling: an average of the classes 0 and 2 must not look like 1.
        image = tints(ax, p.shape[2], 0.3)[margins.argmax(axis=2)]
        _show(ax, grid, image)
        thin = tuple(slice(None, None, max(1, n // _OUTLINE_POINTS)) for n in p.shape[:2])
        for margin in np.moveaxis(margins[:, :, 1 if p.shape[2] == 2 else 0 :], 2, 0):
            _outline(ax, grid, margin[thin], thin)
        _finish(ax, grid, classes)
    return ax


def class_probabilities(
    model: Any,
    x: Any,
    t: Any = None,
    features: Sequence[int | str] = (0, 1),
    ax: "Axes | None" = None,
    *,
    of: Any = None,
    fixed: Mapping[Any, Any] | None = None,
    step: float | None = None,
    class_names: Sequence[str] | None = None,
    logits: bool | None = None,
) -> "Axes":
    """Fill a plane by the probability that the model gives a class.

    Lines are drawn where it is 0.25, 0.5 and 0.75. Of more than two classes, unless `of` names one,
    each has its colour, which is as strong as its probability. Other parameters as in
    `decision_regions`.

    Parameters
    ----------
    t : array_like, optional
        The rows' classes; without it no rows are drawn.
    of : int or name of a class, optional
        Whose probability; by default class 1 of two.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    grid, predictor, classes = _prepare(model, x, t, features, fixed, step, class_names, logits)
    p = grid.image([predictor(part) for part in grid.rows()])
    count = p.shape[2]
    chosen = predictor.index_of(of, count, classes) if of is not None else None
    if chosen is None and count == 2:
        chosen = 1
    with drawing(ax, (6.8, 5.2)) as ax:
        if chosen is None:
            # Its own strength for each class: where nothing is sure, the background shows.
            sure = ((p - 1 / count) * count / (count - 1)).clip(0, 1)
            lit = sure @ (tints(ax, count, 0.5) - background(ax))
            _show(ax, grid, (background(ax) + lit).clip(0, 1))
        else:
            name = classes.name(chosen) if classes else f"class {chosen}"
            _fill(
                ax, grid, p[:, :, chosen], (1 - chosen, chosen) if count == 2 else (chosen,), name
            )
        _finish(ax, grid, classes)
    return ax


def _prepare(
    model: Any,
    x: Any,
    t: Any,
    features: Any,
    fixed: Any,
    step: Any,
    class_names: Any,
    logits: Any,
) -> tuple[Grid, Predictor, Classes | None]:
    grid = Grid(x, features, fixed, step)
    predictor = Predictor(model, logits)
    classes = None
    if t is not None:
        classes = Classes("t", t, predictor.classes, class_names)
        same_rows("x", grid.points, "t", classes.index)
    return grid, predictor, classes


def _margins(p: Array, threshold: float) -> Array:
    """By how much each class wins: positive for one of them."""
    if p.shape[2] == 2:
        lead = p[:, :, 1] - threshold
        lead = np.where(lead == 0, 1e-9, lead)  # class 1 wins from the threshold on
        return np.stack([-lead, lead], axis=2)
    best = np.partition(p, -2, axis=2)[:, :, -2:]
    others = np.where(p == best[:, :, 1:], best[:, :, :1], best[:, :, 1:])
    return np.asarray(p - others)


def _show(ax: Any, grid: Grid, image: Array, **options: Any) -> Any:
    kept = {"extent": grid.extent, "origin": "lower", "aspect": "auto"}
    return ax.imshow(image, interpolation="bilinear", **kept, **options)


def _outline(ax: Any, grid: Grid, margin: Array, thin: tuple[slice, ...]) -> None:
    if margin.min() < 0 < margin.max():
        x1, x2 = grid.x1[thin[1]], grid.x2[thin[0]]
        ax.contour(x1, x2, margin, levels=[0], colors=[foreground(ax)], linewidths=0.8)


def _fill(ax: Any, grid: Grid, p: Array, ends: tuple[int, ...], name: str) -> None:
    filled = _show(ax, grid, p, cmap=shades(ax, *ends, strength=0.55), vmin=0, vmax=1)
    inner = [level for level in (0.25, 0.5, 0.75) if p.min() < level < p.max()]
    if inner:
        styles = ["-" if level == 0.5 else ":" for level in inner]
        ax.contour(
            grid.x1, grid.x2, p, levels=inner, linestyles=styles, linewidths=1,
            colors=[foreground(ax)],
        )  # fmt: skip
    bar = ax.figure.colorbar(filled, ax=ax, label=f"probability of {plain(name)}")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
    bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]


def _finish(ax: Any, grid: Grid, classes: Classes | None) -> None:
    """The rows of x, a legend, and names of the axes."""
    if classes is not None:
        width, height = extent(ax)
        size = float(np.clip(0.06 * width * height / len(grid.points), 6, 40))
        shown = np.unique(classes.index).tolist()
        for index in shown:
            rows = classes.index == index
            ax.scatter(
                *grid.points[rows].T,
                s=size,
                color=colour(ax, index),
                marker=MARKERS[index % len(MARKERS)],
                edgecolors=[background(ax)],
                linewidths=0.1 * size**0.5,
            )
        names = [plain(classes.name(index)) for index in shown]
        legend(
            ax, below=True, handlelength=0.8,
            handles=[marker(ax, i, name) for i, name in zip(shown, names, strict=True)],
        )  # fmt: skip
    labels = grid.names or [f"$x_{{{i + 1}}}$" for i in grid.two]
    ax.set(xlabel=_axis_name(labels[0]), ylabel=_axis_name(labels[1]))
    ax.set(xlim=grid.extent[:2], ylim=grid.extent[2:])
    if grid.equal:
        ax.set_aspect("equal")
    ax.grid(visible=False)


def _axis_name(name: str) -> str:
    return name if name.startswith("$x_{") else plain(name)
