"""A program without what a prediction of one row need not do.

Identities and operations that nobody uses go, and scales of columns become part of an affine
operation beside them.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastmlp.program import Affine, ColumnScale, Function, Operation, Program, Sum

# Folded into an affine operation behind, the centre of a column is left to the sum: digits that a
# centre far beyond the spread would cost. `predict` has the same limit.
MOST_SPREADS = 8


def simplified(program: Program) -> tuple[Operation, ...]:
    """The operations that are left, numbered anew; the last one gives the output."""
    graph, output = _without_identities(program)
    _keep_used(graph, output)
    for number in list(graph):
        if isinstance(graph.get(number), ColumnScale):
            _fold(graph, number)
    names = {0: 0, **{number: i for i, number in enumerate(graph, 1)}}
    return tuple(_renamed(operation, names) for operation in graph.values())


Graph = dict[int, Operation]  # by the number of the value that an operation gives, in order


def inputs(operation: Operation) -> Iterator[int]:
    """The numbers of the values that an operation reads."""
    yield operation.input
    if isinstance(operation, Sum):
        yield operation.other


def _renamed(operation: Operation, names: dict[int, int]) -> Operation:
    operation = replace(operation, input=names.get(operation.input, operation.input))
    if isinstance(operation, Sum):
        operation = replace(operation, other=names.get(operation.other, operation.other))
    return operation


def _without_identities(program: Program) -> tuple[Graph, int]:
    graph: Graph = {}
    same: dict[int, int] = {}
    output = len(program.operations)
    for number, given in enumerate(program.operations, 1):
        operation = _renamed(given, same)
        copies = operation.input == 0 and number == output
        if isinstance(operation, Function) and operation.name == "identity" and not copies:
            same[number] = operation.input
        else:
            graph[number] = operation
    return graph, same.get(output, output)


def _keep_used(graph: Graph, output: int) -> None:
    used = {output}
    for number in sorted(graph, reverse=True):
        if number in used:
            used.update(inputs(graph[number]))
        else:
            del graph[number]


def _users(graph: Graph, value: int) -> list[int]:
    return [number for number, op in graph.items() for read in inputs(op) if read == value]


def _fold(graph: Graph, number: int) -> None:
    scale = graph[number]
    assert isinstance(scale, ColumnScale)
    before = graph.get(scale.input)
    if isinstance(before, Affine) and _users(graph, scale.input) == [number]:
        graph[number] = _behind_affine(before, scale)
        del graph[scale.input]
        return
    users = _users(graph, number)
    behind = graph[users[0]] if len(users) == 1 else None
    near = np.abs(scale.centre * scale.scale.astype(np.float64)) <= MOST_SPREADS
    if isinstance(behind, Affine) and near.all():
        graph[users[0]] = _before_affine(scale, behind)
        del graph[number]


def _behind_affine(affine: Affine, scale: ColumnScale) -> Affine:
    factors = scale.scale.astype(np.float64)
    bias = 0 if affine.bias is None else affine.bias
    shift = (bias - scale.centre.astype(np.float64)) * factors + scale.offset
    return _affine(affine.input, affine.weight * factors[:, None], shift, affine)


def _before_affine(scale: ColumnScale, affine: Affine) -> Affine:
    factors = scale.scale.astype(np.float64)
    shift = affine.weight @ (scale.offset - scale.centre * factors)
    if affine.bias is not None:
        shift = shift + affine.bias
    return _affine(scale.input, affine.weight * factors, shift, affine)


def _affine(value: int, weight: np.ndarray, bias: np.ndarray, like: Affine) -> Affine:
    dtype = like.weight.dtype
    with np.errstate(over="ignore"):
        return Affine(value, weight.astype(dtype), bias.astype(dtype))
