"""Models on CUDA with arrays of the host, and with those of other libraries on the device."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from device_arrays import CudaArray, DlpackArray
from test_cuda import T, X, assert_near, mlp

KINDS = pytest.mark.parametrize("kind", [CudaArray, DlpackArray])

# --- arrays of the host


@pytest.mark.cuda
def test_the_output_of_a_call_is_a_tensor_of_the_host() -> None:
    model = mlp(device="cuda")
    want = mlp().predict(X)
    x = fm.tensor(X, requires_grad=True)
    y = model(x)
    assert type(y) is fm.Tensor
    assert_near(y, want)
    loss = fm.CrossEntropyLoss()(y, T)
    twin_x = fm.tensor(X, requires_grad=True)
    twin = mlp()
    twin_loss = fm.CrossEntropyLoss()(twin(twin_x), T)
    assert loss.item() == pytest.approx(twin_loss.item(), rel=1e-5)
    loss.backward()
    twin_loss.backward()
    assert_near(x.grad, twin_x.grad)
    with pytest.raises(RuntimeError, match="already"):
        loss.backward()
    with fm.no_grad():
        assert type(model(X)) is fm.Tensor
        assert_near(model(X), want)
    assert_near(model(X[0]), want[0])
    assert_near(model.predict(X[0].tolist()), want[0])
    out = np.zeros((6, 3), "float32")
    assert model.predict(X.astype("float64"), out=out) is out
    assert_near(out, want)
    with pytest.raises(ValueError, match="x has 3 features"):
        model.predict(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="expected class indices from 0 to 2"):
        fm.CrossEntropyLoss()(model(X), T + 1)


@pytest.mark.cuda
def test_several_passes_at_once() -> None:
    """Each has memory of its own there."""
    model, twin, loss_fn = mlp(device="cuda"), mlp(), fm.CrossEntropyLoss()
    ends = []
    for own in (model, twin):
        losses = [loss_fn(own(X[i : i + 3]), T[i : i + 3]) for i in range(4)]
        first = own(X)
        second = [loss_fn(first, t) for t in (T, (T + 1) % 3)]
        own.predict(X)
        second[0].backward()
        for loss in reversed(losses):
            loss.backward()
        ends.append([p.grad.copy() for p in own.parameters()])
        own.zero_grad()
    for a, b in zip(*ends, strict=True):
        assert_near(a, b)


@pytest.mark.cuda
def test_fit_on_arrays_of_the_host() -> None:
    histories = []
    for device in ("cpu", "cuda"):
        model = mlp(device=device, dtype="float64")
        trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.1))
        seen: list[np.ndarray] = []
        options = {"validation_data": (X[:4], T[:4].tolist()), "seed": 3, "batch_size": 4}
        trainer.fit(X.astype("float64"), T.astype("uint8"), max_epoch=4, **options)
        history = trainer.fit(
            X.tolist(), T, callbacks=[lambda i, m=model, s=seen: s.append(m.predict(X))], **options
        )
        assert len(seen) == 10
        histories.append([history.loss, history.validation_loss, history.report_loss, *seen])
    for a, b in zip(*histories, strict=True):
        np.testing.assert_allclose(b, np.asarray(a, "float64"), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="t: expected class indices"):
        trainer.fit(X, T + 1)


# --- arrays of the device


@pytest.mark.cuda
@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_in_place(kind: Any, dtype: str) -> None:
    model = mlp(device="cuda", dtype=dtype)
    x = X.astype(dtype)
    want = model.predict(x)
    own = kind(x)
    out = kind(np.zeros((6, 3), dtype))
    assert model.predict(own, out=out) is out
    np.testing.assert_array_equal(out.numpy(), want)
    np.testing.assert_array_equal(own.numpy(), x)
    row = kind(np.zeros(3, dtype))
    model.predict(kind(x[2]), row)
    assert_near(row.numpy(), want[2])
    if kind is CudaArray:
        y = model.predict(own)
        assert type(y) is CudaArray
        np.testing.assert_array_equal(y.numpy(), want)
        assert model.predict(kind(x[0])).shape == (3,)
    else:
        with pytest.raises(TypeError, match=r"out: .*DlpackArray"):
            model.predict(own)


@pytest.mark.cuda
def test_predict_of_no_rows() -> None:
    model, x = mlp(device="cuda"), CudaArray(np.zeros((0, 2), "f4"))
    assert model.predict(x).shape == (0, 3)


@pytest.mark.cuda
def test_predict_refuses() -> None:
    model = mlp(device="cuda")
    x, f4 = CudaArray(X), np.dtype("float32")
    double = CudaArray(X.astype("float64"))
    gaps = CudaArray(np.zeros((6, 4), f4), shape=(6, 2), strides=(16, 8))
    turned = CudaArray(np.zeros((2, 6), f4), shape=(6, 2), strides=(4, 24))
    read_only = CudaArray(np.zeros((6, 3), f4))
    read_only.interface["data"] = (read_only.__cuda_array_interface__["data"][0], True)
    out = CudaArray(np.zeros((6, 3), f4))
    inside = CudaArray(np.zeros(100, f4), shape=(6, 3))
    place = inside.__cuda_array_interface__["data"]
    calls: list[tuple[Any, Any, type[Exception], str]] = [
        (double, None, TypeError, r"x: .*float32.*CUDA device.*float64"),
        (CudaArray(T), None, TypeError, r"x: .*float32.*int64"),
        (DlpackArray(X.astype("float64")), None, TypeError, r"x: .*float32.*float64"),
        (gaps, out, ValueError, r"x: .*C-contiguous"),
        (turned, out, ValueError, r"x: .*C-contiguous"),
        (DlpackArray(X, (2, 3)), out, ValueError, r"x: .*device 0.*3"),
        (CudaArray(np.zeros((4, 3), f4)), None, ValueError, "x has 3 features.*2"),
        (CudaArray(np.zeros((2, 0), f4)), None, ValueError, "x has 0 features.*2"),
        (CudaArray(np.zeros((2, 2, 2), f4)), None, ValueError, r"x: .*\(2, 2, 2\)"),
        (x, CudaArray(np.zeros((5, 3), f4)), ValueError, r"out: .*\(6, 3\).*\(5, 3\)"),
        (x, CudaArray(np.zeros((6, 3))), TypeError, "out: .*float32.*float64"),
        (x, read_only, ValueError, "out: .*writable.*read-only"),
        (x, np.zeros((6, 3), f4), TypeError, "out: .*CUDA device.*ndarray"),
        (X, out, TypeError, "out: .*NumPy array.*CudaArray"),
        (
            CudaArray(X, data=place),
            inside,
            ValueError,
            "overlaps",
        ),
        (CudaArray(X, typestr=3), None, TypeError, "x: "),
        (CudaArray(X, shape=None), None, TypeError, "x: "),
    ]
    for given, target, error, pattern in calls:
        with pytest.raises(error, match=pattern):
            model.predict(given, out=target)
    with pytest.raises(TypeError, match=r"x: .*predict and fit"):
        model(x)
    with fm.no_grad(), pytest.raises(TypeError, match=r"x: .*predict and fit"):
        model(x)
    with pytest.raises(TypeError, match=r"t: .*CUDA device"):
        fm.CrossEntropyLoss()(model(X), CudaArray(T))


@pytest.mark.cuda
@KINDS
def test_fit_in_place(kind: Any) -> None:
    """The same bits as from the host's memory, in any mixture."""
    x, u = X, np.random.default_rng(1).normal(size=(6, 3)).astype("float32")
    for t, loss_fn in ((T, fm.CrossEntropyLoss()), (u, fm.MSELoss())):
        ends = []
        for on_x, on_t in ((False, False), (True, True), (True, False), (False, True)):
            model = mlp(device="cuda")
            trainer = fm.Trainer(model, fm.Adam(model.parameters()), loss_fn)
            data = (kind(x) if on_x else x), (kind(t) if on_t else t)
            history = trainer.fit(*data, max_epoch=4, batch_size=4, seed=0, validation_data=data)
            history = trainer.fit(*data, max_epoch=4, batch_size=None)
            arrays = [history.loss, history.validation_loss, *model.state_dict().values()]
            ends.append(arrays)
        for other in ends[1:]:
            for a, b in zip(ends[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.cuda
def test_fit_refuses() -> None:
    model = mlp(device="cuda")
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    before = model.state_dict()
    calls: list[tuple[Any, Any, type[Exception], str]] = [
        (CudaArray(X.astype("float64")), T, TypeError, r"\bx: .*float32.*float64"),
        (CudaArray(X), CudaArray(T.astype("int32")), TypeError, r"\bt: .*int64.*int32"),
        (X, CudaArray(T.astype("float32")), TypeError, r"\bt: .*int64.*float32"),
        (CudaArray(X), CudaArray(T + 1), ValueError, r"\bt: .*0 to 2, got 3 in row 2"),
        (CudaArray(X), CudaArray(T[:4]), ValueError, r"\bt: .*\(6,\).*\(4,\)"),
        (CudaArray(X[0]), CudaArray(T[:1]), ValueError, r"\bx: .*rows"),
        (CudaArray(X), CudaArray(np.zeros((6, 2), "f4")), ValueError, r"\bt: .*\(6, 3\)"),
    ]
    for x, t, error, pattern in calls:
        with pytest.raises(error, match=pattern):
            trainer.fit(x, t)
        with pytest.raises(error, match="validation_data"):
            trainer.fit(X, T, validation_data=(x, t))
    assert len(trainer.history.loss) == 0
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.cuda
def test_the_streams_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's current stream is asked for, and a new array comes from CuPy."""
    asked = []

    class Place:
        def __enter__(self) -> None:
            asked.append("device")

        def __exit__(self, *error: object) -> None:
            pass

    class Array(CudaArray):
        def __init__(self, values: Any) -> None:
            super().__init__(values)
            self.device = Place()

    def get_current_stream() -> Any:
        asked.append("stream")
        return SimpleNamespace(ptr=0)

    cupy = SimpleNamespace(
        ndarray=Array,
        empty=lambda shape, dtype: Array(np.empty(shape, dtype)),
        cuda=SimpleNamespace(get_current_stream=get_current_stream),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    model = mlp(device="cuda")
    y = model.predict(Array(X))
    assert asked == ["device", "stream"]
    fm.cuda.synchronize()
    np.testing.assert_array_equal(y.numpy(), model.predict(X))
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    trainer.fit(Array(X), Array(T), max_epoch=30, batch_size=3)
    model[0].weight[...] = 0
    model.predict(Array(X), y)
    fm.cuda.synchronize()
    np.testing.assert_array_equal(y.numpy(), model.predict(X))
    assert asked[2:] == ["stream"] * 2


@pytest.mark.cuda
def test_tensors_of_torch() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    model = mlp(device="cuda")
    want = model.predict(X)
    x, t = torch.from_numpy(X).cuda(), torch.from_numpy(T).cuda()
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            y = model.predict(x * 1)
            assert y.is_cuda
            np.testing.assert_array_equal((y * 2).cpu().numpy(), 2 * want)
            out = torch.empty_like(y)
            assert model.predict(x, out=out) is out
            np.testing.assert_array_equal(out.cpu().numpy(), want)
            trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.0))
            history = trainer.fit(x, t, max_epoch=40, batch_size=2, validation_data=(x, t))
            assert history.loss[-1] == pytest.approx(history.validation_loss[0], rel=1e-5)
    with pytest.raises(TypeError, match=r"x: .*requires grad"):
        model.predict(x.clone().requires_grad_())
    with pytest.raises(ValueError, match="C-contiguous"):
        model.predict(torch.zeros(2, 6, device="cuda").T)
    with pytest.raises(TypeError, match=r"float32.*CUDA device"):
        model.predict(x.double())
