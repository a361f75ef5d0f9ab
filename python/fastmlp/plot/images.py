"""The weights of a first layer as images, for inputs that are images."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks
from fastmlp.layers import Linear
from fastmlp.plot.arguments import module_of
from fastmlp.plot.style import Array, background, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def first_layer(
    model: Any,
    shape: Any = None,
    ax: "Axes | None" = None,
    *,
    units: Any = 36,
) -> "Axes":
    """Draw the weights of units of the first layer as images, side by side.

    Grey images are on one scale, on which 0 is in the middle. Each unit's colour image has a scale
    of its own, on which middle grey is 0.

    Parameters
    ----------
    model : model or estimator of fastmlp
    shape : tuple of int, optional
        Of an input: (height, width), (3, height, width) or (height, width, 3), as its values lie in
        a row. Without it, a square of one channel or of three, channel first, if that fits.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new pyplot figure by default.
    units : int or sequence of int
        How many, those with the largest weights; or which.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the model has no Linear layer.
    """
    weights = _first_weights(module_of(model))
    shape = _shape(shape, weights.shape[1])
    chosen = _units(units, weights)
    images = _images(weights[chosen], shape)
    colours = images.ndim == 4
    limit = float(np.abs(images).max()) or 1.0
    if colours:
        limits = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
        images = 0.5 + 0.5 * images / np.where(limits == 0, 1, limits)
    across = math.ceil(math.sqrt(len(chosen)))
    down = math.ceil(len(chosen) / across)
    with drawing(ax, (5.2, 5.2 * down / across + 0.3)) as ax:
        if colours:
            ax.imshow(_side_by_side(images, across, background(ax)), interpolation="nearest")
        else:
            sheet = np.ma.masked_invalid(_side_by_side(images, across, np.nan))
            shown = ax.imshow(sheet, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
            bar = ax.figure.colorbar(shown, ax=ax, label="weight", shrink=0.8)
            bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
        ax.set(xticks=[], yticks=[])
        count = f"{len(chosen)} of {len(weights)} units" if len(chosen) < len(weights) else "units"
        ax.set_xlabel(f"weights of the first layer's {count}")
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    return ax


def _first_weights(model: Any) -> Array:
    for module in model.modules():
        if isinstance(module, Linear):
            return np.array(module.weight, dtype=np.float64)
    raise ValueError("model: expected a Linear layer, got a model without one")


def _shape(shape: Any, features: int) -> tuple[int, ...]:
    if shape is None:
        for channels in (1, 3):
            side = math.isqrt(features // channels)
            if channels * side * side == features and side > 1:
                return (side, side) if channels == 1 else (3, side, side)
        raise ValueError(f"shape: expected that of an input of {features} values, got none")
    if isinstance(shape, str) or not hasattr(shape, "__len__"):
        raise TypeError(f"shape: expected (height, width), got {_checks.show(shape)}")
    sizes = tuple(_checks.integer("shape", size, at_least=1) for size in shape)
    if len(sizes) == 3 and 1 in (sizes[0], sizes[2]):
        sizes = sizes[1:] if sizes[0] == 1 else sizes[:2]
    fits = len(sizes) == 2 or (len(sizes) == 3 and 3 in (sizes[0], sizes[2]))
    if not fits or math.prod(sizes) != features:
        raise ValueError(
            "shape: expected (height, width), (3, height, width) or (height, width, 3) of"
            f" {features} values, got {sizes}"
        )
    return sizes


def _units(units: Any, weights: Array) -> Array:
    if not hasattr(units, "__len__"):
        count = _checks.integer("units", units, at_least=1)
        order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")
        return np.asarray(order[:count])
    chosen = [_checks.integer("units", u, at_least=0, below=len(weights)) for u in units]
    if not chosen:
        raise ValueError("units: expected at least one, got none")
    return np.array(chosen)


def _images(weights: Array, shape: tuple[int, ...]) -> Array:
    images = weights.reshape(len(weights), *shape)
    if len(shape) == 3 and shape[2] != 3:
        images = np.moveaxis(images, 1, 3)
    return images


def _side_by_side(images: Array, across: int, gap: Any) -> Array:
    """One large image, with a pixel or so between two and nothing after the last."""
    count, height, width, *channels = images.shape
    line = max(1, width // 16)
    down = -(-count // across)
    full = (down * (height + line) - line, across * (width + line) - line, *channels)
    sheet = np.empty(full)
    sheet[:] = gap
    for i, image in enumerate(images):
        row, column = divmod(i, across)
        top, left = row * (height + line), column * (width + line)
        sheet[top : top + height, left : left + width] = image
    return sheet
