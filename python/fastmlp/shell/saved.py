"""A model of a table's rows, and its file.

It is a safetensors file of `fastmlp.save`, whose network takes encoded rows; the columns, and what
the outputs mean, are JSON in its metadata beside the architecture, under the key `KEY`.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.datasets import DataError
from fastmlp.files import architecture
from fastmlp.files.container import entry, opened, pack
from fastmlp.files.models import model_tensors, read_model
from fastmlp.modules import Module
from fastmlp.shell.columns import Category, Column, Number, encode
from fastmlp.shell.reading import short
from fastmlp.writing import replace_file

KEY = "fastmlp.table"
FORMAT = 1
MOST_TEXT = 2_000_000  # characters, and a tenth of the file's bytes: JSON takes memory when read


@dataclass
class TableModel:
    """A network, the columns that it takes, and what its outputs are.

    Parameters
    ----------
    network : Module
        Of encoded rows. Its outputs are logits of the classes (of the second one, where there are
        two), or `(target - mean) / scale`.
    columns : list of Number or Category
    target : str
        The name of the column that it predicts.
    classes : list of str, or None
        None of a regression.
    mean, scale : float
        Of a regression.
    """

    network: Module
    columns: list[Column]
    target: str
    classes: list[str] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def values(self, frame: Any, where: str, first: int = 1) -> Array:
        """The predictions of a regression, of shape (rows,)."""
        return self._outputs(frame, where, first)[:, 0] * self.scale + self.mean

    def probabilities(self, frame: Any, where: str, first: int = 1) -> Array:
        """Those of the classes, of shape (rows, classes)."""
        y = self._outputs(frame, where, first)
        if y.shape[1] == 1:
            y = np.concatenate([np.zeros_like(y), y], axis=1)
        y = np.exp(y - y.max(axis=1, keepdims=True))
        return np.asarray(y / y.sum(axis=1, keepdims=True))

    def _outputs(self, frame: Any, where: str, first: int) -> Array:
        rows = encode(self.columns, frame, where, first)
        return np.asarray(self.network.predict(rows), np.float64)

    def save(self, path: str) -> None:
        """Write the file, whole or not at all."""
        table: dict[str, Any] = {"format": FORMAT, "target": self.target}
        if self.classes is None:
            table |= {"mean": self.mean, "scale": self.scale}
        else:
            table["classes"] = self.classes
        table["columns"] = [_described(column) for column in self.columns]
        text = json.dumps(table, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        document = {"kind": "model", "model": architecture.describe(self.network)}
        data = pack(model_tensors(self.network, ""), document, {KEY: text})
        if len(text) > MOST_TEXT + len(data) // 10:
            raise DataError(
                f"the names and values of the columns have {len(text)} characters, more than a file"
                " may have; --drop some"
            )
        replace_file(path, data)


def _described(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"name": column.name, "missing": column.missing}
    if isinstance(column, Number):
        return found | {"mean": column.mean, "scale": column.scale}
    return found | {"values": column.values}


def load_table_model(path: str) -> TableModel:
    """The model of a file.

    Raises
    ------
    ValueError
        If it is no such file, or damaged.
    OSError
        If there is none.
    """
    with opened(path) as contents:
        text = contents.metadata.get(KEY)
        if text is None:
            raise ValueError(
                "expected a model of `fastmlp train`, got one without the columns of a table;"
                " fastmlp.load reads it in Python"
            )
        if len(text) > MOST_TEXT + os.path.getsize(path) // 10:
            raise ValueError(f"expected a shorter table, got one of {len(text)} characters")
        table = _table(text)
        network = read_model(contents, None, "cpu")
        model = TableModel(network, **table)
        _check_network(model)
    return model


def _table(text: str) -> dict[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError("table: expected a JSON object")
    if (number := entry(table, "format", int)) != FORMAT:
        raise ValueError(
            f"table: expected one of format {FORMAT}, got one of format {number}, which a later"
            " version has written"
        )
    found: dict[str, Any] = {"target": entry(table, "target", str)}
    if "classes" in table:
        found["classes"] = _texts("classes", entry(table, "classes", list))
        if len(found["classes"]) < 2:
            raise ValueError("classes: expected at least two")
    else:
        found |= _moments(table)
    found["columns"] = [_column(column) for column in entry(table, "columns", list)]
    names = [column.name for column in found["columns"]]
    if len({*names, found["target"]}) != len(names) + 1 or not names:
        raise ValueError("columns: expected different names, and not that of the target")
    return found


def _column(description: Any) -> Column:
    if not isinstance(description, dict):
        raise ValueError("columns: expected JSON objects")
    name = entry(description, "name", str)
    missing = entry(description, "missing", bool)
    if "values" not in description:
        return Number(name, missing=missing, **_moments(description))
    return Category(name, _texts("values", entry(description, "values", list)), missing)


def _moments(description: dict[str, Any]) -> dict[str, float]:
    return {
        "mean": _checks.real("mean", description.get("mean")),
        "scale": _checks.real("scale", description.get("scale"), above=0),
    }


def _texts(name: str, values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values) or len(set(values)) != len(values):
        raise ValueError(f"{name}: expected different texts")
    return values


def _check_network(model: TableModel) -> None:
    """ValueError unless the network takes so many numbers and gives so many."""
    width = sum(column.width for column in model.columns)
    wanted = 1 if model.classes is None or len(model.classes) == 2 else len(model.classes)
    try:
        got = np.shape(model.network.predict(np.zeros((1, width), np.float32)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a network of {width} inputs: {error}") from None
    if got != (1, wanted):
        raise ValueError(f"expected a network with outputs of shape (1, {wanted}), got {got}")


def overview_of_table(text: str) -> Iterator[str]:
    """Lines that say what `fastmlp predict` makes of the file."""
    table = _table(text)
    classes = table.get("classes")
    what = "a regression" if classes is None else f"one of {len(classes)} classes"
    yield f"predicts {short(table['target'])}, {what}, from {len(table['columns'])} columns"
    for column in table["columns"]:
        kind = "numbers" if isinstance(column, Number) else f"one of {len(column.values)} values"
        yield f"  {short(column.name)}: {kind}{', or missing' if column.missing else ''}"
