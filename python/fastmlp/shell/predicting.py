"""From a model's file and a CSV file to a CSV of predictions, block by block."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np

from fastmlp.datasets import DataError
from fastmlp.shell.columns import Category
from fastmlp.shell.reading import count, open_table, short
from fastmlp.shell.saved import TableModel, load_table_model
from fastmlp.writing import replacing


def predict(options: Any) -> None:
    """Write the predictions to standard output, or to `options.out`.

    Raises
    ------
    DataError
        If the model or the data are not what they should be.
    OSError
        If a file cannot be read or written.
    """
    try:
        model = load_table_model(options.model)
    except ValueError as error:  # which says what is wrong with the file
        raise DataError(str(error)) from error
    if options.probabilities and model.classes is None:
        raise DataError("--probabilities: expected a model of classes, got one of a regression")
    if options.out is None:
        _write(model, options, sys.stdout)
        sys.stdout.flush()
    else:
        if options.data != "-" and os.path.realpath(options.out) == os.path.realpath(options.data):
            raise DataError(f"--out {options.out}: expected another file than the data")
        if os.path.isdir(options.out):
            raise DataError(f"--out {options.out}: expected a file, got a folder")
        with replacing(options.out) as file:
            _write(model, options, file)
    unknown = [c for c in model.columns if isinstance(c, Category) and c.unknown]
    for column in unknown:
        print(
            f"fastmlp: note: {short(column.name)} has values that the training had not, in"
            f" {count(column.unknown, 'row')}",
            file=sys.stderr,
        )


def _write(model: TableModel, options: Any, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    with open_table(options.data) as table:
        for name in options.keep:
            table.find(name, " to keep")
        for column in model.columns:
            table.find(column.name, ", which the model needs")
        named = f"predicted {model.target}" if model.target in options.keep else model.target
        header = [*options.keep, named]
        if options.probabilities:
            header += [f"probability of {name}" for name in model.classes or ()]
        needed = {*options.keep, *(column.name for column in model.columns)}
        first = 1
        for number, block in enumerate(table.blocks(sorted(needed, key=table.columns.index))):
            if not len(block):
                raise DataError(f"{table.name}: expected rows below the names, got none")
            columns = list(_columns(model, block, options.probabilities, table.name, first))
            if not number:
                writer.writerow(header)
            kept = [block[name].fillna("").tolist() for name in options.keep]
            writer.writerows(zip(*kept, *columns, strict=True))
            first += len(block)


def _columns(
    model: TableModel, block: Any, probabilities: bool, where: str, first: int
) -> Iterator[Sequence[str]]:
    """The predictions of a block as text."""
    if model.classes is None:
        yield _texts(model.values(block, where, first))
        return
    p = model.probabilities(block, where, first)
    yield [model.classes[place] for place in np.argmax(p, axis=1).tolist()]
    if probabilities:
        yield from map(_texts, p.T)


def _texts(values: Any) -> list[str]:
    return [f"{value:.7g}" for value in values.tolist()]
