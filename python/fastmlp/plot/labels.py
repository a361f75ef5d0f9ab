"""Predicted classes beside the true ones: which are mistaken for which, and how sure to be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks
from fastmlp.plot.arguments import Classes, numbers, same_rows
from fastmlp.plot.style import (
    Array,
    colour,
    drawing,
    extent,
    foreground,
    legend,
    plain,
    shades,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST = 5.0  # points: numbers in cells that leave no more room are left out


def confusion_matrix(
    t: Any,
    y: Any,
    ax: "Axes | None" = None,
    *,
    class_names: Sequence[str] | None = None,
    normalize: bool = False,
) -> "Axes":
    """Draw how many rows of each class are predicted as which one.

    Parameters
    ----------
    t : array_like, shape (rows,) or (rows, 1) of classes, or (rows, classes) one-hot
    y : array_like
        Predicted classes, of shape (rows,) or (rows, 1); or scores, one column a class, of which
        the largest wins.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    class_names : sequence of str, optional
        In the order of the classes.
    normalize : bool
        Show the share of each true class instead of numbers of rows.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `t` and `y` are no classes, or differ in their length.
    """
    _checks.flag("normalize", normalize)
    counts, names = _count(t, y, class_names)
    rows = counts.sum(axis=1, keepdims=True)
    shown = counts / np.maximum(rows, 1) if normalize else counts
    size = 4.0 + 0.22 * min(len(names), 30)
    with drawing(ax, (size + 0.8, size)) as ax:
        most = 1.0 if normalize else max(1.0, float(counts.max()))
        image = ax.imshow(shown, cmap=shades(ax, 0), interpolation="nearest", vmin=0, vmax=most)
        _write(ax, shown, most)
        bar = ax.figure.colorbar(image, ax=ax, label="share of the class" if normalize else "rows")
        bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
        if not normalize:
            whole_numbers(bar.ax.yaxis)
        _name_classes(ax, [plain(name) for name in names])
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    return ax


def _count(t: Any, y: Any, class_names: Any) -> tuple[Array, list[str]]:
    scores = np.asarray(y)
    if scores.ndim == 2 and scores.shape[1] > 1:
        values = numbers("y", y, columns=True)
        true = Classes("t", t, names=class_names)
        guess, classes = values.argmax(axis=1), values.shape[1]
        if true.index.max() >= classes:
            raise ValueError(
                f"y: expected a column for each of {true.index.max() + 1} classes, got {classes}"
            )
        names = [true.name(i) for i in range(classes)]
    else:
        known = _labels_of_both(t, y)
        true = Classes("t", t, known, class_names)
        guess, names = Classes("y", y, known).index, true.names
    same_rows("t", true.index, "y", guess)
    if class_names is None:
        names = [name.removeprefix("class ") for name in names]  # the axes say what they are
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (true.index, guess), 1)
    return counts, names


def _labels_of_both(t: Any, y: Any) -> Any:
    """All labels that occur; None for class indices, which speak for themselves."""
    given = [Classes(argument, values) for argument, values in (("t", t), ("y", y))]
    kinds = {np.asarray(values).dtype.kind in "iufb" for values in (t, y)}
    if len(kinds) > 1:
        raise TypeError("y: expected classes of the same kind as those of t, numbers or names")
    if kinds == {True}:
        return range(max(len(classes.names) for classes in given))
    return sorted({name for classes in given for name in classes.names})


def _write(ax: Any, shown: Array, most: float) -> None:
    """Numbers in the cells, if there is room, in whichever of two colours shows on the cell."""
    texts = {at: _text(value) for at, value in np.ndenumerate(shown)}
    cell = min(extent(ax)) / len(shown)
    size = min(10.0, cell / (0.75 * max(map(len, texts.values()))))
    if size < _SMALLEST:
        return
    for (row, column), text in texts.items():
        lit = ax.get_facecolor() if shown[row, column] > 0.6 * most else foreground(ax)
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=lit)


def _text(value: Any) -> str:
    if isinstance(value, np.floating):
        return f"{value:.2f}" if value else "0"
    return f"{value:,}"


def _name_classes(ax: Any, names: list[str]) -> None:
    every = -(-len(names) // 25)
    ticks = range(0, len(names), every)
    shown = [names[i] for i in ticks]
    wide = 0.6 * ax.xaxis.label.get_fontsize() * (max(map(len, shown)) + 1) * len(shown)
    ax.set_xticks(ticks, shown, rotation=90 if wide > 0.7 * extent(ax)[0] else 0)
    ax.set_yticks(ticks, shown)
    ax.tick_params(length=0)


def calibration(
    t: Any,
    probabilities: Any,
    ax: "Axes | None" = None,
    *,
    bins: int = 10,
    class_names: Sequence[str] | None = None,
) -> "Axes":
    """Draw how often a class comes true, against the probability that it was given.

    Bars show how many rows have such a probability. The expected calibration error of Naeini,
    Cooper and Hauskrecht (2015) is the mean distance of the points from the diagonal, over all
    rows.

    Parameters
    ----------
    t : array_like, shape (rows,) or (rows, 1) of classes, or (rows, classes) one-hot
    probabilities : array_like, shape (rows,), (rows, 1) or (rows, classes)
        Of class 1; of two columns, the second. Of more, the largest one of each row is drawn, and
        how often that class is the true one.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    bins : int
        The number of equal parts of [0, 1].
    class_names : sequence of str, optional
        In the order of the classes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    bins = _checks.integer("bins", bins, at_least=2, below=1000)
    p = numbers("probabilities", probabilities, columns=True)
    if p.min() < 0 or p.max() > 1:
        odd = p[(p < 0) | (p > 1)][0]
        raise ValueError(f"probabilities: expected numbers from 0 to 1, got {odd:g}")
    classes = Classes("t", t, names=class_names)
    same_rows("t", classes.index, "probabilities", p)
    most = max(2, p.shape[1])
    if classes.index.max() >= most:
        raise ValueError(
            f"t: expected classes below {most}, the columns there are, got {classes.index.max()}"
        )
    if p.shape[1] > 2:
        given, right = p.max(axis=1), p.argmax(axis=1) == classes.index
        labels = ("probability of the predicted class", "share that is right")
    else:
        given, right = p[:, -1], classes.index == 1
        name = plain(classes.name(1))
        labels = (f"predicted probability of {name}", f"share of {name}")
    with drawing(ax, (5.6, 5.2)) as ax:
        _draw_calibration(ax, given, right, bins)
        ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, 1), ylim=(0, 1))
    return ax


