"""What `fastmlp train` prints, and the picture that it draws."""

from pathlib import Path
from typing import Any

import numpy as np

from fastmlp import plotting
from fastmlp.datasets import DataError
from fastmlp.shell.columns import Number
from fastmlp.shell.reading import count, short
from fastmlp.shell.training import Result

MOST_NOTES = 12
UNITS = ("RMSE", "mean error")  # of the target


def summary(result: Result, data: str, saved: str | None, size: int) -> str:
    """Some lines about a training."""
    model = result.model
    kinds = [isinstance(column, Number) for column in model.columns]
    used = [f"{sum(kinds)} of numbers"] if any(kinds) else []
    used += [f"{kinds.count(False)} of categories"] if not all(kinds) else []
    what = "regression" if model.classes is None else f"{len(model.classes)} classes"
    layers = [p.shape[0] for n, p in model.network.named_parameters() if len(p.shape) == 2]
    width = sum(column.width for column in model.columns)
    lines = [
        f"data      {data}: {count(result.rows + result.test_rows, 'row')}",
        f"columns   {', '.join(used)}",
        f"target    {short(model.target)}: {what}",
        f"network   {'-'.join(map(str, [width, *layers]))}",
        f"training  {count(result.rows, 'row')}, {count(len(result.loss), 'epoch')},"
        f" {result.seconds:.1f} s",
    ]
    lines += [f"note      {note}" for note in result.notes[:MOST_NOTES]]
    if len(result.notes) > MOST_NOTES:
        lines.append(f"note      and {len(result.notes) - MOST_NOTES} more like these")
    if result.scores:
        lines.append(f"held out  {count(result.test_rows, 'row')}; beside it {result.baseline}")
        for name, (own, plain) in result.scores.items():
            form = ".4g" if name in UNITS else ".4f"
            lines.append(f"  {name:10}  {own:>10{form}}  {plain:>10{form}}")
    if saved is None:
        lines.append("saved     nowhere; --save FILE keeps the model")
    else:
        lines.append(f"saved     {saved} ({size / 1000:.0f} kB)")
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def check_picture(path: Path) -> None:
    """ImportError without matplotlib, DataError for a format that it does not write."""
    if not plotting.is_available():
        raise ImportError('--picture needs matplotlib: pip install "fastmlp[plot]"')
    made, _ = plotting.figure()
    if path.suffix.lstrip(".").lower() not in made.canvas.get_supported_filetypes():
        raise DataError(f"--picture {path}: expected a name such as out.png, out.pdf or out.svg")


def draw(result: Result, path: Path) -> None:
    """The losses, and beside them what the held-out rows are and were predicted to be."""
    pictures = 2 if result.test_rows else 1
    made, axes = plotting.figure(1, pictures, size=(5.2 * pictures, 4.4))
    lines = {"training": result.loss}
    if result.validation_loss:
        lines["validation"] = result.validation_loss
    plotting.curves(lines, axes[0], log=min(map(min, lines.values())) > 0)
    target = result.model.target
    shown = target if len(target) <= 30 else target[:29] + "…"
    if pictures == 2 and result.model.classes is None:
        plotting.predictions(
            result.truth, result.predicted, axes[1], title=f"{shown}, held-out rows"
        )
    elif pictures == 2:
        _confusion(result, axes[1], shown)
    plotting.save(made, path)


def _confusion(result: Result, ax: Any, target: str) -> None:
    """How many rows of each class were predicted as which; at most 20 classes by name."""
    assert result.model.classes is not None
    names = [name if len(name) <= 12 else name[:11] + "…" for name in result.model.classes]
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (result.truth, result.predicted), 1)
    with plotting.look():
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.grid(visible=False)
        ax.set(title=f"{target}, held-out rows", xlabel="predicted", ylabel="true")
        if len(names) <= 20:
            places = range(len(names))
            ax.set_xticks(places, names, rotation=45 if len(names) > 3 else 0)
            ax.set_yticks(places, names)
        if len(names) <= 10:
            for (row, column), count in np.ndenumerate(counts):
                colour = "white" if shares[row, column] > 0.5 else "black"
                ax.text(column, row, str(count), ha="center", va="center", color=colour)
