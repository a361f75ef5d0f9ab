"""A table of a model's layers: shapes, parameters, bytes, and the work of a prediction."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from fastmlp import _checks, pages


class Model(Protocol):
    """A module, as far as a summary looks at it."""

    def _walk(self, name: str) -> Iterator[tuple[str, Any]]: ...


class Row(NamedTuple):
    """A layer.

    Attributes
    ----------
    name : str
        Dotted, as in state dicts.
    layer : str
        As `repr` shows it.
    shapes : str
        Of its own parameters, by their names.
    parameters, bytes : int
        How many values those have, and how many bytes. What several layers share counts once, with
        the first of them.
    multiply_adds : int
        For a row of x: one for each weight of a matrix that x is multiplied by.
    """

    name: str
    layer: str
    shapes: str
    parameters: int
    bytes: int
    multiply_adds: int


_COLUMNS = ("name", "layer", "shapes", "parameters", "bytes", "multiply-adds")
_TEXTS = 3  # columns that are no numbers


class Summary:
    """What `summary` returns; it prints as a table, and as one of HTML in a notebook.

    Attributes
    ----------
    rows : list of Row
    parameters, trainable, bytes, multiply_adds : int
        Of the whole model; `trainable` are the parameters that require a gradient.
    """

    def __init__(self, title: str, rows: list[Row], trainable: int) -> None:
        self.title = title
        self.rows = rows
        self.parameters = sum(row.parameters for row in rows)
        self.bytes = sum(row.bytes for row in rows)
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self.trainable = trainable

    def _table(self) -> list[Sequence[str]]:
        body = [
            (
                *(row.name, row.layer, row.shapes),
                *map(_grouped, (row.parameters, row.bytes, row.multiply_adds)),
            )
            for row in self.rows
        ]
        sums = map(_grouped, (self.parameters, self.bytes, self.multiply_adds))
        return [_COLUMNS, *body, ("all", self.title, "", *sums)]

    def __repr__(self) -> str:
        table = self._table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < _TEXTS else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        rule = "-" * max(map(len, lines))
        lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
        if self.trainable != self.parameters:
            lines.append(f"trainable parameters: {_grouped(self.trainable)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *body = self._table()
        return pages.table(head, body, _TEXTS)


def _grouped(number: int) -> str:
    return f"{number:,}"


def summary(model: Model) -> Summary:
    """A table of a model's layers, which `print` and a notebook show.

    Parameters
    ----------
    model : Module

    Returns
    -------
    Summary
        A row for each layer, under each of its names, in the order of assignment: its parameters'
        shapes (torch's), their number and bytes, and the multiply-adds of a prediction for a row.
        Modules that only hold others have no rows.

    Raises
    ------
    TypeError
        If `model` is no module.
    """
    if isinstance(model, type) or not hasattr(model, "_walk"):
        raise TypeError(
            f"model: expected a Module, got {_checks.show(model)}{_checks.origin(model)}"
        )
    seen: set[int] = set()
    rows = []
    trainable = 0
    for name, module in model._walk(""):
        own = list(module.named_parameters(recurse=False))
        if not own and any(True for _ in module.named_children()):
            continue
        new = [parameter for _, parameter in own if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in new}
        trainable += sum(p.numel() for p in new if p.requires_grad)
        rows.append(
            Row(
                name,
                repr(module),
                ", ".join(f"{key} {tuple(value.shape)}" for key, value in own),
                sum(p.numel() for p in new),
                sum(p.numel() * p.dtype.itemsize for p in new),
                sum(value.numel() for _, value in own if len(value.shape) == 2),
            )
        )
    return Summary(type(model).__name__, rows, trainable)
