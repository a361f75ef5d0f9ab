"""What the units of a network do: activations by layer, and the gallery of activations."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp import _checks, _core
from fastmlp import activations as known
from fastmlp.constants import resolved
from fastmlp.modules import Module
from fastmlp.plot.arguments import inputs_of, module_of
from fastmlp.plot.style import Array, colour, drawing, extent, foreground
from fastmlp.tensor import tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 60
_NEAR = 0.05  # of the distance between the bounds: so close to one of them is saturated
# What keeps the values of an activation within bounds.
_BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
_OF_ROWS = ("softmax", "log_softmax", "identity")  # no units that work each by itself


class _Hidden(NamedTuple):
    """The outputs of an activation, of shape (rows, units)."""

    name: str
    values: Array
    bounds: tuple[float, float] | None


class _Part(Module):
    """The first operations of a compiled model, as a model."""

    def __init__(self, plan: Any, count: int) -> None:
        super().__init__()
        part = copy.copy(plan)
        part.operations = plan.operations[:count]
        dtype = plan.dtype or "float32"
        operations = resolved(part.operations, dtype, plan.places[0][0] if plan.places else "cpu")
        part.network = _core.Network(
            operations, dtype, plan.precision, plan.dimensions == "flatten"
        )
        part.squeeze = False
        self.__dict__["_part"] = part

    def _compiled(self, x: Any = None, of_call: bool = False) -> Any:
        return self.__dict__["_part"]


def activations(model: Any, x: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw the outputs of the activations for the rows of x, as a histogram for each layer.

    Beside each stand its shares of values that are saturated, within a twentieth of one of the
    bounds that an activation such as tanh has, and of units that are dead: the same for all rows,
    as those of a ReLU that none of them reaches.

    Parameters
    ----------
    model : model or estimator of fastmlp
    x : array_like
        Rows as `predict` takes them, at least two.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the model has no activations, or one is not finite.
    """
    module = module_of(model)
    layers = list(_hidden(module, inputs_of(model, x)))
    if not layers:
        raise ValueError("model: expected activations between its layers, got a model without any")
    low = min(float(layer.values.min()) for layer in layers)
    high = max(float(layer.values.max()) for layer in layers)
    if not np.isfinite([low, high]).all():
        raise ValueError("model: expected finite activations, got NaN or infinity")
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    with drawing(ax, (7.2, 1.2 + 0.95 * len(layers))) as ax:
        for place, layer in enumerate(layers):
            _ridge(ax, layer, -place, edges)
        names = [f"{i + 1}: {layer.name}\n{_units(layer)}" for i, layer in enumerate(layers)]
        ax.set_yticks([0.35 - place for place in range(len(layers))], names)
        ax.set(xlabel="activation", ylabel="layer", ylim=(0.85 - len(layers), 0.95))
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
    return ax


def _hidden(model: Module, x: Any) -> Iterator[_Hidden]:
    plan: Any = model._compiled()
    for number, (kind, *given) in enumerate(plan.operations):
        name = str(given[1] if kind == "activation" else kind)
        if kind not in ("activation", "prelu") or name in _OF_ROWS:
            continue
        values = np.asarray(_Part(plan, number + 1).predict(x))
        values = values.reshape(-1, values.shape[-1])
        if len(values) < 2:
            raise ValueError(f"x: expected at least two rows, got {len(values)}")
        bounds = _BOUNDS.get(name)
        if name == "hardtanh":
            bounds = float(given[2]), float(given[3])
        yield _Hidden(name, values, bounds)


def _units(layer: _Hidden) -> str:
    count = layer.values.shape[1]
    return f"{count} unit{'s' if count > 1 else ''}"


