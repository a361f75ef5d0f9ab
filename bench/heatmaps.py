"""Heat maps of a sweep: python bench/heatmaps.py sweep.json [FOLDER]

Widths run upwards and batches to the right, every cell with its figure. Colours are those of
matplotlib that colour-blind people tell apart; ratios diverge around 1x, on a log scale.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator

import grid
import report

Value = Callable[[grid.Shape], float | None]


def _cells(shapes: list[grid.Shape], value: Value) -> np.ndarray:
    """The values as a matrix with a row for each width; NaN where there is none."""
    cells = np.full((len(grid.WIDTHS), len(grid.BATCHES)), np.nan)
    for shape in shapes:
        found = value(shape)
        if found is not None:
            cells[_place(shape)] = found
    return cells


def _place(shape: grid.Shape) -> tuple[int, int]:
    return grid.WIDTHS.index(shape["width"]), grid.BATCHES.index(shape["batch"])


def _draw(
    cells: np.ndarray,
    form: Callable[[float], str],
    label: str,
    letters: dict[tuple[int, int], str] | None = None,
    **colours: Any,
) -> Any:
    """A figure with the matrix, its figures (behind a letter) and its scale; returns its axes."""
    figure, axes = plt.subplots(figsize=(13, 8), layout="constrained")
    axes.set_facecolor("0.85")
    image = axes.imshow(cells, origin="lower", aspect="auto", **colours)
    axes.set_xticks(range(len(grid.BATCHES)), map(str, grid.BATCHES))
    axes.set_yticks(range(len(grid.WIDTHS)), map(str, grid.WIDTHS))
    axes.set_xlabel("batch (rows a step or call)")
    axes.set_ylabel("width of all four layers")
    bar = figure.colorbar(image, label=label, pad=0.01, format=lambda value, _: form(value))
    low, high = image.norm.vmin, image.norm.vmax
    base = 2.0 if high / low < 1000 else 10.0
    bar.ax.yaxis.set_major_locator(LogLocator(base))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    for (row, column), value in np.ndenumerate(cells):
        if not np.isnan(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            letter = letters.get((row, column), "") + " " if letters else ""
            axes.text(
                column, row, letter + form(value), ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
    return axes


def _around_1x(most: float, good: str) -> dict[str, Any]:
    """Orange is what falls short, purple the opposite; beyond `most` all are alike."""
    colours = {"above": "PuOr", "below": "PuOr_r"}[good]
    return {"cmap": colours, "norm": LogNorm(1 / most, most, clip=True)}


def _frame(axes: Any, shape: grid.Shape) -> None:
    row, column = _place(shape)
    axes.add_patch(
        Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor="black", lw=2)
    )


def _times(value: float) -> str:
    digits = 2 if value < 9.95 else 0
    return f"{value:.{digits}f}x"


def _ratio(shapes: list[grid.Shape]) -> Any:
    cells = _cells(shapes, lambda s: s.get("ratio"))
    axes = _draw(
        cells, _times, "time of the fastest peer / fastmlp's", **_around_1x(16, good="above")
    )
    slower = grid.slower_than_peers(shapes)
    for shape in slower:
        _frame(axes, shape)
    least = f", least {_times(slower[0]['ratio'])}" if slower else ""
    axes.set_title(f"against the fastest peer: slower on {len(slower)} (framed){least}")
    return axes


def _time(shapes: list[grid.Shape]) -> Any:
    cells = _cells(shapes, lambda s: s["us"].get("fastmlp"))
    axes = _draw(cells, report.microseconds, "microseconds", cmap="cividis", norm=LogNorm())
    axes.set_title("time of fastmlp, microseconds")
    return axes


def _cliffs(shapes: list[grid.Shape]) -> Any:
    """The worst step that leads to each shape, from one with less work."""
    worst: dict[tuple[int, int], float] = {}
    steep = []
    for excess, small, large in reversed(grid.cliffs(shapes)):
        worst[large["width"], large["batch"]] = excess
        if excess > grid.CLIFF:
            steep.append((small, large))
    cells = _cells(shapes, lambda s: worst.get((s["width"], s["batch"])))
    label = "growth of time / growth of work (or time that falls)"
    axes = _draw(cells, _times, label, **_around_1x(4, good="below"))
    for small, large in steep:
        start, end = np.array(_place(small)[::-1]), np.array(_place(large)[::-1])
        near, far = start + 0.35 * (end - start), end - 0.35 * (end - start)
        axes.annotate("", far, near, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 2})
    axes.set_title(
        f"the steepest step to each shape from a smaller neighbour: {len(steep)} above "
        f"{grid.CLIFF}x (arrows)"
    )
    return axes


def _strategy(shapes: list[grid.Shape]) -> Any:
    cells = _cells(shapes, lambda s: s.get("choice_loss"))
    label = "time as chosen / time of the better strategy"
    letters = {_place(shape): shape["strategy"][0].upper() for shape in shapes}
    axes = _draw(cells, _times, label, letters, **_around_1x(2, good="below"))
    wrong = grid.wrong_choices(shapes)
    for shape in wrong:
        _frame(axes, shape)
    axes.set_title(
        f"the strategy that was chosen (L: lanes, D: dense, S: sliced): {len(wrong)} where another "
        f"is more than {grid.SLOWER}x faster (framed)"
    )
    return axes


MAPS = {"ratio": _ratio, "time": _time, "cliffs": _cliffs, "strategy": _strategy}


def draw_all(stored: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Each map of each kind of work that the sweep has, as a PNG."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    isas = {v["isa"] for v in stored["versions"].values() if "isa" in v}
    where = f"{stored['machine']['cpu']}, {stored['threads']} threads, {'/'.join(sorted(isas))}"
    for kind in grid.KINDS:
        shapes = [s for s in stored["shapes"] if s["kind"] == kind]
        for name, draw in MAPS.items():
            if not shapes or (name == "ratio" and not any("ratio" in s for s in shapes)):
                continue
            axes = draw(shapes)
            axes.set_title(f"{kind}, {where}\n{axes.get_title()}")
            path = folder / f"sweep-{kind}-{name}.png"
            axes.figure.savefig(path, dpi=110)
            plt.close(axes.figure)
            yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="of sweep.py")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="for the pictures")
    args = parser.parse_args()
    for path in draw_all(grid.read(args.json), args.folder):
        print(path)


if __name__ == "__main__":
    main()
