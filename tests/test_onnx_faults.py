"""Files that are damaged, hostile or of something else: an error that names the file."""

import gc
import itertools
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.program import program_of
from onnx_files import graph_of, node, save
from onnx_mutations import damaged_bytes, damaged_graph
from program_models import model_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

W = np.ones((4, 3), "f4")


def refused(path: Path) -> str:
    """The message, without the path that it begins with."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - looked at by the callers
        fm.from_onnx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# Nodes that cannot be taken over ------------------------------------------------------------------

UNSUPPORTED: list[tuple[Any, str, str]] = [
    ([node("Conv", "x", W), node("Relu", "v0")], "node 'n0' (Conv)", "perceptrons"),
    ([node("Exp", "x", out="e"), node("Mul", "e", "x")], "node 'n0' (Exp)", "activation"),
    ([node("Tanh", "x"), node("Mul", "v0", "x")], "node 'n1' (Mul)", "activation"),
    ([node("Relu", "x"), node("Top", "v0"), node("Bottom", "v1")], "node 'n1' (Top)", "percep"),
    ([node("Relu", "x", domain="com.microsoft")], "(Relu of com.microsoft)", "perceptrons"),
    ([node("Gemm", "x", W, transA=1)], "(Gemm)", "transA=1"),
    ([node("Gemm", "x", np.ones((3, 5), "f4"))], "(Gemm)", "4 features"),
    ([node("Gemm", "x", W, np.ones((5, 3), "f4"))], "(Gemm)", "bias of 3"),
    ([node("Gemm", "x", np.ones((4, 3), "i4"))], "(Gemm)", "floating-point"),
    ([node("MatMul", "x", "x")], "(MatMul)", "constant matrix"),
    ([node("MatMul", W.T.copy(), "x")], "(MatMul)", "constant matrix"),
    ([node("Add", "x", np.ones((4, 4), "f4"))], "(Add)", "one a feature"),
    ([node("Div", np.ones(4, "f4"), "x")], "(Div)", "quotient"),
    ([node("Div", np.float32(1), "x")], "(Div)", "activation"),
    ([node("Softmax", "x", axis=0)], "(Softmax)", "axis 1"),
    ([node("Transpose", "x", perm=[1, 0])], "(Transpose)", "rows stay rows"),
    ([node("Reshape", "x", np.array([2, -1]))], "(Reshape)", "rows"),
    ([node("Reshape", "x", np.array([-1, 2]))], "(Reshape)", "(-1, 4)"),
    ([node("Concat", "x", "x", axis=1)], "(Concat)", "two columns"),
    ([node("ReduceMean", "x", axes=[1])], "(ReduceMean)", "normalisation"),
    ([node("Cast", "x", to=7)], "(Cast)", "float32"),
    ([node("LayerNormalization", "x", np.ones(4, "f4"), axis=0)], "(LayerNorm", "axis 1"),
    ([node("LayerNormalization", "x", "x")], "(LayerNormalization)", "number a feature"),
    (
        [node("BatchNormalization", "x", *(np.ones(4, "f4"),) * 4, training_mode=1)],
        "(BatchNormalization)",
        "eval mode",
    ),
    ([node("BatchNormalization", "x", np.ones(4, "f4"))], "(BatchNorm", "four constants"),
    ([node("Squeeze", "x", np.array([1]))], "(Squeeze)", "one feature"),
    ([node("PRelu", "x", "x")], "(PRelu)", "activation"),
    ([node("Max", "x", np.ones(4, "f4"))], "(Max)", "one number"),
    ([node("Scaler", "x", domain="ai.onnx.ml")], "(Scaler of ai.onnx.ml)", "offset"),
]


@pytest.mark.parametrize("row", UNSUPPORTED, ids=lambda row: row[1])
def test_the_first_node_that_is_not_supported_is_named(row: Any, tmp_path: Path) -> None:
    nodes, name, why = row
    message = refused(save(graph_of(nodes), tmp_path))
    assert name in message
    assert why in message
    assert "leave it out of the file" in message


def test_nodes_that_nobody_wants_may_be_anything(tmp_path: Path) -> None:
    nodes = [node("Conv", "x", W), node("Top", "v0"), node("Relu", "x")]
    assert isinstance(fm.from_onnx(save(graph_of(nodes), tmp_path))[0], fm.ReLU)


# Files --------------------------------------------------------------------------------------------


def _changed(change: Callable[[Any], Any]) -> Any:
    model = graph_of([node("Gemm", "x", "w", out="h"), node("Relu", "h")], initializers={"w": W})
    change(model)
    return model


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def _cycle(model: Any) -> None:
    model.graph.node[0].input[0] = "y"


def _sequence(model: Any) -> None:
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def _set_dims(*dims: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "external": (_external, "tensor 'w': expected its numbers in the file"),
    "cycle": (_cycle, "node 'n0' (Gemm): expected inputs that nodes before it make, got 'y'"),
    "no-weight": (lambda m: m.graph.initializer.pop(), "got 'w', which is missing"),
    "no-graph": (lambda m: m.ClearField("graph"), "expected an ONNX model"),
    "no-nodes": (lambda m: m.graph.ClearField("node"), "output 'y' to come from the input"),
    "no-input": (lambda m: m.graph.ClearField("input"), "expected a model of one input, got 0"),
    "two-inputs": (
        lambda m: m.graph.input.add(name="z").type.CopyFrom(m.graph.input[0].type),
        "expected a model of one input, got 2",
    ),
    "no-output": (lambda m: m.graph.ClearField("output"), "got 0"),
    "integers": (
        lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 7),
        "expected one output of floating-point numbers, got 0",
    ),
    "constant": (
        lambda m: setattr(m.graph.output[0], "name", "w"),
        "output 'w' to come from the input",
    ),
    "sequence": (_sequence, "expected an input of numbers"),
    "one-dimension": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(),
        "expected an input of shape (batch, features)",
    ),
    "images": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=4),
        "node 'n0' (Gemm): expected rows of features, got a batch of 3 dimensions",
    ),
    "huge": (_set_dims(2**40, 2**40), "tensor 'w': expected as many numbers"),
    "negative": (_set_dims(-4, -3), "tensor 'w': expected a shape"),
    "zero": (_set_dims(0, 3), "tensor 'w': expected as many numbers"),
    "more": (_set_dims(4, 4), "tensor 'w': expected as many numbers as [4, 4] says, got 12"),
    "deep": (_set_dims(*(1,) * 40), "tensor 'w': expected a shape"),
    "strings": (
        lambda m: setattr(m.graph.initializer[0], "data_type", 8),
        "expected numbers in 'w', got a constant of another type",
    ),
    "cut": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"123"),
        "expected numbers of 4 bytes, got 3 bytes",
    ),
    "old": (lambda m: setattr(m.opset_import[0], "version", 6), "expected opset 7 or later"),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "expected dense initializers"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_files(name: str, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    path = save(_changed(change), tmp_path)
    assert message in refused(path)


def test_a_name_for_two_values(tmp_path: Path) -> None:
    def twice(model: Any) -> None:
        model.graph.node[1].output[0] = "h"

    assert "got 'h' again" in refused(save(_changed(twice), tmp_path))


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "without a graph"),
    "text": (b"hello, world\n" * 9, "expected"),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "expected"),
    "zip": (b"PK\x03\x04" + bytes(60), "expected"),
    "endless-number": (b"\xff" * 40, "expected a number"),
    "cut-off": (b"\x3a\xff\xff\xff\xff\x0f1234", "it is cut off"),
    "group": (b"\x0b\x0c", "wire type 3"),
    "nothing-but-zeros": (bytes(1000), "expected"),
    "two-graphs": (b"\x3a\x00\x3a\x00", "expected one message"),
    "number-for-graph": (b"\x38\x01", "expected bytes"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BYTES[name][0])
    assert BYTES[name][1] in refused(path)


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    fm.to_onnx(fm.MLP([3, 2, 1], activation="gelu"), path)
    data = path.read_bytes()
    end = onnx.ModelProto.FromString(data).SerializeToString().rindex(b"B\x04")  # opset_import
    for size in range(end):
        path.write_bytes(data[:size])
        refused(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fm.from_onnx(tmp_path / "none.onnx")
    assert "expected a file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "expected a file" in refused(tmp_path / "pipe")
    with pytest.raises(TypeError, match=r"path: expected a file's path, got 3 \(int\)"):
        fm.from_onnx(3)  # type: ignore[arg-type]


def test_no_other_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.bin").write_bytes(W.tobytes())
    path = save(_changed(_external), tmp_path)
    opened: list[str] = []
    original = open

    def watched(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(os.fsdecode(file))
        return original(file, *args, **options)

    monkeypatch.setattr("builtins.open", watched)
    refused(path)
    assert opened == [str(path)]


def test_reading_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fm.to_onnx(fm.Linear(2, 1), tmp_path / "m.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert isinstance(fm.from_onnx(tmp_path / "m.onnx"), fm.Sequential)


# Costs --------------------------------------------------------------------------------------------

SHARED = np.ones((400, 400), "f4")


def _in_a_row(count: int, *args: Any, **options: Any) -> list[Any]:
    """Nodes of one kind, each of the value before it."""
    op_type, *rest = args
    return [node(op_type, f"v{i - 1}" if i else "x", *rest, **options) for i in range(count)]


def _alphas() -> list[Any]:
    return [node("Gemm", f"v{i - 1}" if i else "x", "w", alpha=1 + i / 999) for i in range(300)]


def _folded() -> list[Any]:
    chain = [node("Add", f"v{i - 1}" if i else "w", "w") for i in range(300)]
    return [*chain, node("Gemm", "x", "v299")]


def _products() -> list[Any]:
    """Each of the two values before it."""
    names = ["x", "x", *(f"v{number}" for number in range(2500))]
    return [node("Mul", first, second) for first, second in itertools.pairwise(names)][:2500]


COSTLY: dict[str, Callable[[], list[Any]]] = {
    "one-matrix-scaled-over-and-over": _alphas,
    "constants-computed-over-and-over": _folded,
    "one-matrix-over-and-over": lambda: _in_a_row(2000, "Gemm", "w"),
    "exponentials": lambda: _in_a_row(3000, "Exp"),
    "tangents": lambda: _in_a_row(3000, "Tanh"),
    "softmaxes": lambda: _in_a_row(3000, "Softmax"),
    "normalisations": lambda: _in_a_row(1000, "BatchNormalization", *("b",) * 4),
    "products": _products,
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_file_of_a_megabyte_costs_less_than_ten(name: str, tmp_path: Path) -> None:
    constants = {"w": SHARED, "b": np.ones(400, "f4"), "rest": np.zeros(90_000, "f4")}
    model = graph_of(COSTLY[name](), shape=("batch", 400), initializers=constants)
    _costs_little(save(model, tmp_path))


@pytest.mark.parametrize("part", [b"\x0a\x00", b"\x12\x00", b"\x2a\x00", b"\x28\x01", b"\x62\x00"])
def test_a_megabyte_of_tiny_parts(part: bytes, tmp_path: Path) -> None:
    graph = part * 500_000
    path = tmp_path / "m.onnx"
    size = bytes([len(graph) & 127 | 128, len(graph) >> 7 & 127 | 128, len(graph) >> 14])
    path.write_bytes(b"\x3a" + size + graph + b"\x42\x02\x10\x11")
    _costs_little(path)
    assert "parts" in refused(path)


def _costs_little(path: Path) -> None:
    _attempt(path)  # what is imported and cached stays out of the figures
    gc.collect()
    tracemalloc.start()
    try:
        began = time.perf_counter()
        _attempt(path)
        seconds = time.perf_counter() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8e6 < path.stat().st_size < 1.3e6
    assert peak < 10e6
    assert seconds < 20  # traced, on any machine


def _attempt(path: Path) -> fm.Module | None:
    try:
        return fm.from_onnx(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: "), message
    return None


# Random damage ------------------------------------------------------------------------------------


def _valid(folder: Path) -> list[bytes]:
    """Files of many kinds."""
    path = folder / "valid.onnx"
    files = []
    for name in ("mlp", "mlp-gelu", "residual", "own-forward", "batch-norm", "layer-norm", "prelu"):
        for dtype in ("float32", "float64"):
            fm.to_onnx(model_of(name, dtype), path)
            files.append(path.read_bytes())
    by_hand = [
        [
            node("Shape", "x", out="s"),
            node("Gather", "s", np.array(0), axis=0, out="g"),
            node("Unsqueeze", "g", np.array([0]), out="u"),
            node("Concat", "u", np.array([-1]), axis=0, out="c"),
            node("Reshape", "x", "c", out="r"),
            node("MatMul", "r", W, out="m"),
            node("Add", "m", np.ones((1, 3), "f4"), out="a"),
            node("LogSoftmax", "a", axis=1),
        ],
        [
            node("Scaler", "x", domain="ai.onnx.ml", offset=[1.0] * 4, scale=[2.0] * 4),
            node("Cast", "v0", to=1),
            node("Constant", value=W, out="w"),
            node("MatMul", "v1", "w"),
            node("Clip", "v3", np.float32(0), np.float32(6)),
            node("Relu", "v4"),
        ],
    ]
    files += [graph_of(nodes).SerializeToString() for nodes in by_hand]
    return files


def _fuzz(folder: Path, seed: int, count: int) -> dict[str, int]:
    """Load damaged files; how many were errors, and how many models ran."""
    rng = random.Random(seed)
    files = _valid(folder)
    path = folder / "damaged.onnx"
    counts = {"errors": 0, "models": 0}
    for number in range(count):
        data = rng.choice(files)
        if number % 2:
            data = damaged_graph(rng, data)
        else:
            data = damaged_bytes(rng, data, rng.choice(files))
        path.write_bytes(data)
        began = time.perf_counter()
        try:
            model = _attempt(path)
            if model is not None and number % 8 == 0:
                width = program_of(model).in_features or 4
                model.predict(np.ones((2, width)))
        except BaseException:
            (folder / "failed.onnx").write_bytes(data)
            raise
        assert time.perf_counter() - began < 10
        counts["errors" if model is None else "models"] += 1
    return counts


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_files_are_errors_or_models(tmp_path: Path) -> None:
    counts = _fuzz(tmp_path, 0, 3000)
    assert min(counts.values()) > 300, counts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(1, 11))
def test_very_many_damaged_files(seed: int, tmp_path: Path) -> None:
    _fuzz(tmp_path, seed, 10_000)
