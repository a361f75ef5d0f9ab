"""What `fastmlp train` prints, and the picture that it draws."""

from pathlib import Path
from types import SimpleNamespace

from fastmlp import plot
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
    if not plot.is_available():
        raise ImportError('--picture needs matplotlib: pip install "fastmlp[plot]"')
    made, _ = plot.figure()
    if path.suffix.lstrip(".").lower() not in made.canvas.get_supported_filetypes():
        raise DataError(f"--picture {path}: expected a name such as out.png, out.pdf or out.svg")


def draw(result: Result, path: Path) -> None:
    """The losses, and beside them what the held-out rows are and were predicted to be."""
    pictures = 2 if result.test_rows else 1
    made, axes = plot.figure(1, pictures, size=(5.2 * pictures, 4.4))
    curves = [result.loss, *filter(None, [result.validation_loss])]
    history = SimpleNamespace(loss=result.loss, validation_loss=result.validation_loss or ())
    plot.loss(history, axes[0], log=min(map(min, curves)) > 0)
    classes = result.model.classes
    if pictures == 2:
        target = _short(result.model.target, 30)
        if classes is None:
            plot.predictions(result.truth, result.predicted, axes[1], label=target)
        else:
            names = [_short(name, 12) for name in classes]
            plot.confusion_matrix(result.truth, result.predicted, axes[1], class_names=names)
        axes[1].set_title(f"{target}, held-out rows")
    plot.save(made, path)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
