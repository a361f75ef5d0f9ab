"""From an ONNX file to a model."""

import os
from dataclasses import replace

from fastmlp import _checks, seeds
from fastmlp.layers import Flatten
from fastmlp.modules import Module
from fastmlp.onnx.building import built
from fastmlp.onnx.graph import Graph
from fastmlp.onnx.reading import File, read
from fastmlp.onnx.steps import Step, Steps
from fastmlp.onnx.values import Value
from fastmlp.writing import file_path


def from_onnx(path: "str | os.PathLike[str]", output: str | None = None) -> Module:
    """A model that predicts what an ONNX file of a multi-layer perceptron does.

    Such files come from `to_onnx`, from torch, Keras and scikit-learn (`skl2onnx`): products with
    constant matrices, all activations that there are here, however they are spelt, normalisations,
    dropout, scalers, sums of branches, flattened inputs. Layers come back as layers that can be
    trained; constants of scalers are buffers. Files of float64 give models of float64, others of
    float32. Of a classifier of scikit-learn, the probabilities are the output: its labels are
    dropped, and are the classes at `predict(x).argmax(axis=1)`.

    No other file is read, nothing in the file is run, and a file costs memory and time by its size
    alone. The package onnx is not needed.

    Parameters
    ----------
    path : str or os.PathLike
    output : str, optional
        The name of the output to take, where a file has several of floating-point numbers.

    Returns
    -------
    Module
        In training mode, as new ones are. A `Sequential`, with a `Residual` for each sum of a value
        and what layers make of it; where layers do not follow one another in a line, or the output
        has no dimension of features, a module with the layers in `layers` and a `forward` that
        follows the file's graph.

    Raises
    ------
    TypeError
        If `path` is no path, or `output` no name.
    ValueError
        If the file is damaged, keeps its numbers in other files, or has a node that cannot be taken
        over: the first one is named.
    OSError
        If the file cannot be read.
    """
    name = file_path(path)
    if output is not None and not isinstance(output, str):
        raise TypeError(f"output: expected a name or None, got {_checks.show(output)}")
    try:
        return _model(read(name), output)
    except (ValueError, TypeError) as error:  # the latter of layers that do not fit together
        raise ValueError(f"{name}: {error}") from error


def _model(file: File, output: str | None) -> Module:
    graph = Graph(file)
    name = _output(file, output)
    result = graph.tensors.get(name)
    if not isinstance(result, Value):
        raise ValueError(f"expected the output {name!r} to come from the input, got a constant")
    if result.sizes:
        raise ValueError("expected rows of features as the output, got more dimensions")
    steps = Steps(result, graph.input, file.wide).steps
    if graph.flattened:
        later = [replace(step, inputs=[n + 1 for n in step.inputs]) for step in steps]
        steps = [Step(Flatten(), [0]), *later]
    with seeds.seeded(0):  # layers draw weights when they are made
        model = built(steps, result.squeezed, file.size)
        model._compiled()  # finds what does not fit together
    return model


def _output(file: File, wanted: str | None) -> str:
    """The name of the output that is taken."""
    names = [port.name for port in file.outputs]
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"output: expected one of {', '.join(names)}, got {wanted!r}")
        return wanted
    kinds = ("float16", "float32", "float64", "sequence", None)
    found = [port.name for port in file.outputs if port.kind in kinds]
    if len(found) != 1:
        raise ValueError(
            f"expected one output of floating-point numbers, got {len(found)}:"
            f" {', '.join(found[:5])}; from_onnx(path, output=...) chooses one"
        )
    return found[0]
