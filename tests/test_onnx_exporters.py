"""`from_onnx` of what torch, scikit-learn and Keras export."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from onnx_files import assert_close, graph_of, in_runtime, kinds, node, save

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


# torch --------------------------------------------------------------------------------------------


def _modules(nn: Any) -> dict[str, Any]:
    class Residual(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4, bias=False)
            self.out = nn.Linear(4, 1)

        def forward(self, x: Any) -> Any:
            x = x.view(x.size(0), -1)
            h = x + self.b(self.a(x).tanh())
            return self.out(h).squeeze(-1)

    layers = {
        "plain": [nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 2), nn.LogSoftmax(1)],
        "no-bias": [nn.Linear(4, 6, bias=False), nn.Softmax(dim=-1)],
        "norms": [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.LayerNorm(6), nn.PReLU(6), nn.PReLU()],
        "bare-norms": [nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4, elementwise_affine=False)],
        "identity": [nn.Identity(), nn.Linear(4, 2), nn.Identity()],
    }
    for activation in (
        nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(),
        nn.ELU(0.5), nn.CELU(0.5), nn.SELU(), nn.Softplus(), nn.Softplus(2.0), nn.LogSigmoid(),
        nn.Softsign(), nn.ReLU6(), nn.Hardtanh(-0.5, 2), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(),
    ):  # fmt: skip
        layers[repr(activation)] = [nn.Linear(4, 5), activation, nn.Linear(5, 2)]
    return {"residual": Residual(), **{n: nn.Sequential(*parts) for n, parts in layers.items()}}


def _torchscript(torch: Any, module: Any, x: Any, path: Path, opset: int) -> None:
    torch.onnx.export(
        module, (x,), path, dynamo=False, opset_version=opset,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip


def _dynamo(torch: Any, module: Any, x: Any, path: Path, opset: int) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    torch.onnx.export(
        module, (x,), path, dynamo=True, dynamic_shapes=({0: "batch"},), external_data=False,
        verbose=False, opset_version=opset,
    )  # fmt: skip


_BY_DYNAMO = ("residual", "plain", "no-bias", "norms", "GELU(approximate='tanh')", "SiLU()")


def _from_torch(torch: Any, export: Any, module: Any, path: Path, opset: int) -> fm.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(torch, module, torch.zeros(2, 4), path, opset)
    return fm.from_onnx(path)


@pytest.mark.parametrize("export", [(_torchscript, 12), (_torchscript, 17), (_dynamo, 20)], ids=str)
def test_from_torch(torch: Any, export: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(11, 4)).astype("f4")
    write, opset = export
    for name, module in _modules(torch.nn).items():
        if write is _dynamo and name not in _BY_DYNAMO:
            continue  # which takes long
        if opset == 12 and name in ("Hardswish()", "bare-norms"):
            continue  # the exporter needs a later opset
        path = tmp_path / "m.onnx"
        model = _from_torch(torch, write, module, path, opset)
        want = module(torch.from_numpy(x)).detach().numpy()
        assert_close(model.predict(x), want)
        assert_close(in_runtime(path, x), want)
        folded = name == "norms" and write is _dynamo  # into the layer before
        if isinstance(module, torch.nn.Sequential) and name != "bare-norms" and not folded:
            ours = kinds(model).replace("Dropout ", "")
            theirs = kinds(module).replace("Dropout ", "").replace("Identity", "")
            assert ours.split() == theirs.split(), name


def test_images_from_torch(torch: Any, tmp_path: Path) -> None:
    nn = torch.nn
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    x = torch.rand(6, 1, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _torchscript(torch, module, x, tmp_path / "m.onnx", 17)
    model = fm.from_onnx(tmp_path / "m.onnx")
    assert kinds(model) == "Flatten Linear ReLU Linear"
    assert_close(model.predict(x.numpy()), module(x).detach().numpy())


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {  # of torch and the output of a linear layer
    "squeeze": lambda torch, y: y.squeeze(1),
    "sigmoid-squeeze": lambda torch, y: torch.sigmoid(y).squeeze(-1),
    "squeeze-sigmoid": lambda torch, y: torch.sigmoid(y.squeeze(-1)),
    "flatten": lambda torch, y: y.flatten(),
    "back": lambda torch, y: y.squeeze(-1).tanh().unsqueeze(-1),
    "scaled": lambda torch, y: (y / 255 - 0.5) * 2 + 1,
    "difference": lambda torch, y: y - torch.tanh(y),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_an_output_of_one_feature(
    name: str, dtype: str, torch: Any, tmp_path: Path
) -> None:
    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 1)

        def forward(self, x: Any) -> Any:
            return FUNCTIONS[name](torch, self.linear(x - 0.5))

    x = torch.randn(6, 4, dtype=getattr(torch, dtype))
    module = Net().to(x.dtype).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _torchscript(torch, module, x, tmp_path / "m.onnx", 17)
    model = fm.from_onnx(tmp_path / "m.onnx")
    want = module(x).detach().numpy()
    assert_close(model.predict(x.numpy()), want, 1e-12 if dtype == "float64" else 1e-5)


def test_float64_from_torch(torch: Any, tmp_path: Path) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(11, 4)))
    for name, module in _modules(torch.nn).items():
        module.double()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _torchscript(torch, module.eval(), x, tmp_path / "m.onnx", 17)
        model = fm.from_onnx(tmp_path / "m.onnx")
        # Of these, attributes are numbers of float32.
        rounded = any(kind in name for kind in ("Hard", "SELU", "Leaky", "norms"))
        got, want = np.asarray(model.predict(x.numpy())), module(x).detach().numpy()
        assert got.dtype == np.float64, name
        assert_close(got, want, 1e-6 if rounded else 1e-12)


# scikit-learn -------------------------------------------------------------------------------------


def _estimators() -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, estimator, target, whether it is a classifier."""
    network = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    options: dict[str, Any] = {"hidden_layer_sizes": (6, 5), "max_iter": 3, "random_state": 0}
    two, three = (x[:, 0] > 0).astype(int), np.digitize(x[:, 1], [-0.5, 0.5])
    for activation in ("relu", "tanh", "logistic", "identity"):
        yield (
            f"classes-{activation}",
            network.MLPClassifier(activation=activation, **options),
            three,
            True,
        )
    yield "two-classes", network.MLPClassifier(**options), two, True
    yield "names", network.MLPClassifier(**options), np.array(list("abc"))[three], True
    yield "labels", network.MLPClassifier(**options), np.stack([two, 1 - two, two], axis=1), True
    yield "regressor", network.MLPRegressor(**options), x[:, 0], False


