"""What a file holds, as text: `fastmlp info FILE`. Nothing is made of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp.files.architecture import Node, Reader
from fastmlp.files.container import Contents, entry, opened
from fastmlp.shell.saved import KEY, overview_of_table
from fastmlp.writing import file_path


def overview(path: Any) -> str:
    """Lines about a safetensors file: of what sort it is, the architecture, the tensors.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If it is no such file, or one of a later version.
    OSError
        If there is no such file.
    """
    name = file_path(path)
    with opened(name) as contents:
        lines = [f"{name}: {_sort(contents)}", *_parts(contents), *_tensors(contents)]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _sort(contents: Contents) -> str:
    if contents.document is None:
        return "safetensors, with no architecture of fastmlp's"
    what = {"model": "a model", "trainer": "a training"}[contents.kind or "model"]
    found = contents.document
    if found.get("ensemble") is True:
        what = "an ensemble"
    return f"{what}, format {found['format']}, written by fastmlp {found.get('fastmlp')}"


def _parts(contents: Contents) -> Iterator[str]:
    if (document := contents.document) is None:
        return
    yield "architecture"
    yield from _layers(Reader(len(contents.names)).read(document.get("model")), "model", 1)
    if (table := contents.metadata.get(KEY)) is not None:
        yield from overview_of_table(table)
    if contents.kind != "trainer":
        return
    optimizer = entry(document, "optimizer", dict)
    rates = [str(group.get("lr")) for group in entry(optimizer, "groups", list)]
    yield f"optimizer: {optimizer.get('class')}, learning rate {', '.join(rates)}"
    yield f"loss: {entry(document, 'loss', dict).get('class')}"
    if isinstance(schedule := document.get("scheduler"), dict):
        yield f"schedule: {schedule.get('class')}"
    losses = contents.array("history.loss") if "history.loss" in contents.names else np.empty(0)
    told = f", loss {losses.flat[0]:.6g} to {losses.flat[-1]:.6g}" if losses.size else ""
    yield f"epochs: {losses.size}{told}"


def _layers(node: Node, name: str, depth: int) -> Iterator[str]:
    options = ", ".join(f"{option}={value!r}" for option, value in node.options.items())
    note = ", a class that is not fastmlp's" if node.own else ""
    yield f"{'  ' * depth}{name}: {node.name}({options}){note}"
    for child, layer in node.layers.items():
        yield from _layers(layer, child, depth + 1)


def _tensors(contents: Contents) -> Iterator[str]:
    yield f"tensors: {len(contents.names)}"
    width = max(map(len, contents.names), default=0)
    for name in sorted(contents.names):
        code, shape = contents.look(name)
        yield f"  {name:{min(width, 60)}}  {code:4} {' x '.join(map(str, shape)) or 'a number'}"