def _ridge(ax: Any, layer: _Hidden, place: float, edges: Array) -> None:
    """A histogram that stands on its own line, with what is wrong with the layer beside it."""
    counts, _ = np.histogram(layer.values, edges)
    heights = place + 0.8 * counts / counts.max()
    ax.stairs(heights, edges, baseline=place, fill=True, color=colour(ax, 0), alpha=0.45)
    ax.stairs(heights, edges, baseline=place, color=colour(ax, 0), linewidth=1.2)
    notes = []
    if layer.bounds is not None:
        low, high = layer.bounds
        near = _NEAR * (high - low)
        share = np.mean((layer.values < low + near) | (layer.values > high - near))
        notes.append(f"{share:.0%} saturated")
    dead = int(np.sum(np.ptp(layer.values, axis=0) == 0))
    notes.append(f"{dead / layer.values.shape[1]:.0%} dead")
    ax.annotate(
        "\n".join(notes), (1, place), (6, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="bottom", color=foreground(ax), fontsize="small",
        annotation_clip=False,
    )  # fmt: skip


_GALLERY = (
    known.Sigmoid(),
    known.Tanh(),
    known.ReLU(),
    known.LeakyReLU(0.1),
    known.ELU(),
    known.SELU(),
    known.CELU(),
    known.GELU(),
    known.SiLU(),
    known.Mish(),
    known.Softplus(),
    known.Softsign(),
    known.LogSigmoid(),
    known.ReLU6(),
    known.Hardtanh(),
    known.Hardsigmoid(),
    known.Hardswish(),
    known.Identity(),
)


def activation_gallery(
    activations: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
    *,
    limits: tuple[float, float] = (-5, 5),
) -> "Axes":
    """Draw activations, each in a small picture of its own, and their derivatives, dashed.

    Parameters
    ----------
    activations : sequence of activations or their names, optional
        All that work on each value by itself, by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default. The small pictures are its `child_axes`.
    limits : pair of float
        The values to draw them for.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    if isinstance(activations, str | Module) or not hasattr(activations or (), "__len__"):
        activations = [activations]
    chosen = [known.as_activation("activations", a) for a in activations or _GALLERY]
    low, high = (_checks.real("limits", limit) for limit in limits)
    if not low < high:
        raise ValueError(f"limits: expected the smaller one first, got {limits!r}")
    x = np.linspace(low, high, 401)
    curves = [(_name(a), *_curve(a, x)) for a in chosen]
    many = len(curves)
    wide = 1.85 * min(many, 6 if many > 12 else 4)
    with drawing(ax, (wide, 0.35 + 1.7 * math.ceil(many * 1.85 / wide))) as ax:
        ax.axis("off")
        inches = extent(ax)[0] / 72
        across = max(1, min(many, round(math.sqrt(many * extent(ax)[0] / extent(ax)[1]))))
        down = math.ceil(many / across)
        small_text = inches / across < 1
        # Room for the title and the ticks, in points, between two rows.
        inner = float(np.clip(1 - (14 if small_text else 34) * down / extent(ax)[1], 0.4, 0.85))
        width, height = 1 / (across - 0.2), 1 / (down - 1 + inner)
        for i, (name, y, slope) in enumerate(curves):
            row, column = divmod(i, across)
            place = (column * width, 1 - (row + inner) * height, 0.8 * width, inner * height)
            small = ax.inset_axes(place)
            small.set_facecolor(ax.get_facecolor())
            small.axhline(0, color=foreground(ax), linewidth=0.6, alpha=0.4)
            small.axvline(0, color=foreground(ax), linewidth=0.6, alpha=0.4)
            small.plot(x, y, color=colour(ax, 0), label="value")
            if slope is not None:
                small.plot(x, slope, "--", color=colour(ax, 1), linewidth=1.2, label="derivative")
            small.set_title(name, fontsize="xx-small" if small_text else "small", loc="left", pad=3)
            small.tick_params(labelsize="x-small")
            if small_text:
                small.set(xticks=[], yticks=[])
            small.grid(visible=False)
            small.spines[["right", "top"]].set_visible(False)
        first: Any = ax.child_axes[0]
        handles, labels = first.get_legend_handles_labels()
        ax.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(0, -0.06 / down - 0.04), ncols=2,
            frameon=False, borderaxespad=0,
        )  # fmt: skip
    return ax


def _name(activation: Module) -> str:
    """Its class, with the values of options that are not the usual ones."""
    kind = type(activation)
    if isinstance(activation, known.Softmax) or repr(activation) == repr(kind()):
        return kind.__name__
    options = getattr(activation, "option_names", ())
    values = [getattr(activation, option) for option in options]
    return f"{kind.__name__}({', '.join(map(str, values))})"


def _curve(activation: Module, x: Array) -> tuple[Array, Array | None]:
    """Its values, and its derivatives, if each value depends on one alone."""
    if isinstance(activation, known.Softmax):
        return np.asarray(activation.predict(x)), None
    given = tensor(x, requires_grad=True)
    y = activation(given)
    y.sum().backward()
    return np.asarray(y.detach()), np.asarray(given.grad)
