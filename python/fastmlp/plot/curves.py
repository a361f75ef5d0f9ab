"""Curves over the epochs: losses, metrics, the gradient's norm."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp import _checks
from fastmlp.plot.arguments import numbers
from fastmlp.plot.style import (
    MARKERS,
    Array,
    colour,
    drawing,
    foreground,
    legend,
    line_styles,
    plain,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Training(NamedTuple):
    """The curves of a training; `best` is the index of its best epoch."""

    loss: Array
    validation: Array
    best: int | None = None
    metrics: Mapping[str, Array] = {}


def loss(
    history: Any, ax: "Axes | None" = None, *, log: bool = False, metrics: bool = True
) -> "Axes":
    """Draw the losses of every epoch, with a mark at the best one.

    Parameters
    ----------
    history : History, Trainer, estimator, array_like, or a mapping of names to these
        Of one training all curves are drawn; of several, by their names, the losses. An estimator
        of `fastmlp.sklearn` has its `loss_curve_`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    log : bool
        Use a logarithmic scale for the loss.
    metrics : bool
        Draw the metrics of the validation data, too, against an axis on the right.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `history` has no losses.
    ImportError
        If matplotlib is missing; the message names the extra ``plot``.
    """
    _checks.flag("log", log)
    _checks.flag("metrics", metrics)
    single = not isinstance(history, Mapping)
    named = {"": history} if single else history
    if not named:
        raise ValueError("history: expected at least one training, got none")
    trainings = {str(name): _training(value) for name, value in named.items()}
    with drawing(ax) as ax:
        if single:
            _draw_one(ax, trainings[""], metrics)
        else:
            _draw_several(ax, trainings)
        ax.set(xlabel="epoch", ylabel="loss", **({"yscale": "log"} if log else {}))
        whole_numbers(ax.xaxis)
    return ax


def _training(value: Any) -> _Training:
    """The curves of whatever has some."""
    value = getattr(value, "history", value)  # of a Trainer
    if hasattr(value, "loss_curve_"):
        validation = getattr(value, "validation_loss_curve_", None)
        return _Training(_curve(value.loss_curve_), _curve(validation or []))
    if hasattr(value, "fit") and hasattr(value, "get_params"):
        raise ValueError(
            "history: expected a fitted estimator with loss_curve_, which the solver lbfgs does not"
            f" keep, got {type(value).__name__}"
        )
    if hasattr(value, "loss"):
        validation = np.asarray(getattr(value, "validation_loss", ()), dtype=float)
        best, metrics = getattr(value, "best_epoch", None), getattr(value, "metrics", {})
        if len(value.loss):
            return _Training(np.asarray(value.loss, dtype=float), validation, best, metrics)
        raise ValueError("history: expected at least one epoch, got a training of none")
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(
            "history: expected a History, a Trainer, a fitted estimator or the losses, got"
            f" {_checks.show(value)}"
        )
    return _Training(numbers("history", value), np.empty(0))


def _curve(values: Any) -> Array:
    return np.asarray(values, dtype=float)


def _draw_one(ax: Any, training: _Training, metrics: bool) -> None:
    styles = line_styles(ax)
    lines = {"training": training.loss}
    if len(training.validation):
        lines["validation"] = training.validation
    for name, values in lines.items():
        _line(ax, values, name, next(styles))
    shown = training.metrics if metrics else {}
    if training.best is not None:
        values = lines[list(lines)[-1]]
        at = training.best + 1
        ax.plot(
            at, values[training.best], "o", color=foreground(ax), fillstyle="none", zorder=3,
            label=f"best epoch, {at}",
        )  # fmt: skip
    if shown:
        _add_metrics(ax, shown, styles)
    elif len(lines) > 1 or training.best is not None:
        legend(ax)


def _draw_several(ax: Any, trainings: Mapping[str, _Training]) -> None:
    for index, (name, training) in enumerate(trainings.items()):
        shade = colour(ax, index)
        marker = {"marker": MARKERS[index % len(MARKERS)], "markersize": 5}
        both = len(training.validation) > 0
        title = plain(name)
        style = {"color": shade} | marker
        _line(ax, training.loss, f"{title}, training" if both else title, style)
        if both:
            _line(ax, training.validation, f"{title}, validation", style | {"linestyle": "--"})
    legend(ax)


def _add_metrics(ax: Any, metrics: Mapping[str, Array], styles: Iterator[dict[str, Any]]) -> None:
    """Draw metrics against an axis on the right of `ax`; the legend is for all."""
    second = ax.twinx()
    for name, values in metrics.items():
        _line(second, np.asarray(values), plain(name), next(styles))
    second.set_ylabel(", ".join(map(plain, metrics)))
    second.grid(visible=False)
    second.spines["right"].set_visible(True)
    # Of the axes that are drawn last, or their lines would cover it.
    legend(second, below=True, handles=[*ax.get_lines(), *second.get_lines()])


def _line(ax: Any, values: Array, label: str, style: Mapping[str, Any]) -> None:
    """A line over the epochs, which are counted from 1; ten marks at most, or a lone one."""
    options: dict[str, Any] = {"marker": None, **style}
    if np.count_nonzero(np.isfinite(values)) == 1:  # whose line would be invisible
        options["marker"] = options["marker"] or "o"
    every = max(1, len(values) // 10)
    ax.plot(np.arange(1, len(values) + 1), values, label=label, markevery=every, **options)


def gradient_norm(norms: Any, ax: "Axes | None" = None, *, log: bool = True) -> "Axes":
    """Draw the norm of the gradient over the epochs.

    Parameters
    ----------
    norms : GradientNorm, array_like of shape (epochs,), or a mapping of names to these
        What `fastmlp.callbacks.GradientNorm` has recorded, or the norms themselves.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    log : bool
        Use a logarithmic scale.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If there are no norms.
    """
    _checks.flag("log", log)
    named = norms if isinstance(norms, Mapping) else {"": norms}
    lines = {str(name): _norms(value) for name, value in named.items()}
    if not lines:
        raise ValueError("norms: expected at least one training, got none")
    with drawing(ax) as ax:
        for (name, values), style in zip(lines.items(), line_styles(ax), strict=False):
            _line(ax, values, plain(name), style)
        if len(lines) > 1:
            legend(ax)
        if log and any((values > 0).any() for values in lines.values()):
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="norm of the gradient")
        whole_numbers(ax.xaxis)
    return ax


def _norms(value: Any) -> Array:
    recorded = getattr(value, "norms", value)
    if isinstance(recorded, str) or not hasattr(recorded, "__len__"):
        raise TypeError(f"norms: expected a GradientNorm or norms, got {_checks.show(value)}")
    if not len(recorded):
        raise ValueError("norms: expected at least one, got none; pass it to fit as a callback")
    return np.asarray(recorded, dtype=float)
