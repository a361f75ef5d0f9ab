"""A drawing of a small network: units as circles, weights as lines between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp import program
from fastmlp.plot.arguments import module_of
from fastmlp.plot.style import Array, background, colour, drawing, extent, foreground, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_UNITS = 24  # in a layer
_MOST_LINES = 1000
_SIGNS: dict[int, tuple[str, Any]] = {
    1: ("positive", "solid"),
    -1: ("negative", (0, (4, 1.5))),
}


class _Layer(NamedTuple):
    weight: Array  # (out, in)
    function: str


def network(
    model: Any,
    ax: "Axes | None" = None,
    *,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> "Axes":
    """Draw a small network, from its inputs on the left to its outputs on the right.

    A line is as thick as its weight is large, relative to the largest one of its layer. Positive
    weights are blue and solid, negative ones orange and dashed.

    Parameters
    ----------
    model : model or estimator of fastmlp
        A chain of Linear layers and functions between them, with at most 24 units in a layer and
        1000 weights.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    feature_names, output_names : sequence of str, optional
        For the inputs and the outputs.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the model is no such chain, or too large to be drawn.
    """
    layers = _chain(program.program_of(module_of(model)))
    sizes = [layers[0].weight.shape[1], *(len(layer.weight) for layer in layers)]
    if max(sizes) > _MOST_UNITS or sum(layer.weight.size for layer in layers) > _MOST_LINES:
        raise ValueError(
            f"model: expected at most {_MOST_UNITS} units in a layer and {_MOST_LINES} weights, to"
            f" be drawn, got layers of {'-'.join(map(str, sizes))}"
        )
    ends = [
        _names("feature_names", feature_names, sizes[0], "x"),
        _names("output_names", output_names, sizes[-1], "y"),
    ]
    size = (1.6 * len(sizes) + 2.2, min(9.0, max(2.6, 0.5 * max(sizes))))
    with drawing(ax, size) as ax:
        heights = [_heights(n, max(sizes)) for n in sizes]
        for at, layer in enumerate(layers):
            _lines(ax, at, layer.weight, heights[at], heights[at + 1])
        radius = _radius(ax, max(sizes))
        for at, places in enumerate(heights):
            edge = foreground(ax)
            ax.scatter(
                np.full(len(places), at), places, s=radius**2, zorder=3, linewidths=1.2,
                color=[background(ax)], edgecolors=[edge],
            )  # fmt: skip
        _explain(ax)
        _write(ax, layers, sizes, heights, ends, radius)
    return ax


def _chain(made: program.Program) -> list[_Layer]:
    """Its layers; TypeError unless each operation takes what the one before it gives."""
    layers: list[_Layer] = []
    for number, operation in enumerate(made.operations):
        if operation.input != number or isinstance(operation, program.Sum):
            raise TypeError("model: expected a chain of layers, got one whose values are added")
        if isinstance(operation, program.Affine):
            layers.append(_Layer(np.asarray(operation.weight, dtype=float), ""))
        elif isinstance(operation, program.Function | program.PReLU) and layers:
            name = getattr(operation, "name", "prelu")
            if name != "identity":
                layers[-1] = layers[-1]._replace(function=name)
    if not layers:
        raise ValueError("model: expected a Linear layer, got a model without one")
    return layers


def _names(argument: str, names: Any, count: int, symbol: str) -> list[str]:
    if names is None:
        return [f"${symbol}_{{{i + 1}}}$" if count > 1 else f"${symbol}$" for i in range(count)]
    if isinstance(names, str) or len(made := [plain(name) for name in names]) != count:
        got = repr(names) if isinstance(names, str) else len(made)
        raise ValueError(f"{argument}: expected {count} names, got {got}")
    return made


def _heights(count: int, most: int) -> Array:
    """Evenly spaced around the middle; of a wide layer, closer."""
    space = 1.0 if count == most else min(1.0 + 0.5 * (1 - count / most), most / count)
    return (np.arange(count)[::-1] - (count - 1) / 2) * space


def _lines(ax: Any, at: int, weight: Array, left: Array, right: Array) -> None:
    from matplotlib.collections import LineCollection

    largest = np.abs(weight).max() or 1.0
    for sign, style in _SIGNS.items():
        shade, dashes = colour(ax, 0 if sign > 0 else 1), style[1]
        out, into = np.nonzero(sign * weight > 0)
        if not len(out):
            continue
        parts = np.abs(weight[out, into]) / largest
        ends = [[(at, left[i]), (at + 1, right[o])] for o, i in zip(out, into, strict=True)]
        ax.add_collection(
            LineCollection(
                ends,
                colors=shade,
                linewidths=0.2 + 3.3 * parts,
                linestyles=[dashes],
                alpha=0.75,
                zorder=1,
            )
        )


def _explain(ax: Any) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour(ax, at), linestyle=dashes, linewidth=2, label=label)
        for at, (label, dashes) in enumerate(_SIGNS.values())
    ]
    ax.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False,
        fontsize="small", borderaxespad=0, columnspacing=1.2,
    )  # fmt: skip


def _radius(ax: Any, most: int) -> float:
    """Of the circles, in points, as far as the height of the axes leaves room."""
    return float(np.clip(0.6 * extent(ax)[1] / (most + 2), 4, 18))


def _write(
    ax: Any,
    layers: list[_Layer],
    sizes: list[int],
    heights: list[Array],
    ends: list[list[str]],
    radius: float,
) -> None:
    """Names of inputs and outputs beside the circles, and of layers below."""
    for at, names, side in ((0, ends[0], "right"), (len(sizes) - 1, ends[1], "left")):
        away = -(radius / 2 + 4) if side == "right" else radius / 2 + 4
        for height, name in zip(heights[at], names, strict=True):
            ax.annotate(
                name, (at, height), (away, 0), textcoords="offset points", ha=side, va="center",
                color=foreground(ax),
            )  # fmt: skip
    low = min(float(h.min()) for h in heights)
    for at, count in enumerate(sizes):
        kind = "inputs" if at == 0 else layers[at - 1].function or "linear"
        unit = kind if at else ("input" if count == 1 else kind)
        text = f"{count} {unit}" if at == 0 else f"{count}\n{unit}"
        ax.annotate(
            text.replace(" ", "\n", 1), (at, low), (0, -radius / 2 - 8), ha="center", va="top",
            textcoords="offset points", color=foreground(ax), fontsize="small",
        )  # fmt: skip
    ax.set_xlim(-0.35, len(sizes) - 0.65)
    ax.set_ylim(low - 0.6, -low + 0.6)
    ax.axis("off")
