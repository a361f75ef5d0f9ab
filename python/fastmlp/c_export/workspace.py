"""Where a program's values lie: in the input, the output, or the workspace.

An operation on single features, or on a row as a whole, writes its result over its input where
nobody reads that later. Values that lie in one place so are a group; a group that is not read any
more leaves its place to later ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastmlp.c_export.simplify import inputs
from fastmlp.program import Affine, Operation


@dataclass(frozen=True)
class Layout:
    """`places` has "x", "y" or an offset in the workspace for each value; `widths` its size.

    `parts` has the offset of a second place as wide as the output, for affine operations with more
    inputs than a limit.
    """

    places: tuple[str | int, ...]
    widths: tuple[int, ...]
    parts: dict[int, str | int]
    size: int  # of the workspace


@dataclass
class _Group:
    width: int
    first: int  # the operation that writes it first,
    last: int  # and the one that reads it last, by the numbers of their values
    place: str | int = "y"


def layout(operations: Sequence[Operation], in_features: int, most_inputs: float) -> Layout:
    """A place for each value: first fit, the widest first."""
    last_use = {number: number for number in range(len(operations) + 1)}
    for number, operation in enumerate(operations, 1):
        last_use.update(dict.fromkeys(inputs(operation), number))
    groups = [_Group(in_features, 0, last_use[0], "x")]  # of each value
    for number, operation in enumerate(operations, 1):
        groups.append(_group(operation, number, groups, last_use))
    parts = {
        number: _Group(operation.weight.shape[0], number, number)
        for number, operation in enumerate(operations, 1)
        if isinstance(operation, Affine) and operation.weight.shape[1] > most_inputs
    }
    inner = {id(group): group for group in groups[1:] if group is not groups[-1]}
    size = _place([*inner.values(), *parts.values()])
    return Layout(
        tuple(group.place for group in groups),
        tuple(group.width for group in groups),
        {number: group.place for number, group in parts.items()},
        size,
    )


def _group(
    operation: Operation, number: int, groups: list[_Group], last_use: dict[int, int]
) -> _Group:
    if isinstance(operation, Affine):
        return _Group(operation.weight.shape[0], number, last_use[number])
    for read in inputs(operation):
        if read != 0 and last_use[read] == number:
            groups[read].last = last_use[number]
            return groups[read]
    return _Group(groups[operation.input].width, number, last_use[number])


def _place(groups: Sequence[_Group]) -> int:
    placed: list[_Group] = []
    size = 0
    for group in sorted(groups, key=lambda group: -group.width):
        taken = sorted(
            (int(other.place), other.width)
            for other in placed
            if other.first <= group.last and group.first <= other.last
        )
        place = 0
        for start, width in taken:
            if place + group.width <= start:
                break
            place = max(place, start + width)
        group.place = place
        placed.append(group)
        size = max(size, place + group.width)
    return size