def _scalers() -> list[Any]:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    return [
        None, preprocessing.StandardScaler(), preprocessing.MinMaxScaler(),
        preprocessing.MinMaxScaler(clip=True), preprocessing.StandardScaler(with_mean=False),
        preprocessing.StandardScaler(with_std=False), preprocessing.RobustScaler(),
        preprocessing.MaxAbsScaler(),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaler", range(8))
def test_from_scikit_learn(scaler: int, dtype: str, tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    from sklearn.pipeline import make_pipeline

    x = np.random.default_rng(0).normal(size=(60, 4)) * [1, 10, 0.1, 3] + [0, 5, -1, 2]
    for name, network, t, classifies in _estimators():
        before = _scalers()[scaler]
        estimator = (make_pipeline(before, network) if before else network).fit(x, t)
        for options in ({}, {"zipmap": False}) if classifies else ({},):
            path = tmp_path / "m.onnx"
            given = {id(estimator): options} if options else None
            proto = skl2onnx.to_onnx(estimator, x[:1].astype(dtype), options=given)
            path.write_bytes(proto.SerializeToString())
            model = fm.from_onnx(path)
            got = np.asarray(model.predict(x.astype(dtype)))
            want = estimator.predict_proba(x) if classifies else estimator.predict(x)
            assert_close(got, want.reshape(got.shape), 1e-12 if dtype == "float64" else 1e-4)
            if name != "labels" and (options or not classifies):  # which need a kernel of float32
                same = in_runtime(path, x.astype(dtype), "probabilities" if options else None)
                assert_close(got, same, 1e-12 if dtype == "float64" else 1e-5)
            if name == "names":
                classes = np.array(list("abc"))[got.argmax(axis=1)]
                assert (classes == estimator.predict(x)).all()


# Keras --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "swish", "gelu", "hard_sigmoid", "elu", "softmax"])
def test_as_tf2onnx_writes_dense_layers(activation: str, tmp_path: Path) -> None:
    """A dense layer is MatMul and Add; activations without an operator are written out."""
    rng = np.random.default_rng(0)
    w = [rng.normal(size=shape).astype("f4") for shape in ((4, 5), (5,), (5, 3), (3,))]
    h, half = "m/d/BiasAdd", np.float32(0.5)
    written: dict[str, list[Any]] = {
        "relu": [node("Relu", h)],
        "swish": [node("Sigmoid", h, out="s"), node("Mul", h, "s")],
        "gelu": [
            node("Mul", h, half, out="half"),
            node("Div", h, np.float32(1.4142135), out="u"),
            node("Erf", "u", out="e"),
            node("Add", "e", np.float32(1), out="one"),
            node("Mul", "half", "one"),
        ],
        "hard_sigmoid": [
            node("Add", h, np.float32(3), out="three"),
            node("Clip", "three", np.float32(0), np.float32(6), out="six"),
            node("Mul", "six", np.float32(1 / 6)),
        ],
        "elu": [node("Elu", h, alpha=1.0)],
        "softmax": [node("Softmax", h, axis=-1)],
    }
    graph = graph_of(
        [
            node("MatMul", "x", w[0], out="m/d/MatMul:0"),
            node("Add", "m/d/MatMul:0", w[1], out=h),
            *written[activation][:-1],
            {**written[activation][-1], "out": "activated"},
            node("Identity", "activated", out="copy"),
            node("MatMul", "copy", w[2], out="product"),
            node("Add", w[3], "product", out="sum"),  # the constant first
            node("Identity", "sum", out="y"),
        ],
        opset=13,
    )
    path = save(graph, tmp_path)
    model = fm.from_onnx(path)
    x = rng.normal(size=(7, 4)).astype("f4")
    assert_close(model.predict(x), in_runtime(path, x))
    name = {"swish": "SiLU", "hard_sigmoid": "Hardsigmoid"}.get(activation, activation)
    assert kinds(model).lower() == f"linear {name} linear".lower()


@pytest.mark.filterwarnings("ignore")
def test_from_keras_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("keras runs on another backend")
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((4,)), layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4]),
            layers.Dense(5, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.3),
            layers.Dense(6, activation="gelu"), layers.LeakyReLU(), layers.ReLU(max_value=6),
            layers.Dense(5, activation="swish"), layers.Dense(3, activation="softmax"),
        ]
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("f4")
    want = network.predict(x, verbose=0)
    path = tmp_path / "m.onnx"
    network.export(path, format="onnx", verbose=False)
    model = fm.from_onnx(path)
    assert_close(model.predict(x), want)