def _draw_calibration(ax: Any, given: Array, right: Array, bins: int) -> None:
    at = np.minimum((given * bins).astype(np.intp), bins - 1)
    counts = np.bincount(at, minlength=bins)
    there = counts > 0
    mean = np.bincount(at, given, bins)[there] / counts[there]
    share = np.bincount(at, right, bins)[there] / counts[there]
    error = float(np.sum(counts[there] * np.abs(mean - share)) / len(given))
    bars = ax.twinx()
    middle = (np.arange(bins) + 0.5) / bins
    bars.bar(middle, counts, width=0.92 / bins, color=foreground(ax), alpha=0.2, linewidth=0)
    bars.set(ylim=(0, 4 * counts.max()), yticks=[0, counts.max()])  # a quarter of the height
    bars.set_ylabel("rows", loc="bottom")
    bars.grid(visible=False)
    bars.spines[:].set_visible(False)
    ax.set_zorder(bars.get_zorder() + 1)
    ax.patch.set_visible(False)
    bars.patch.set_visible(True)
    bars.set_facecolor(ax.get_facecolor())
    ax.plot([0, 1], [0, 1], "--", color=foreground(ax), linewidth=1, alpha=0.6, label="ideal")
    label = f"model (calibration error {error:.3f})"
    ax.plot(mean, share, "o-", color=colour(ax, 0), label=label, markersize=5, clip_on=False)
    legend(ax, below=True)
