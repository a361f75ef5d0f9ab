"""What an ONNX file says, as plain records; nothing is computed here, and no other file is read."""

import math
import os
import stat
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.onnx.wire import Budget, Message, numbers

_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_LARGEST = 2**31  # bytes, which protobuf allows


@dataclass(frozen=True)
class Node:
    """An operator and what it takes and gives. Attributes of other kinds are None."""

    op_type: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        name = self.name or (self.outputs[0] if self.outputs else "")
        domain = f" of {self.domain}" if self.domain else ""
        return f"node {name[:80]!r} ({self.op_type[:40]}{domain[:40]})"


@dataclass(frozen=True)
class Port:
    """An input or output: sizes are None where the file leaves them open, `kind` where unsaid."""

    name: str
    kind: str | None  # a dtype, "other" or, of sequences of maps, "sequence"
    sizes: tuple[int | None, ...] | None


@dataclass
class File:
    """A graph. `constants` are those that it comes with; None are of kinds that have no use here.

    `size` is that of the file in bytes; `wide` says whether numbers are of float64.
    """

    size: int
    wide: bool = False
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array | None] = field(default_factory=dict)
    opset: int = 1


def read(path: str) -> File:
    """Read a file.

    Raises
    ------
    ValueError
        If it is no ONNX file, is damaged, or keeps numbers in other files.
    OSError
        If it cannot be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("expected a file, got something else")
    if status.st_size > _LARGEST:
        raise ValueError(f"expected at most 2 GB, got {status.st_size} bytes")
    with open(path, "rb") as stream:
        data = stream.read(status.st_size)
    return _file(memoryview(data))


def _file(data: memoryview) -> File:
    model = Message(data, Budget(len(data)))
    graph = model.message(7)
    if graph is None:
        raise ValueError("expected an ONNX model, got a file without a graph")
    file = File(len(data))
    for opset in model.messages(8):
        if opset.text(1) in ("", "ai.onnx"):
            file.opset = opset.integer(2)
    if file.opset < 7:
        raise ValueError(f"expected opset 7 or later, got {file.opset}; export the model anew")
    if 15 in graph:
        raise ValueError("expected dense initializers, got a sparse one")
    for tensor in graph.messages(5):
        file.constants[tensor.text(8)] = _array(tensor)
    file.inputs = [
        port for port in map(_port, graph.messages(11)) if port.name not in file.constants
    ]
    file.outputs = [_port(port) for port in graph.messages(12)]
    dtypes = [array.dtype for array in file.constants.values() if array is not None]
    file.wide = np.float64 in dtypes or "float64" in (port.kind for port in file.inputs)
    file.nodes = [_node(node) for node in graph.messages(1)]
    if not file.wide:
        for node in file.nodes:
            for name, value in node.attributes.items():
                if isinstance(value, float):
                    node.attributes[name] = tidied(value)
    return file


def tidied(number: float) -> float:
    """The shortest number that is the same in float32, such as 0.1."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(number)))


def _node(node: Message) -> Node:
    domain = node.text(7)
    return Node(
        node.text(4),
        "" if domain == "ai.onnx" else domain,
        node.text(3),
        node.texts(1),
        node.texts(2),
        dict(map(_attribute, node.messages(5))),
    )


def _attribute(attribute: Message) -> tuple[str, Any]:
    value: Any = None
    match attribute.integer(20):
        case 1:
            value = attribute.real(2)
        case 2:
            value = attribute.integer(3)
        case 3:
            value = attribute.text(4)
        case 4:
            tensor = attribute.message(5)
            value = None if tensor is None else _array(tensor)
        case 6:
            value = attribute.array(7, "float32")
        case 7:
            value = attribute.integers(8)
    return attribute.text(1), value


def _port(port: Message) -> Port:
    kind = port.message(2)
    if kind is None:
        return Port(port.text(1), None, None)
    tensor = kind.message(1)
    if tensor is None:
        return Port(port.text(1), "sequence" if 4 in kind else "other", None)
    shape = tensor.message(2)
    sizes = None if shape is None else tuple(map(_size, shape.messages(1)))
    return Port(port.text(1), _DTYPES.get(tensor.integer(1), "other"), sizes)


def _size(dimension: Message) -> int | None:
    return dimension.integer(1) if dimension.integer(1) > 0 else None


def _array(tensor: Message) -> Array | None:
    """A tensor's numbers: a view of the file where that has them as they are."""
    name = f"tensor {tensor.text(8)[:80]!r}"
    if tensor.integer(14) == 1 or 13 in tensor:
        raise ValueError(
            f"{name}: expected its numbers in the file, got a reference to another file, which is"
            " not followed; onnx.load and onnx.save make one file of them, and torch.onnx.export"
            " has external_data=False"
        )
    dtype = _DTYPES.get(tensor.integer(2))
    if dtype is None:
        return None
    dims = tensor.integers(1)
    if len(dims) > 8 or any(size < 0 for size in dims):
        raise ValueError(f"{name}: expected a shape, got {dims[:9]}")
    found = _numbers(tensor, dtype)
    if len(found) != math.prod(dims):
        raise ValueError(f"{name}: expected as many numbers as {dims} says, got {len(found)}")
    return found.reshape(dims)


def _numbers(tensor: Message, dtype: str) -> Array:
    if 9 in tensor:
        return numbers(tensor.bytes(9)[-1], dtype)
    if dtype in ("float32", "float64"):
        return tensor.array(4 if dtype == "float32" else 10, dtype)
    items = tensor.integers(7 if dtype == "int64" else 5)
    if dtype == "float16":
        return np.array([item & 0xFFFF for item in items], np.uint16).view(np.float16)
    limits = np.iinfo("int64" if dtype == "bool" else dtype)
    if any(not limits.min <= item <= limits.max for item in items):
        raise ValueError(f"expected numbers of {dtype}, got larger ones")
    return np.array(items, dtype)
