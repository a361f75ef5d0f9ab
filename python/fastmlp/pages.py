"""What notebooks show of trainings and parameters: tables and small charts, as HTML and SVG.

Nothing has a colour of its own, so that all of it can be read on light and on dark pages.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastmlp._types import Floats

_POINTS = 300  # of a curve: more cannot be told apart
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table of plain texts, which are escaped.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : sequence of sequences of str
    texts : int
        How many columns hold text; those after them hold numbers.
    """
    body = "".join(row(cells, texts=texts) for cells in rows)
    return f"<table><thead>{row(head, 'th', texts)}</thead><tbody>{body}</tbody></table>"


def row(cells: Sequence[str], tag: str = "td", texts: int = 1, more: str = "") -> str:
    """A row of a table; `more` is HTML for a last cell."""
    made = []
    for i, cell in enumerate(cells):
        side = "left" if i < texts else "right"
        made.append(
            f'<{tag} style="text-align: {side}; padding: 0 0.6em">{html.escape(str(cell))}</{tag}>'
        )
    return f"<tr>{''.join(made)}{f'<{tag}>{more}</{tag}>' if more else ''}</tr>"


def history(curves: Mapping[str, Floats], seconds: float, best: int | None) -> str:
    """A training: of each curve the first value, that of the best epoch and the last, and a line.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (epochs,)
        At least one, of at least one epoch.
    seconds : float
        How long it took.
    best : int or None
        The best epoch, counted from 0.
    """
    epochs = len(next(iter(curves.values())))
    title = f"{epochs} epoch{'s' if epochs > 1 else ''}, {seconds:.3g} s"
    at = [0, epochs - 1] if best is None else [0, best, epochs - 1]
    names = ["first", "last"] if best is None else ["first", f"best, epoch {best + 1}", "last"]
    rows = [
        row([name, *(_number(values[i]) for i in at)], more=sparkline(values))
        for name, values in curves.items()
    ]
    head = row([title, *names, ""], "th")
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def parameter(kind: str, facts: Mapping[str, str], values: Any) -> str:
    """A parameter: what it is, the smallest, mean and largest of its values, and some of them."""
    numbers = np.asarray(values, dtype=np.float64)
    with np.errstate(all="ignore"):
        found = {"min": numbers.min(), "mean": numbers.mean(), "max": numbers.max()}
    about = {**facts, **{name: _number(value) for name, value in found.items()}}
    made = table(["", *about], [[kind, *about.values()]])
    return f"{made}<pre>{html.escape(str(values))}</pre>"


def sparkline(values: Floats, width: int = 120, height: int = 24) -> str:
    """A curve alone, as SVG."""
    path = _path(_thinned(values), _range(values), (1, 1, width - 2, height - 2), len(values))
    return _svg(width, height, f'<path d="{path}" fill="none" stroke="currentColor"/>')


def chart(lines: Mapping[str, Floats], epochs: int, title: str) -> str:
    """Curves over the epochs, with axes, as SVG.

    Parameters
    ----------
    lines : mapping of str to ndarray
        The first value of each is that of epoch 1.
    epochs : int
        Where the axis ends: those that are to come are included.
    title : str
        A line above.
    """
    width, height = 520, 240
    left, top, wide, high = box = (64, 34, width - 76, height - 66)
    every = np.concatenate([np.asarray(v, dtype=float) for v in lines.values()])
    limits = _range(every)
    made = [
        _text(left, 14, title),
        f'<path d="M{left} {top}V{top + high}H{left + wide}" fill="none" stroke="currentColor"'
        ' opacity="0.5"/>',
        _text(left, top + high + 16, "1"),
        _text(left + wide, top + high + 16, f"epoch {epochs}", "end"),
    ]
    for share in (0, 0.5, 1):
        value = limits[0] + share * (limits[1] - limits[0])
        y = top + high * (1 - share)
        made.append(_text(left - 6, y + 4, f"{value:.3g}", "end"))
        made.append(f'<path d="M{left} {y:.1f}h{wide}" stroke="currentColor" opacity="0.15"/>')
    for i, (name, values) in enumerate(lines.items()):
        path = _path(_thinned(values), limits, box, epochs)
        dashes = f' stroke-dasharray="{_DASHES[i % len(_DASHES)]}"' if i else ""
        line = f'fill="none" stroke="currentColor" stroke-width="1.5"{dashes}'
        x = left + 12 + 150 * i
        made += [
            f'<path d="{path}" {line}/>',
            f'<path d="M{x} {height - 8}h26" {line}/>',
            _text(x + 32, height - 4, name),
        ]
    return _svg(width, height, "".join(made))


def _svg(width: int, height: int, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" style="max-width: 100%">{content}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="12"'
        f' fill="currentColor">{html.escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{float(value):.4g}"


def _range(values: Floats) -> tuple[float, float]:
    """The smallest and the largest finite value, apart from one another."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _thinned(values: Floats) -> list[tuple[int, float]]:
    """Some of the values and their places, the first and the last among them."""
    at = np.unique(np.linspace(0, len(values) - 1, min(_POINTS, len(values))).astype(int))
    return [(int(i), float(values[i])) for i in at]


def _path(
    points: list[tuple[int, float]],
    limits: tuple[float, float],
    box: tuple[float, float, float, float],
    count: int,
) -> str:
    """Lines between neighbours that are finite; a point of a lone one."""
    left, top, wide, high = box
    low, spread = limits[0], limits[1] - limits[0]
    made, pen = [], "M"
    for i, value in points:
        if not math.isfinite(value):
            pen = "M"
            continue
        x = left + wide * i / max(1, count - 1)
        y = top + high * (1 - (value - low) / spread)
        made.append(f"{pen}{x:.1f} {y:.1f}" + ("h.1" if pen == "M" else ""))
        pen = "L"
    return "".join(made)
