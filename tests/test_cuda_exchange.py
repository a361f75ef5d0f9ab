"""Arrays on CUDA that DLPack's exchange API tells of, without a Python protocol.

On the emulated device, whose memory is the host's: NumPy's and torch's arrays of the host, whose
types have tables that say otherwise.
"""

from typing import Any

import numpy as np
import pytest

import exchange_api
import fastmlp as fm
from device_arrays import CudaArray
from devices import EMULATED
from test_cuda import T, X, mlp

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not EMULATED, reason="tables of the host's memory"),
]


def array_type(**options: Any) -> Any:
    """A type of arrays with a table; `asked` lists what it was asked for."""
    asked: list[Any] = []

    class Array(CudaArray):
        told = 0

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            asked.append("interface")
            return super().__cuda_array_interface__

    def view(array: Any, to: exchange_api.Tensor) -> int:
        asked.append("view")
        array.kept = exchange_api.describe(array.memory, to)
        return int(Array.told)

    def stream(kind: int, number: int) -> int:
        asked.append((kind, number))
        return 0

    options = {"view": view, "stream": stream} | options
    Array.asked, Array.table = asked, exchange_api.table(**options)
    return Array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["__dlpack_c_exchange_api__", "__c_dlpack_exchange_api__"])
def test_no_protocol_is_asked(name: str, dtype: str) -> None:
    kind = array_type()
    setattr(kind, name, kind.table.capsule if name[2] == "d" else kind.table.address)
    model = mlp(device="cuda", dtype=dtype)
    want = model.predict(X)
    y = model.predict(kind(X.astype(dtype)))
    np.testing.assert_array_equal(y.numpy(), want)
    assert "interface" in kind.asked  # of the result: the table would not say that it is read-only
    kind.asked.clear()
    out = CudaArray(np.zeros((6, 3), dtype))
    model.predict(kind(X.astype(dtype)), out)
    np.testing.assert_array_equal(out.numpy(), want)
    assert kind.asked == ["view", "view", (2, 0)]
    kind.asked.clear()
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    trainer.fit(kind(X.astype(dtype)), kind(T), max_epoch=1)
    assert set(kind.asked) == {"view", (2, 0)}


def test_tables_of_other_versions() -> None:
    model = mlp(device="cuda")
    want = model.predict(X)
    for previous in (None, array_type().table):
        kind = array_type(major=2, previous=previous)
        kind.__dlpack_c_exchange_api__ = kind.table.capsule
        np.testing.assert_array_equal(model.predict(kind(X)).numpy(), want)
        assert "view" not in kind.asked
        assert ("interface" in kind.asked) or previous
    broken = array_type()
    broken.__dlpack_c_exchange_api__ = broken.table.capsule
    broken.told = -1  # an array that the table cannot tell of
    np.testing.assert_array_equal(model.predict(broken(X)).numpy(), want)
    assert "interface" in broken.asked


def test_more_types_than_are_remembered() -> None:
    model = mlp(device="cuda")
    want = model.predict(X)
    kinds = [array_type() for _ in range(20)]
    for kind in kinds:
        kind.__dlpack_c_exchange_api__ = kind.table.capsule
    for kind in kinds + kinds:
        np.testing.assert_array_equal(model.predict(kind(X)).numpy(), want)


@pytest.fixture(scope="module")
def tensors() -> Any:
    """Makes torch's tensors, of the host's memory, of a type whose table moves them to CUDA."""
    torch = pytest.importorskip("torch")
    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("this torch has no table")
    own = exchange_api.table_at(torch.Tensor.__dlpack_c_exchange_api__)

    def view(tensor: Any, to: exchange_api.Tensor) -> int:
        status = int(own.view(tensor, to))
        to.device_type, to.device_id = exchange_api.CUDA, tensor.number
        return status

    class OnDevice(torch.Tensor):  # type: ignore[misc]
        __dlpack_c_exchange_api__ = exchange_api.table(view, lambda *place: 77).capsule
        number = 0

    return lambda values: torch.as_tensor(values).as_subclass(OnDevice)


def test_tensors_of_torch(tensors: Any) -> None:
    import torch
    from torch.overrides import TorchFunctionMode

    class OnDevice(TorchFunctionMode):
        def __torch_function__(self, call: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
            made = call(*args, **(kwargs or {}))
            return tensors(made) if call.__name__ == "empty" else made

    model = mlp(device="cuda")
    want = model.predict(X)
    out = tensors(np.zeros((6, 3), "float32"))
    assert model.predict(tensors(X), out) is out
    np.testing.assert_array_equal(out.numpy(), want)
    with OnDevice():
        y = model.predict(tensors(X))
        assert y.dtype == torch.float32
        np.testing.assert_array_equal(y.numpy(), want)
        assert model.predict(tensors(X[:0])).shape == (0, 3)
        assert model.predict(tensors(X[0])).shape == (3,)
        np.testing.assert_array_equal(model.predict(tensors(X[2:])).numpy(), model.predict(X[2:]))
    data = tensors(X), tensors(T)
    ends = []
    for x, t in (data, (X, T)):
        model = mlp(device="cuda")
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
        ends.append(trainer.fit(x, t, max_epoch=5, batch_size=4, validation_data=data))
    np.testing.assert_array_equal(ends[0].loss, ends[1].loss)
    # Those of the host are copied.
    np.testing.assert_array_equal(model.predict(torch.from_numpy(X)), model.predict(X))


def test_refusals(tensors: Any) -> None:
    model = mlp(device="cuda")
    x, out = tensors(X), tensors(np.zeros((6, 3), "float32"))
    elsewhere = tensors(X)
    elsewhere.number = 1
    read_only = CudaArray(np.zeros((6, 3), "float32"))
    read_only.interface["data"] = (read_only.__cuda_array_interface__["data"][0], True)
    calls: list[tuple[Any, Any, type[Exception], str]] = [
        (tensors(X.astype("float64")), out, TypeError, r"x: .*float32.*CUDA device.*float64"),
        (tensors(T), out, TypeError, r"x: .*float32.*int64"),
        (tensors(np.zeros((6, 2), bool)), out, TypeError, "x: .*float32.*bool"),
        (tensors(X).clone().requires_grad_(), out, TypeError, "x: .*OnDevice.*require.*grad"),
        (tensors(np.zeros((6, 4), "float32"))[:, ::2], out, ValueError, "x: .*C-contiguous"),
        (tensors(np.zeros((2, 6), "float32")).T, out, ValueError, "x: .*C-contiguous"),
        (elsewhere, out, ValueError, "x: .*device 0.*1"),
        (tensors(np.zeros((4, 3), "float32")), out, ValueError, "x has 3 features.*2"),
        (x, out[:5], ValueError, r"out: .*\(6, 3\).*\(5, 3\)"),
        (x, out.double(), TypeError, "out: .*float32.*float64"),
        (x, out.clone().requires_grad_(), TypeError, "out: .*require.*grad"),
        (x, read_only, ValueError, "out: .*writable"),
        (x, np.zeros((6, 3), "float32"), TypeError, "out: .*CUDA device.*ndarray"),
        (X, out, TypeError, "out: .*NumPy array"),
        (x, x.reshape(-1)[:12].reshape(6, 2), ValueError, "out: "),
    ]
    for given, target, error, pattern in calls:
        with pytest.raises(error, match=pattern):
            model.predict(given, out=target)
    with pytest.raises(TypeError, match=r"x: .*predict and fit"):
        model(x)
