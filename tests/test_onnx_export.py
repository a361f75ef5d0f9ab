"""What `to_onnx` writes is valid, and ONNX Runtime makes of it what `predict` gives."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from program_models import MODELS, WIDTH, model_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def exported(model: fm.Module, folder: Path) -> Any:
    """The file, checked, and its session."""
    path = folder / "model.onnx"
    fm.to_onnx(model, path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return proto, runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def assert_same(got: np.ndarray, want: np.ndarray, dtype: str) -> None:
    assert got.dtype == want.dtype == dtype
    assert got.shape == want.shape
    size = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * size)


def run(session: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(["y"], {"x": x})[0])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_agrees(name: str, dtype: str, tmp_path: Path) -> None:
    model = model_of(name, dtype)
    parameters = any(True for _ in model.parameters())
    kept = dtype if parameters or any(True for _ in model.buffers()) else "float32"
    _, session = exported(model, tmp_path)
    rng = np.random.default_rng(3)
    of_batches = name == "batch-norm-of-batches"  # one row has no variance
    for rows in (0, 2 if of_batches else 1, 2, 37):
        x = (3 * rng.normal(size=(rows, WIDTH))).astype(kept)
        assert_same(run(session, x), np.asarray(model.predict(x)), kept)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(12))
def test_random_chains_agree(seed: int, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, 9, size=rng.integers(2, 5)).tolist()
    activations = [fm.Tanh, fm.GELU, fm.Mish, fm.Hardswish, fm.SELU, fm.Softsign, fm.SiLU, fm.CELU]
    layers: list[fm.Module] = [fm.Standardize(widths[0])]
    for wide, out in itertools.pairwise(widths):
        layers += [fm.Linear(wide, out), fm.LayerNorm(out), rng.choice(activations)()]
        layers += [fm.BatchNorm1d(out), fm.Residual(fm.Linear(out, out), fm.PReLU())]
    model = fm.Sequential(*layers, dtype=dtype)
    _, session = exported(model, tmp_path)
    x = rng.normal(size=(20, widths[0])).astype(dtype)
    assert_same(run(session, x), np.asarray(model.predict(x)), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("activation-")])
def test_activations_far_out(name: str, dtype: str, tmp_path: Path) -> None:
    layer = fm.Linear(1, 1, bias=False, dtype=dtype)
    layer.weight.copy_([[1]])
    model = fm.Sequential(layer, *model_of(name, dtype))
    _, session = exported(model, tmp_path)
    x = np.array([[-1e30], [-90], [-20], [-1e-3], [0], [1e-3], [20], [90], [1e30]], dtype)
    for row in x:  # each to its own size
        want = np.asarray(model.predict(row[None]))
        assert_same(run(session, row[None]), want, dtype)


@pytest.mark.parametrize("threshold", [1.0, 20.0, 50.0])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_softplus_above_its_threshold(threshold: float, dtype: str, tmp_path: Path) -> None:
    model = fm.Sequential(fm.Linear(1, 1, dtype=dtype), fm.Softplus(2.0, threshold))
    _, session = exported(model, tmp_path)
    x = np.linspace(-30, 30, 301)[:, None].astype(dtype)
    assert_same(run(session, x), np.asarray(model.predict(x)), dtype)


def test_bounds_on_one_side(tmp_path: Path) -> None:
    class Bounded(fm.Module):
        def forward(self, x: Any) -> Any:
            return x.clamp(max=1.5) + x.clamp(min=-0.5)

    _, session = exported(Bounded(), tmp_path)
    x = np.linspace(-3, 3, 12, dtype="f4").reshape(4, 3)
    assert_same(run(session, x), np.asarray(Bounded().predict(x)), "float32")


def test_what_the_file_says(tmp_path: Path) -> None:
    proto, session = exported(fm.MLP([3, 4, 2]), tmp_path)
    assert (proto.producer_name, proto.producer_version) == ("fastmlp", fm.__version__)
    assert [o.version for o in proto.opset_import] == [17]
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("x", ["batch", 3], "tensor(float)")
    assert (result.name, result.shape) == ("y", ["batch", 2])
    names = {tensor.name for tensor in proto.graph.initializer}
    assert names == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_widths_that_may_be_any(tmp_path: Path) -> None:
    _, session = exported(fm.Sequential(fm.Softmax()), tmp_path)
    assert session.get_inputs()[0].shape == ["batch", "features"]
    for width in (1, 4):
        assert run(session, np.zeros((2, width), "f4")).tolist() == [[1 / width] * width] * 2


def test_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = model_of("batch-norm").train()
    model[1].eval()
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    fm.manual_seed(4)
    fm.to_onnx(model, tmp_path / "m.onnx")
    drawn = np.array(fm.rand(3))
    fm.manual_seed(4)
    np.testing.assert_array_equal(np.array(fm.rand(3)), drawn)
    assert [module.training for module in model.modules()] == modes
    np.testing.assert_equal({k: np.array(v) for k, v in model.state_dict().items()}, before)


def test_of_a_device(device: str, tmp_path: Path) -> None:
    model = model_of("mlp")
    x = np.ones((2, WIDTH), "f4")
    want = np.asarray(model.predict(x))
    _, session = exported(model.to(device=device), tmp_path)
    assert_same(run(session, x), want, "float32")


# Files --------------------------------------------------------------------------------------------


def test_an_old_file_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            fm.to_onnx(fm.Linear(2, 1), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.onnx"]
    fm.to_onnx(fm.Linear(2, 1), str(path))
    assert onnx.load(path).producer_name == "fastmlp"
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "m.onnx").symlink_to(tmp_path / "there" / "real.onnx")
    fm.to_onnx(fm.Linear(2, 1), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").is_symlink()
    assert (tmp_path / "there" / "real.onnx").stat().st_size > 0


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model: expected a fastmlp Module, got int"):
        fm.to_onnx(3, tmp_path / "m")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"path: expected a file's path, got 3 \(int\)"):
        fm.to_onnx(fm.Linear(2, 1), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="path: expected the name of a file"):
        fm.to_onnx(fm.Linear(2, 1), tmp_path)
    with pytest.raises(FileNotFoundError):
        fm.to_onnx(fm.Linear(2, 1), tmp_path / "none" / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[onnx\]"'):
        fm.to_onnx(fm.Linear(2, 1), tmp_path / "m.onnx")
