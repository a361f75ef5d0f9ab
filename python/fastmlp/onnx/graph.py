"""Goes through a graph's nodes and finds what each tensor is to the batch.

`HANDLERS` has a row for each operator that is more than a function of each number by itself. A node
that nobody can take over makes values with a problem: an error only if the output needs them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.onnx import shapes
from fastmlp.onnx.elementwise import ELEMENTWISE, compute
from fastmlp.onnx.moments import moment_of, reduced
from fastmlp.onnx.reading import File, Node, tidied
from fastmlp.onnx.values import (
    Affine,
    BatchNorm,
    Columns,
    Dropout,
    Layer,
    Normalization,
    PReLU,
    RefusedError,
    Rowwise,
    Value,
    as_floats,
    as_scalar,
    as_vector,
    common,
)


class Graph:
    """The tensors of a file, by name.

    Parameters
    ----------
    file : File

    Attributes
    ----------
    tensors : dict of str
        Arrays, shapes (lists) and values.
    flattened : bool
        Whether the input is flattened to rows of features.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        self.flattened = False
        self.count = 0
        self._bytes_left = 4 * file.size + 1_000_000  # for constants that nodes compute
        self.tensors: dict[str, Any] = {**file.constants, "": None}
        self.input = self._input()
        self.tensors[file.inputs[0].name] = self.input
        for node in file.nodes:
            self._take(node)

    def _input(self) -> Value:
        names = [port.name for port in self.file.inputs]
        if len(names) != 1:
            raise ValueError(f"expected a model of one input, got {len(names)}: {names[:5]}")
        port = self.file.inputs[0]
        if port.kind in ("other", "sequence"):
            raise ValueError(f"expected an input of numbers, got {port.name!r} of another type")
        sizes = port.sizes
        if sizes is not None and len(sizes) < 2:
            raise ValueError(
                f"expected an input of shape (batch, features), got {port.name!r} of"
                f" {len(sizes)} dimensions"
            )
        value = self.value(None, [])
        if sizes is not None:
            value.width = sizes[-1]
            value.sizes = sizes[1:] if len(sizes) > 2 else None
            self.rows = sizes[0]
        else:
            self.rows = None
        return value

    def value(self, node: Node | None, inputs: list[Value], **more: Any) -> Value:
        """A new one."""
        self.count += 1
        return Value(self.count, node, inputs, **more)

    def _take(self, node: Node) -> None:
        missing = [name for name in node.inputs if name not in self.tensors]
        if missing:
            raise ValueError(
                f"{node}: expected inputs that nodes before it make, got {missing[0]!r}, which is"
                " missing or comes later"
            )
        inputs = [self.tensors[name] for name in node.inputs]
        values = [tensor for tensor in inputs if isinstance(tensor, Value)]
        try:
            result = self._result(node, inputs, values)
        except RefusedError as refusal:
            result = self.value(node, values, problem=str(refusal))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            problem = f"expected inputs and attributes as {node.op_type} has them, got others"
            result = self.value(node, values, problem=problem)
        names = [name for name in node.outputs if name]
        for name in names:
            if name in self.tensors:
                raise ValueError(f"{node}: expected a new name for its output, got {name!r} again")
        if names and names[0] == (node.outputs or [""])[0]:
            self.tensors[names.pop(0)] = result
        for name in names:
            self.tensors[name] = self.value(node, values, problem="only its first output is used")

    def _result(self, node: Node, inputs: list[Any], values: list[Value]) -> Any:
        key = node.op_type if not node.domain else f"{node.domain}.{node.op_type}"
        for name, tensor in zip(node.inputs, inputs, strict=True):
            if tensor is None and name:
                raise RefusedError(f"expected numbers in {name!r}, got a constant of another type")
        if any(isinstance(tensor, list) for tensor in inputs) and node.op_type != "Reshape":
            return shapes.of_shapes(node, inputs)
        handler = HANDLERS.get(key)
        if handler is not None:
            return handler(self, node, inputs)
        if key not in ELEMENTWISE:
            raise RefusedError("expected an operator that multi-layer perceptrons have")
        if not values:
            return self._folded(node, inputs)
        return self._elementwise(node, inputs, values)

    def _folded(self, node: Node, inputs: list[Any]) -> Array:
        sizes = [tensor.size for tensor in inputs if tensor is not None]
        shape = np.broadcast_shapes(*(tensor.shape for tensor in inputs if tensor is not None))
        if not sizes or np.prod(shape, dtype=object) > max(sizes):
            raise RefusedError("expected constants that fit together")
        self.spend(8 * max(sizes))
        return np.asarray(compute(node.op_type, node.attributes, inputs))

    def spend(self, size: int) -> None:
        """Take bytes for an array that is not in the file, or RefusedError."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise RefusedError(
                f"expected a model not much larger than its file of {self.file.size} bytes, got"
                " one that uses the same numbers over and over"
            )

    # Functions of each number ---------------------------------------------------------------------

    def _elementwise(self, node: Node, inputs: list[Any], values: list[Value]) -> Value:
        moment = moment_of(node, inputs)
        if isinstance(moment, Normalization):
            x = values[0].moment
            assert x is not None
            return self.layer(node, x.x, moment)
        if moment is not None:
            return self.value(node, values, moment=moment)
        if any(value.sizes != values[0].sizes for value in values):
            raise RefusedError("expected inputs of the same number of dimensions")
        if node.op_type == "PRelu" and isinstance(inputs[1], np.ndarray):
            return self._prelu(node, inputs)
        most = 1 if values[0].squeezed else 2  # dimensions of a number that leave those of values
        operands = [
            t if isinstance(t, Value) or t is None else self._scalar(t, most) for t in inputs
        ]
        wide = [
            tensor
            for tensor, operand in zip(inputs, operands, strict=True)
            if operand is None and tensor is not None
        ]
        if wide:
            return self._columns(node, inputs, values)
        return self.of_operands(node, operands)

    def _scalar(self, constant: Array, most: int) -> float | None:
        number = as_scalar(constant) if constant.ndim <= most else None
        return number if number is None or self.file.wide else tidied(number)

    def of_operands(self, node: Node, operands: list[Any]) -> Value:
        """What an operator makes of values and numbers, each number by itself."""
        values = [operand for operand in operands if isinstance(operand, Value)]
        over = common(values)
        widths = {value.width for value in values if value.width is not None}
        if len(widths) > 1:
            raise RefusedError(f"expected inputs of one width, got {sorted(map(str, widths))}")
        value = self.value(node, values, operands=operands, width=max(widths, default=None))
        value.sizes = values[0].sizes
        if over is not None:
            value.over, value.depth = over, over.depth + 1
        return value

    def _columns(self, node: Node, inputs: list[Any], values: list[Value]) -> Value:
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(inputs) != 2:
            raise RefusedError("expected one number as a constant, got several")
        first, second = inputs
        turned = not isinstance(first, Value)
        numbers = as_vector(first if turned else second)
        if numbers is None:
            raise RefusedError("expected a constant of one number, or of one a feature")
        op_type, value = node.op_type, values[0]
        if turned and op_type == "Div":
            raise RefusedError("expected a quotient by constants, got one by the batch")
        if turned and op_type == "Sub":  # c - x is -x + c
            value, op_type = self.of_operands(replace(node, op_type="Neg"), [value]), "Add"
        return self.layer(node, value, Columns(op_type, numbers), len(numbers))

    def _prelu(self, node: Node, inputs: list[Any]) -> Value:
        x, slopes = inputs
        number = as_scalar(slopes)
        numbers = as_vector(slopes) if number is None else np.full(1, number, np.float32)
        if slopes.dtype == np.float64 and number is not None:
            numbers = np.full(1, number)
        if numbers is None or not isinstance(x, Value):
            raise RefusedError("expected one slope, or one a feature")
        return self.layer(node, x, PReLU(numbers), None if number is not None else len(numbers))

    def relayout(self, node: Node, x: Value, sizes: Any, width: int | None) -> Value:
        """The same numbers in other dimensions."""
        value = self.of_operands(replace(node, op_type="Cast"), [x])
        value.sizes, value.width = sizes, width
        return value

    # Layers ---------------------------------------------------------------------------------------

    def layer(
        self, node: Node, x: Any, layer: Layer, takes: int | None = None, gives: int | None = None
    ) -> Value:
        """What a layer makes of rows of so many features."""
        if not isinstance(x, Value):
            raise RefusedError("expected the batch as its first input, got a constant")
        if x.sizes is not None:
            raise RefusedError(
                f"expected rows of features, got a batch of {len(x.sizes) + 1} dimensions;"
                " a Flatten before it makes such of an input"
            )
        if takes is not None and x.width is not None and takes != x.width:
            raise RefusedError(
                f"expected {x.width} features, as many as come, got constants for {takes}"
            )
        width = gives if gives is not None else takes if takes is not None else x.width
        return self.value(node, [x], layer=layer, width=width)


def _gemm(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    x, weight, *rest = inputs
    given = node.attributes
    if given.get("transA", 0):
        raise RefusedError("expected rows of features, got transA=1, the batch transposed")
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    matrix = _matrix(weight)
    matrix = matrix if given.get("transB", 0) else matrix.T
    if alpha != 1:
        graph.spend(matrix.nbytes)
        matrix = matrix * matrix.dtype.type(alpha)
    bias = rest[0] if rest else None
    if bias is not None:
        number = as_scalar(bias)
        vector = as_vector(bias) if number is None else np.full(len(matrix), number, matrix.dtype)
        if vector is None or len(vector) != len(matrix):
            raise RefusedError(f"expected a bias of {len(matrix)} constants")
        bias = vector if beta == 1 else vector * vector.dtype.type(beta)
    return graph.layer(node, x, Affine(matrix, bias), matrix.shape[1], matrix.shape[0])


def _matrix(weight: Any) -> Array:
    if not isinstance(weight, np.ndarray):
        raise RefusedError("expected a product with a constant matrix, got two of the batch")
    if weight.ndim != 2 or weight.size == 0 or weight.dtype.kind != "f":
        raise RefusedError(f"expected a matrix of floating-point numbers, got shape {weight.shape}")
    return as_floats(weight)


def _matmul(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    x, weight = inputs
    matrix = _matrix(weight).T
    return graph.layer(node, x, Affine(matrix), matrix.shape[1], matrix.shape[0])


def _rowwise(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    axis = node.attributes.get("axis", -1 if graph.file.opset >= 13 else 1)
    if axis not in (1, -1):
        raise RefusedError(f"expected axis 1 or -1, the features, got {axis}")
    return graph.layer(node, inputs[0], Rowwise(node.op_type))


def _layer_norm(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    x, *parts = inputs
    if node.attributes.get("axis", -1) not in (1, -1):
        raise RefusedError("expected axis 1 or -1, the features")
    weight, bias = (None if part is None else as_vector(part) for part in (*parts, None, None)[:2])
    if weight is None or (bias is not None and bias.shape != weight.shape):
        raise RefusedError("expected constants of a number a feature")
    eps = node.attributes.get("epsilon", 1e-5)
    return graph.layer(node, x, Normalization(1, eps, len(weight), weight, bias), len(weight))


def _batch_norm(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    if node.attributes.get("training_mode", 0):
        raise RefusedError("expected running statistics, got training_mode=1; export in eval mode")
    x, *parts = inputs
    vectors = [vector for vector in map(as_vector, parts) if vector is not None]
    if len(vectors) != 4 or len({len(vector) for vector in vectors}) != 1:
        raise RefusedError("expected four constants of a number a feature")
    weight, bias, mean, variance = vectors
    layer = BatchNorm(weight, bias, mean, variance, node.attributes.get("epsilon", 1e-5))
    return graph.layer(node, x, layer, len(weight))


def _dropout(graph: Graph, node: Node, inputs: list[Any]) -> Any:
    x, *rest = inputs
    p = as_scalar(rest[0]) if rest else node.attributes.get("ratio", 0.5)
    if p is None or not 0 <= p <= 1 or not isinstance(x, Value) or x.sizes is not None:
        return x
    return graph.layer(node, x, Dropout(p))


def _scaler(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    x, offset, scale = inputs[0], node.attributes.get("offset"), node.attributes.get("scale")
    for op_type, numbers in (("Sub", offset), ("Mul", scale)):
        if not isinstance(numbers, np.ndarray) or numbers.size == 0:
            raise RefusedError("expected an offset and a scale")
        if numbers.size == 1 and isinstance(x, Value) and x.width != 1:
            x = graph.of_operands(replace(node, op_type=op_type), [x, float(numbers[0])])
        else:
            x = graph.layer(node, x, Columns(op_type, numbers), len(numbers))
    assert isinstance(x, Value)
    return x


def _reduce_mean(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    moment = reduced(node, inputs)
    if moment is None:
        raise RefusedError("expected means only as a part of a normalisation of rows or columns")
    return graph.value(node, [inputs[0]], moment=moment)


def _concat(graph: Graph, node: Node, inputs: list[Any]) -> Value:
    """What scikit-learn's classifiers of two classes end with: (1 - p, p)."""
    if len(inputs) == 2 and node.attributes.get("axis") in (1, -1):
        rest, p = inputs
        if isinstance(rest, Value) and rest.inputs == [p] and p.width in (1, None):
            is_rest = rest.node is not None and rest.node.op_type == "Sub"
            if is_rest and rest.operands[:1] == [1.0]:
                matrix, bias = np.array([[-1], [1]], "f4"), np.array([1, 0], "f4")
                return graph.layer(node, p, Affine(matrix, bias), 1, 2)
    raise RefusedError("expected two columns at most, 1 - p and p")


def _hard_sigmoid(graph: Graph, node: Node, inputs: list[Any]) -> Any:
    """In three steps, because few of them are the Hardsigmoid here."""
    x = inputs[0]
    if not isinstance(x, Value):
        raise RefusedError("expected the batch as its input, got a constant")
    given = node.attributes
    x = graph.of_operands(replace(node, op_type="Mul"), [x, given.get("alpha", 0.2)])
    x = graph.of_operands(replace(node, op_type="Add"), [x, given.get("beta", 0.5)])
    return graph.of_operands(replace(node, op_type="Clip", attributes={}), [x, 0.0, 1.0])


def _same(graph: Graph, node: Node, inputs: list[Any]) -> Any:
    return inputs[0]


HANDLERS: dict[str, Callable[[Graph, Node, list[Any]], Any]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Softmax": _rowwise,
    "LogSoftmax": _rowwise,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "ReduceMean": _reduce_mean,
    "Concat": _concat,
    "HardSigmoid": _hard_sigmoid,
    "Identity": _same,
    "ai.onnx.ml.Scaler": _scaler,
    "ai.onnx.ml.ZipMap": _same,
    **shapes.HANDLERS,
}
