"""The look of the pictures: colours that fit the axes' background, markers, new figures.

Nothing here is a fixed black or white: lines and text have the colour that the user's axes have for
their labels, and tints are mixed with what lies behind them.
"""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastmlp import _checks
from fastmlp.plot.fonts import hangul_font, require, with_hangul

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

# Of Okabe and Ito (https://jfly.uni-koeln.de/color), which the colour-blind tell apart: on light
# backgrounds, and on dark ones.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ON_DARK = ("#56B4E9", "#E69F00", "#12B886", "#CC79A7", "#F0E442", "#D55E00")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")

# What a new figure has where the user's settings are matplotlib's own.
_QUIET = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.h_pad": 0.1,  # inches
    "figure.constrained_layout.w_pad": 0.1,
    "grid.alpha": 0.2,
    "legend.edgecolor": "none",
    "lines.linewidth": 1.8,
}


def look(*, pyplot: bool = False) -> AbstractContextManager[None]:
    """Return a context in which new figures look quiet; the settings come back after it.

    What the user has set otherwise than matplotlib does stays as it is, colours among them.

    Parameters
    ----------
    pyplot : bool
        Whether pyplot will make a figure in it. Its backend is chosen before then: within, that
        notebooks show what is drawn would be taken back with the other settings.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra ``plot``.
    """
    require()
    import matplotlib as mpl

    if pyplot:
        from matplotlib import pyplot as plt

        plt.draw_if_interactive()  # type: ignore[no-untyped-call, unused-ignore]
    now: Any = mpl.rcParams
    usual: Any = mpl.rcParamsDefault
    quiet: Any = {name: value for name, value in _QUIET.items() if now[name] == usual[name]}
    if now["axes.grid"]:  # the user's own
        quiet.pop("grid.alpha", None)
    elif now["grid.color"] == usual["grid.color"]:
        quiet["grid.color"] = now["text.color"]
    return mpl.rc_context({**quiet, "font.family": with_hangul()})


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

        made = Figure(figsize=size, dpi=100, layout="constrained")
        return made, np.ravel(np.asarray(made.subplots(rows, columns, squeeze=False)))


def save(made: "Figure", path: str | PathLike[str]) -> Path:
    """Write a figure to `path` (its suffix chooses the format) and return the path."""
    with look():
        made.savefig(path, dpi="figure")
    return Path(path)


@contextmanager
def drawing(ax: "Axes | None", size: tuple[float, float] | None = None) -> Iterator["Axes"]:
    """A context to draw in: the user's axes or, as scikit-learn does, those of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
    size : (float, float), optional
        Of a new figure, in inches, unless the user has set another than matplotlib's.
    """
    require()
    import matplotlib as mpl
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        hint = "; take one of them" if isinstance(ax, np.ndarray) else ""
        raise TypeError(f"ax: expected matplotlib's Axes, got {_checks.show(ax)}{hint}")
    if ax is not None:
        with mpl.rc_context({"font.family": with_hangul()}):
            yield ax
        _let_fall_back(ax)
        return
    with look(pyplot=True):
        from matplotlib import pyplot as plt

        own = mpl.rcParams["figure.figsize"] != mpl.rcParamsDefault["figure.figsize"]
        yield plt.subplots(layout="constrained", figsize=None if own else size)[1]


