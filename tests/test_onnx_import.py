"""`from_onnx` gives models that predict what ONNX Runtime does."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from onnx_files import assert_close, graph_of, in_runtime, kinds, node, save
from program_models import MODELS, WIDTH, model_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


# Our own files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name: str, dtype: str, tmp_path: Path) -> None:
    model = model_of(name, dtype)
    fm.to_onnx(model, tmp_path / "m.onnx")
    back = fm.from_onnx(tmp_path / "m.onnx")
    held = [*model.parameters(), *model.buffers()]
    if held:
        assert {np.asarray(p).dtype for p in back.parameters()} <= {np.dtype(dtype)}
    x = (3 * np.random.default_rng(1).normal(size=(9, WIDTH))).astype(dtype)
    tolerance = 1e-12 if dtype == "float64" and held else 1e-6
    if not held:  # the file is of float32
        x = x.astype("float32")
    assert_close(back.predict(x), np.asarray(model.predict(x)), tolerance)


def test_layers_come_back_as_they_were(tmp_path: Path) -> None:
    model = fm.Sequential(
        fm.Standardize.from_data(np.random.default_rng(0).normal(size=(9, 4))),
        fm.Linear(4, 5), fm.BatchNorm1d(5), fm.LeakyReLU(0.1), fm.Linear(5, 5), fm.LayerNorm(5),
        fm.GELU(), fm.PReLU(5), fm.Residual(fm.Linear(5, 3), fm.ELU(0.5)), fm.Softplus(2.0),
        fm.Linear(3, 3, bias=False), fm.LogSoftmax(),
    )  # fmt: skip
    fm.to_onnx(model, tmp_path / "m.onnx")
    back = fm.from_onnx(tmp_path / "m.onnx")
    assert isinstance(back, fm.Sequential)
    assert repr(back) == repr(model)
    for name, value in model.state_dict().items():
        if name not in ("0.count", "0.variance", "2.num_batches_tracked"):
            np.testing.assert_allclose(back.state_dict()[name], value, rtol=1e-6)


def test_an_imported_model_trains(tmp_path: Path) -> None:
    fm.to_onnx(fm.MLP([2, 8, 1], activation="tanh", seed=0), tmp_path / "m.onnx")
    model = fm.from_onnx(tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(40, 2)).astype("f4")
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.MSELoss())
    history = trainer.fit(x, x[:, :1] * x[:, 1:], max_epoch=50, batch_size=10, seed=0)
    assert history.loss[-1] < 0.5 * history.loss[0]


def test_it_draws_nothing_from_the_generator(tmp_path: Path) -> None:
    fm.to_onnx(fm.MLP([2, 3, 1]), tmp_path / "m.onnx")
    fm.manual_seed(1)
    want = np.asarray(fm.rand(4))
    fm.manual_seed(1)
    fm.from_onnx(tmp_path / "m.onnx")
    np.testing.assert_array_equal(np.asarray(fm.rand(4)), want)


# By hand ------------------------------------------------------------------------------------------

W = np.arange(12, dtype="f4").reshape(4, 3) / 10 - 0.5
V = np.array([0.5, -1, 2], "f4")
COLUMNS = np.array([1, 2, 4, 8], "f4")
HAND: dict[str, tuple[list[Any], str]] = {
    "gemm": ([node("Gemm", "x", W, V, alpha=0.5, beta=2.0)], "Linear"),
    "gemm-transposed": ([node("Gemm", "x", W.T.copy(), V[None], transB=1)], "Linear"),
    "gemm-scalar": ([node("Gemm", "x", W, np.float32(2))], "Linear"),
    "gemm-bare": ([node("Gemm", "x", W)], "Linear"),
    "transpose": (
        [node("Transpose", W.T.copy(), perm=[1, 0], out="w"), node("MatMul", "x", "w")],
        "Linear",
    ),
    "float16": (
        [node("Cast", W.astype("f2"), to=1, out="w"), node("MatMul", "x", "w")],
        "Linear",
    ),
    "constants": (
        [
            node("Constant", value=W, out="w"),
            node("Constant", value_float=2.0, out="two"),
            node("MatMul", "x", "w", out="h"),
            node("Mul", "h", "two"),
        ],
        "Linear Scale",
    ),
    "folded": (
        [
            node("Mul", W, np.float32(3), out="w"),
            node("Unsqueeze", V, np.array([0]), out="b"),
            node("MatMul", "x", "w", out="h"),
            node("Add", "h", "b"),
        ],
        "Linear",
    ),
    "scaler": ([node("Sub", "x", COLUMNS, out="h"), node("Div", "h", COLUMNS)], "Standardize"),
    "scaler-times": (
        [node("Sub", "x", COLUMNS, out="h"), node("Mul", "h", COLUMNS)],
        "Standardize",
    ),
    "only-centred": ([node("Sub", "x", COLUMNS)], "Standardize"),
    "from-a-constant": ([node("Sub", COLUMNS[None], "x")], "Scale Scale"),
    "zero-scale": (
        [node("Mul", "x", COLUMNS * 0, out="h"), node("Add", "h", COLUMNS)],
        "Scale",
    ),
    "quotient-of-all": ([node("Div", "x", np.float32(255))], "Scale"),
    "three-hard-sigmoid": ([node("HardSigmoid", "x", alpha=0.2, beta=0.5)], "Scale Hardtanh"),
    "negative-slope": ([node("PRelu", "x", np.float32([-0.5]))], "PReLU"),
    "relu-by-max": ([node("Max", "x", np.float32(0))], "ReLU"),
    "min": ([node("Min", "x", np.float32(0.5))], "Hardtanh"),
    "clip-one-side": ([node("Clip", "x", np.float32(-0.5))], "Hardtanh"),
    "scaled-tanh": (
        [
            node("Mul", "x", np.float32(2), out="u"),
            node("Tanh", "u", out="t"),
            node("Mul", "t", np.float32(3)),
        ],
        "Scale Tanh Scale",
    ),
    "silu-of-twice": (
        [
            node("Mul", "x", np.float32(2), out="u"),
            node("Sigmoid", "u", out="s"),
            node("Mul", "s", "u"),
        ],
        "Scale SiLU",
    ),
    "relu-by-where": (
        [node("Greater", "x", np.float32(0), out="p"), node("Where", "p", "x", np.float32(0))],
        "ReLU",
    ),
    "relu-by-product": (
        [
            node("Greater", "x", np.float32(0), out="p"),
            node("Cast", "p", to=1, out="f"),
            node("Mul", "x", "f"),
        ],
        "ReLU",
    ),
    "softplus-by-hand": (
        [
            node("Exp", "x", out="e"),
            node("Add", "e", np.float32(1), out="o"),
            node("Log", "o"),
        ],
        "Softplus",
    ),
    "reshape": ([node("Reshape", "x", np.array([-1, 4]), out="h"), node("Relu", "h")], "ReLU"),
    "reshape-copies": (
        [node("Reshape", "x", np.array([0, -1]), out="h"), node("Tanh", "h")],
        "Tanh",
    ),
    "flatten": ([node("Flatten", "x", axis=1, out="h"), node("MatMul", "h", W)], "Linear"),
    "sum-of-three": (
        [
            node("Tanh", "x", out="a"),
            node("Sigmoid", "x", out="b"),
            node("Sum", "a", "b", out="c"),
            node("Sub", "c", "x"),
        ],
        "ModuleList",
    ),
    "layer-norm": (
        [node("LayerNormalization", "x", COLUMNS, COLUMNS, epsilon=1e-3, axis=1)],
        "LayerNorm",
    ),
    "layer-norm-written-out": (
        [
            node("ReduceMean", "x", axes=[-1], out="m"),
            node("Sub", "x", "m", out="c"),
            node("Pow", "c", np.float32(2), out="q"),
            node("ReduceMean", "q", axes=[-1], out="v"),
            node("Add", "v", np.float32(1e-3), out="s"),
            node("Sqrt", "s", out="d"),
            node("Reciprocal", "d", out="r"),
            node("Mul", "r", "c", out="n"),
            node("Mul", "n", COLUMNS, out="w"),
            node("Add", "w", COLUMNS),
        ],
        "LayerNorm",
    ),
    "batch-norm": (
        [node("BatchNormalization", "x", *(COLUMNS,) * 4, epsilon=0.01)],
        "BatchNorm1d",
    ),
    "dropout": (
        [node("Dropout", "x", np.float32(0.25), out="h"), node("Relu", "h")],
        "Dropout ReLU",
    ),
    "two-columns": (
        [
            node("MatMul", "x", W[:, :1].copy(), out="z"),
            node("Sigmoid", "z", out="p"),
            node("Sub", np.float32(1), "p", out="q"),
            node("Concat", "q", "p", axis=1),
        ],
        "Linear Sigmoid Linear",
    ),
    "shared": (
        [
            node("MatMul", "x", W[:, [0, 1, 2, 0]].copy(), out="a"),
            node("Tanh", "a", out="b"),
            node("MatMul", "b", W[:, [0, 1, 2, 0]].copy()),
        ],
        "Linear Tanh Linear",
    ),
    "nothing": ([node("Identity", "x")], "Identity"),
}


@pytest.mark.parametrize("name", HAND)
def test_graphs_by_hand(name: str, tmp_path: Path) -> None:
    nodes, want = HAND[name]
    path = save(graph_of(nodes), tmp_path)
    model = fm.from_onnx(path)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    assert kinds(model) == want
    assert_close(model.predict(x), in_runtime(path, x))
    fm.to_onnx(model, path)  # and once more
    assert_close(fm.from_onnx(path).predict(x), np.asarray(model.predict(x)), 1e-6)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copied.predict(x), model.predict(x))


def test_a_weight_that_serves_twice_is_one_layer(tmp_path: Path) -> None:
    square = {"w": np.eye(4, dtype="f4") / 2}
    nodes = [
        node("MatMul", "x", "w", out="a"),
        node("Tanh", "a", out="b"),
        node("MatMul", "b", "w"),
    ]
    model = fm.from_onnx(save(graph_of(nodes, initializers=square), tmp_path))
    assert model[0] is model[2]
    assert len(list(model.parameters())) == 1


def test_a_residual_block_is_one(tmp_path: Path) -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = fm.Linear(4, 6), fm.Linear(6, 4), fm.Linear(4, 2)
            self.skip = fm.Linear(4, 2, bias=False)

        def forward(self, x: Any) -> Any:
            x = x + self.b(fm.relu(self.a(x)))
            return fm.tanh(self.c(x)) + self.skip(x)

    model = Net()
    fm.to_onnx(model, tmp_path / "m.onnx")
    back = fm.from_onnx(tmp_path / "m.onnx")
    assert kinds(back) == "Residual Residual"
    assert back[1].projection is not None
    x = np.ones((3, 4), "f4")
    assert_close(back.predict(x), np.asarray(model.predict(x)), 1e-6)


def test_a_number_of_two_dimensions_is_none_for_values_of_one(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x", W[:, :1].copy(), out="h"),
        node("Squeeze", "h", np.array([1]), out="s"),
        node("Add", "s", np.ones((1, 1), "f4")),  # gives (1, rows)
    ]
    with pytest.raises(ValueError, match=r"\(Add\)"):
        fm.from_onnx(save(graph_of(nodes), tmp_path))


def test_an_output_is_chosen(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", out="a"), node("Tanh", "x", out="b")]
    path = save(graph_of(nodes, outputs=["a", "b"]), tmp_path)
    with pytest.raises(ValueError, match=r"expected one output .* got 2: a, b; .*output="):
        fm.from_onnx(path)
    assert kinds(fm.from_onnx(path, output="b")) == "Tanh"
    with pytest.raises(ValueError, match="output: expected one of a, b, got 'c'"):
        fm.from_onnx(path, output="c")
    with pytest.raises(TypeError, match="output: expected a name or None, got 3"):
        fm.from_onnx(path, output=3)  # type: ignore[arg-type]


def test_what_the_tools_of_onnx_rewrite(tmp_path: Path) -> None:
    """Versions converted, names and values inferred: the same model."""
    model = model_of("mlp-gelu")
    fm.to_onnx(model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    x = np.ones((2, WIDTH), "f4")
    changes: list[Callable[[Any], Any]] = [
        onnx.shape_inference.infer_shapes,
        lambda proto: onnx.version_converter.convert_version(proto, 21),
    ]
    for change in changes:
        data = io.BytesIO()
        onnx.save(change(proto), data)
        (tmp_path / "n.onnx").write_bytes(data.getvalue())
        assert_close(fm.from_onnx(tmp_path / "n.onnx").predict(x), np.asarray(model.predict(x)))
