"""Damaged ONNX files: bytes that change, and graphs that do."""

import random
from collections.abc import Callable
from typing import Any

OPS = (
    *("Relu", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Tanh", "Softmax", "Reshape", "Cast"),
    *("Transpose", "Concat", "Conv", "Clip", "Erf", "Where", "Flatten", "Squeeze", "Unsqueeze"),
    *("Identity", "Dropout", "LayerNormalization", "BatchNormalization", "PRelu", "Pow", "Shape"),
    *("Gather", "Slice", "Constant", "ReduceMean", "Sqrt", "Loop", "HardSigmoid", "Sum", "Max"),
    *("Greater", "Scaler", "ZipMap"),
)
NUMBERS = (0, 1, -1, 2, 3, 7, 10, 255, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))


def damaged_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A few changes anywhere in a file."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        size = min(rng.choice((1, 1, 2, 4, 16, 100)), len(changed) - at)
        match rng.choice((0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 7, 8, 8, 8)):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at : at + size] = rng.randbytes(size)
            case 3:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 5, 50)))
            case 4:
                changed[at:at] = changed[at : at + size]
            case 5:
                start = rng.randrange(len(other))
                changed[at : at + size] = other[start : start + rng.choice((1, 8, 64, 300))]
            case 6:
                changed[at : at + 1] = b"\xff" * rng.randrange(1, 10) + bytes([rng.randrange(128)])
            case 7 if size:
                changed[at] ^= 1 << rng.randrange(8)
            case 8 if size:
                changed[at] = rng.choice((0, 1, 2, 127, 128, 255, (changed[at] + 1) % 256))
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def damaged_graph(rng: random.Random, data: bytes) -> bytes:
    """A few changes of nodes, names, tensors and attributes."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        rng.choice(_CHANGES)(rng, model)
    return bytes(model.SerializeToString())


def _names(model: Any) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(tensor.name for tensor in graph.initializer), "x", "", "nowhere"]


def _drop(rng: random.Random, model: Any) -> None:
    graph = model.graph
    items = rng.choice([graph.node, graph.initializer, graph.input, graph.output])
    if items:
        del items[rng.randrange(len(items))]


def _repeat(rng: random.Random, model: Any) -> None:
    graph = model.graph
    items = rng.choice([graph.node, graph.initializer, graph.input, graph.output])
    if items:
        items.add().CopyFrom(rng.choice(items))


def _swap(rng: random.Random, model: Any) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rewire(rng: random.Random, model: Any) -> None:
    if model.graph.node:
        node = rng.choice(model.graph.node)
        ends = rng.choice([node.input, node.output])
        if ends and rng.random() < 0.7:
            ends[rng.randrange(len(ends))] = rng.choice(_names(model))
        elif ends and rng.random() < 0.5:
            del ends[rng.randrange(len(ends))]
        else:
            ends.append(rng.choice(_names(model)))


def _rename(rng: random.Random, model: Any) -> None:
    if model.graph.node:
        node = rng.choice(model.graph.node)
        node.op_type = rng.choice(OPS)
        node.domain = rng.choice(("", "", "ai.onnx.ml", "com.example"))


def _resize(rng: random.Random, model: Any) -> None:
    if model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        if tensor.dims and rng.random() < 0.6:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        else:
            tensor.dims.append(rng.choice(NUMBERS))


def _refill(rng: random.Random, model: Any) -> None:
    if model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        match rng.randrange(5):
            case 0:
                tensor.data_type = rng.randrange(24)
            case 1:
                tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
            case 2:
                tensor.raw_data = rng.randbytes(len(tensor.raw_data))
            case 3:
                tensor.data_location = 1
                tensor.external_data.add(key="location", value="/etc/passwd")
            case 4:
                tensor.ClearField("raw_data")
                tensor.float_data.extend([rng.random()] * rng.randrange(30))


def _attribute(rng: random.Random, model: Any) -> None:
    if not model.graph.node:
        return
    node = rng.choice(model.graph.node)
    if not node.attribute:
        names = ("axis", "alpha", "perm", "axes", "value", "to", "epsilon", "transA")
        node.attribute.add(name=rng.choice(names), type=2, i=rng.choice(NUMBERS))
        return
    attribute = rng.choice(node.attribute)
    match rng.randrange(5):
        case 0:
            attribute.type = rng.randrange(15)
        case 1:
            attribute.i = rng.choice(NUMBERS)
        case 2:
            attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case 3:
            attribute.ints.extend(rng.choices(NUMBERS, k=rng.randrange(12)))
        case 4:
            node.attribute.remove(attribute)


def _port(rng: random.Random, model: Any) -> None:
    ports = [*model.graph.input, *model.graph.output]
    if ports:
        kind = rng.choice(ports).type.tensor_type
        if kind.shape.dim and rng.random() < 0.7:
            rng.choice(kind.shape.dim).dim_value = rng.choice(NUMBERS)
        elif rng.random() < 0.5:
            kind.shape.dim.add(dim_value=rng.choice(NUMBERS))
        else:
            kind.elem_type = rng.randrange(20)


def _opset(rng: random.Random, model: Any) -> None:
    if model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((0, 1, 6, 7, 10, 12, 13, 20, 999))


_CHANGES: list[Callable[[random.Random, Any], None]] = [
    _drop,
    _repeat,
    _swap,
    _rewire,
    _rewire,
    _rename,
    _resize,
    _refill,
    _attribute,
    _port,
    _opset,
]