def _let_fall_back(ax: Any) -> None:
    """Let texts that were there before they got their words fall back to a font with Hangul."""
    if (hangul := hangul_font()) is not None:
        texts = [ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        for text in texts:
            if hangul not in (family := text.get_fontfamily()):
                text.set_fontfamily([*family, hangul])


def foreground(ax: Any) -> Any:
    """The colour of the axes' labels, for lines and text that are no data."""
    return ax.xaxis.label.get_color()


def background(ax: Any) -> npt.NDArray[np.float64]:
    """Red, green and blue of what lies behind the data; of what shows through, the likely one."""
    from matplotlib.colors import to_rgb, to_rgba

    behind = [ax.get_facecolor()]
    if (parent := ax.get_figure()) is not None:
        behind.append(parent.get_facecolor())
    for colour in behind:
        if (rgba := to_rgba(colour))[3] > 0:
            return np.array(rgba[:3])
    return np.ones(3) if _lightness(np.array(to_rgb(foreground(ax)))) < 0.5 else np.zeros(3)


def _lightness(rgb: Array) -> float:
    return float(rgb @ (0.299, 0.587, 0.114))


def is_dark(ax: Any) -> bool:
    """Whether the data lie on a dark background."""
    return _lightness(background(ax)) < 0.5


def colours(ax: Any) -> tuple[str, ...]:
    """Six colours that show on the axes' background."""
    return _ON_DARK if is_dark(ax) else COLOURS


def colour(ax: Any, index: int) -> str:
    """One of them, in turn."""
    chosen = colours(ax)
    return chosen[index % len(chosen)]


def line_styles(ax: Any) -> Iterator[dict[str, Any]]:
    """Colours and dashes for one line after another, which differ in grey, too."""
    for index in itertools.count():
        yield {"color": colour(ax, index), "linestyle": DASHES[index % len(DASHES)]}


def tints(ax: Any, count: int, strength: float) -> npt.NDArray[np.float64]:
    """Colours, mixed with the background, as `count` rows of red, green and blue."""
    from matplotlib.colors import to_rgb

    chosen = np.array([to_rgb(colour(ax, index)) for index in range(count)])
    return np.asarray(background(ax) + strength * (chosen - background(ax)))


def shades(ax: Any, *ends: int, strength: float = 0.85) -> Any:
    """A colour map from the background to one colour, or from one through it to another.

    Of two, the first is the stronger one, so that they differ in grey, too.
    """
    from matplotlib.colors import LinearSegmentedColormap

    strengths = (strength,) if len(ends) == 1 else (1.3 * strength, 0.7 * strength)
    mixed = [tints(ax, end + 1, s)[end] for end, s in zip(ends, strengths, strict=True)]
    stops = [*mixed[:-1], background(ax), mixed[-1]]
    return LinearSegmentedColormap.from_list("fastmlp", stops)


def plain(text: object) -> str:
    """A name from outside, in which a dollar is a dollar and no mathematics."""
    return str(text).replace("$", r"\$")


def extent(ax: Any) -> tuple[float, float]:
    """Width and height of the axes, in points."""
    box = ax.get_window_extent()
    return box.width / ax.figure.dpi * 72, box.height / ax.figure.dpi * 72


def marker(ax: Any, index: int, label: str) -> Any:
    """What a legend shows of a class, however small its points are."""
    from matplotlib.lines import Line2D

    edge: Any = background(ax)
    return Line2D(
        [], [], linestyle="", marker=MARKERS[index % len(MARKERS)], color=colour(ax, index),
        markeredgecolor=edge, markersize=7, label=label,
    )  # fmt: skip


def legend(ax: Any, below: bool = False, **options: Any) -> None:
    """A legend where it covers least or, if the figure makes room for it there, below the axes."""
    if not (below and _has_room_below(ax)):
        ax.legend(**{"loc": "best", **options})
        return
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties
    from matplotlib.transforms import offset_copy

    points = ax.xaxis.label.get_size()
    handles = options.get("handles") or ax.get_legend_handles_labels()[0]
    size = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points()
    line = options.setdefault("handlelength", 2.0)
    width = size * (line + 1.8 + 0.55 * max(len(str(handle.get_label())) for handle in handles))
    place = offset_copy(ax.transAxes, fig=ax.figure, y=-3.4 * points, units="points")
    options = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": place, **options}
    options["ncols"] = max(1, min(4, len(handles), int(0.95 * extent(ax)[0] / width)))
    ax.legend(**{"borderaxespad": 0, "columnspacing": 1.2, "frameon": False, **options})


def _has_room_below(ax: Any) -> bool:
    """Whether there are no other axes for a legend to cover, and the figure has a layout."""
    parent = ax.get_figure()
    if parent is None or ax.figure.get_layout_engine() is None:
        return False
    here = ax.get_position().bounds
    others = [a for a in parent.axes if a.get_label() != "<colorbar>"]
    return all(other.get_position().bounds == here for other in others)  # but for a second y axis


def whole_numbers(axis: Any) -> None:
    """Ticks at whole numbers alone, as of epochs and rows."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True))
