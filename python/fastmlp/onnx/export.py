"""From a model's program to an ONNX file."""

import os
from typing import Any

import numpy as np

from fastmlp import program
from fastmlp._core import __version__
from fastmlp._types import Array
from fastmlp.modules import Module
from fastmlp.onnx.functions import ACTIVATIONS
from fastmlp.onnx.nodes import Nodes
from fastmlp.writing import file_path, replace_file

OPSET, IR_VERSION = 17, 8  # those of 2022, which everything reads
_LARGEST = 2**31 - 2**20  # bytes: what protobuf can write, less what is no weight


def to_onnx(model: Module, path: "str | os.PathLike[str]") -> None:
    """Write what a model predicts as an ONNX file, of opset 17.

    It has an input "x" of shape (batch, in_features) and an output "y" of shape
    (batch, out_features), or (batch,) where the model gives that, both of the model's dtype; a
    batch has any number of rows. What is special to training is left out: dropout is not there,
    statistics are the running ones. Products are those of that dtype, whatever the model's
    `precision`. The model stays as it is.

    Parameters
    ----------
    model : Module
        On any device.
    path : str or os.PathLike
        An old file of that name is replaced once the new one is complete.

    Raises
    ------
    ImportError
        If the package onnx is missing: `pip install "fastmlp[onnx]"`.
    TypeError
        If `model` is no Module, or its `forward` cannot be compiled; if `path` is no path.
    ValueError
        If the model has hooks, is right for inputs of one shape only, or has 2 GB of parameters,
        which a file cannot hold; if `path` is not that of a file.
    OSError
        If the file cannot be written.
    """
    given = program.program_of(model)
    name = file_path(path)
    replace_file(name, _model_proto(given, type(model).__name__).SerializeToString())


def _model_proto(given: program.Program, name: str) -> Any:
    g = Nodes(given.dtype)
    values = ["x"]
    for number, operation in enumerate(given.operations):
        values.append(_WRITERS[type(operation)](g, f"{number}", values, operation))
    if given.squeeze:
        g("Squeeze", values[-1], np.array([1]))
    g.rename_last("y")
    size = sum(len(tensor.raw_data) for tensor in g.constants.values())
    if size > _LARGEST:
        raise ValueError(f"model: expected less than 2 GB of parameters, got {size} bytes")
    h = g.onnx.helper
    kind = h.np_dtype_to_tensor_dtype(g.dtype)
    wide = given.in_features or "features"
    out = [given.out_features or wide] if not given.squeeze else []
    graph = h.make_graph(
        g.nodes,
        name,
        [h.make_tensor_value_info("x", kind, ["batch", wide])],
        [h.make_tensor_value_info("y", kind, ["batch", *out])],
        list(g.constants.values()),
    )
    return h.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[h.make_opsetid("", OPSET)],
        producer_name="fastmlp",
        producer_version=__version__,
    )


def _affine(g: Nodes, name: str, values: list[str], affine: program.Affine) -> str:
    inputs = [values[affine.input], g.array(f"{name}.weight", affine.weight)]
    if affine.bias is not None:
        inputs.append(g.array(f"{name}.bias", affine.bias))
    return g("Gemm", *inputs, transB=1)


def _column_scale(g: Nodes, name: str, values: list[str], columns: program.ColumnScale) -> str:
    x, statistics = values[columns.input], columns.statistics
    if statistics is None:
        y = x
        for op_type, numbers, nothing in (("Mul", columns.scale, 1), ("Add", columns.shift, 0)):
            if (numbers == nothing).all():
                continue
            one = numbers[0] != 0 and (numbers == numbers[0]).all()
            y = g(op_type, y, float(numbers[0]) if one else numbers)
        return y if y != x else g("Identity", x)
    if statistics.eps is None:
        centred = g("Sub", x, g.array(f"{name}.mean", statistics.mean))
        return g("Div", centred, g.array(f"{name}.scale", statistics.variance))
    eps = float(np.float32(statistics.eps))  # an attribute is of float32; the rest goes below
    parts = {
        "weight": _or(statistics.weight, np.ones_like(statistics.mean)),
        "bias": _or(statistics.bias, np.zeros_like(statistics.mean)),
        "running_mean": statistics.mean,
        "running_var": statistics.variance + g.dtype.type(statistics.eps - eps),
    }
    inputs = [g.array(f"{name}.{part}", numbers) for part, numbers in parts.items()]
    return g("BatchNormalization", x, *inputs, epsilon=eps)


def _normalization(g: Nodes, name: str, values: list[str], norm: program.Normalization) -> str:
    x = values[norm.input]
    parts = {"weight": norm.weight, "bias": norm.bias}
    if g.float32 and norm.axis == 1 and norm.weight is not None:
        inputs = [g.array(f"{name}.{part}", n) for part, n in parts.items() if n is not None]
        return g("LayerNormalization", x, *inputs, axis=-1, epsilon=norm.eps)
    centred = g("Sub", x, g("ReduceMean", x, axes=[norm.axis], keepdims=1))
    variance = g("ReduceMean", g("Mul", centred, centred), axes=[norm.axis], keepdims=1)
    y = g("Div", centred, g("Sqrt", g("Add", variance, norm.eps)))
    for op_type, (part, numbers) in zip(("Mul", "Add"), parts.items(), strict=True):
        if numbers is not None:
            y = g(op_type, y, g.array(f"{name}.{part}", numbers))
    return y


def _or(numbers: Array | None, default: Array) -> Array:
    return default if numbers is None else numbers


def _function(g: Nodes, name: str, values: list[str], function: program.Function) -> str:
    return ACTIVATIONS[function.name](g, values[function.input], *function.constants)


def _prelu(g: Nodes, name: str, values: list[str], prelu: program.PReLU) -> str:
    return g("PRelu", values[prelu.input], g.array(f"{name}.weight", prelu.slopes))


def _sum(g: Nodes, name: str, values: list[str], both: program.Sum) -> str:
    return g("Add", values[both.input], values[both.other])


_WRITERS: dict[type[Any], Any] = {
    program.Affine: _affine,
    program.ColumnScale: _column_scale,
    program.Function: _function,
    program.PReLU: _prelu,
    program.Normalization: _normalization,
    program.Sum: _sum,
}
