"""`model.predictor(rows)`: predict between arrays that stay."""

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from device_arrays import CudaArray, DlpackArray
from devices import EMULATED
from test_cuda import mlp

RNG = np.random.default_rng(0)


def rows(count: int, columns: int, dtype: str = "float32") -> np.ndarray:
    return RNG.normal(size=(count, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[2, 10, 3], [300, 200, 200, 5]])
@pytest.mark.parametrize("count", [1, 3, 64])
def test_it_predicts(count: int, sizes: list[int], dtype: str) -> None:
    model = fm.MLP(sizes, "tanh", seed=0, dtype=dtype)
    predictor = model.predictor(count)
    assert type(predictor) is fm.Predictor
    assert not predictor.x.any()
    assert (predictor.x.shape, predictor.y.shape) == ((count, sizes[0]), (count, sizes[-1]))
    assert predictor.x.dtype == predictor.y.dtype == dtype
    place = predictor.x.ctypes.data
    for _ in range(3):
        x = rows(count, sizes[0], dtype)
        predictor.x[:] = x
        y = predictor()
        assert y is predictor.y
        np.testing.assert_array_equal(y, model.predict(x))
    assert predictor.x.ctypes.data == place


def test_it_follows_the_model() -> None:
    model = fm.Sequential(fm.Linear(2, 6), fm.BatchNorm1d(6), fm.Dropout(0.5), fm.Linear(6, 3))
    predictor, x, t = model.predictor(5), rows(5, 2), np.arange(5) % 3
    predictor.x[:] = x

    def check() -> None:
        np.testing.assert_array_equal(predictor(), model.predict(x))

    check()
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
    seen = [predictor().copy()]
    for change in (
        lambda: trainer.fit(x, t, max_epoch=3),
        lambda: model[0].weight.__setitem__(..., 0.25),
        lambda: np.asarray(model[0].weight).fill(0.5),
        lambda: setattr(model[0], "bias", fm.Parameter(np.ones(6, "float32"))),
        lambda: model.load_state_dict(fm.Sequential(*copy.deepcopy(list(model))).state_dict()),
        lambda: setattr(model[3], "bias", None),
        lambda: model.eval(),
        lambda: model.train(),
        lambda: fm.MLP([2, 3, 1]),
    ):
        change()
        check()
        seen.append(predictor().copy())
    assert len({y.tobytes() for y in seen}) > 4


def test_models_of_ones_own() -> None:
    class Net(fm.Module):
        scale = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.last = fm.Linear(3, 8), fm.Linear(8, 1)

        def forward(self, x: Any) -> Any:
            y = self.last(fm.tanh(self.hidden(x)) * self.scale)
            return y.squeeze(-1)

    model = Net()
    predictor = model.predictor(4)
    predictor.x[:] = x = rows(4, 3)
    assert predictor.y.shape == (4,)
    np.testing.assert_array_equal(predictor(), model.predict(x))
    model.scale = 0.5
    np.testing.assert_array_equal(predictor(), model.predict(x))
    model.hidden = fm.Linear(3, 8)
    np.testing.assert_array_equal(predictor(), model.predict(x))
    plain = fm.Sequential(fm.Linear(2, 3))
    predictor = plain.predictor(1)
    for wrong in (fm.Linear(2, 4), fm.Linear(1, 3)):
        right, plain[0] = plain[0], wrong
        with pytest.raises(RuntimeError, match="predictor: the model has changed"):
            predictor()
        plain[0] = right
        np.testing.assert_array_equal(predictor(), plain.predict(predictor.x))

    class Asks(Net):
        def __init__(self) -> None:
            super().__init__()
            self.shifts = [1.0]

        def forward(self, x: Any) -> Any:
            return self.last(fm.relu(self.hidden(x))) + self.shifts[0]

    asks = Asks()
    predictor = asks.predictor(2)
    for shift in (1.0, 2.0):
        asks.shifts[0] = shift
        np.testing.assert_array_equal(predictor(), asks.predict(predictor.x))

    class Measures(Net):
        def forward(self, x: Any) -> Any:
            columns = x.shape[1]
            return self.last(fm.relu(self.hidden(x))) * columns

    with pytest.raises(TypeError, match="not known before the model is called"):
        Measures().predictor(1)


def test_it_refuses() -> None:
    model = fm.MLP([2, 3, 1])
    calls: list[tuple[Any, tuple[Any, ...], type[Exception], str]] = [
        (model, (0,), ValueError, "rows: expected an integer >= 1, got 0"),
        (model, (1.5,), TypeError, "rows: expected an integer, got 1.5"),
        (model, (True,), TypeError, "rows: expected an integer"),
        (model, (), TypeError, "missing the argument 'rows'"),
        (model, (1, 2, 3), TypeError, "at most 2 arguments"),
        (model, (1, rows(1, 2)), TypeError, "like: expected an array on the model's CUDA device"),
        (fm.Sequential(fm.ReLU()), (1,), ValueError, "model: expected one with parameters"),
        (fm.PReLU(), (1,), ValueError, "model: expected a layer that says how many features"),
        (
            fm.Sequential(fm.Linear(2, 3), fm.BatchNorm1d(3, track_running_stats=False)),
            (1,),
            ValueError,
            "rows: expected more than one row",
        ),
    ]
    for own, arguments, error, pattern in calls:
        with pytest.raises(error, match=pattern):
            own.predictor(*arguments)

    class Product(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = fm.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.a(x) * self.a(x)

    with pytest.raises(TypeError, match="one native program"):
        Product().predictor(1)
    with pytest.raises((MemoryError, ValueError)):
        model.predictor(2**60)
    predictor = model.predictor(1)
    with pytest.raises(TypeError, match="takes no arguments"):
        predictor(predictor.x)  # type: ignore[call-arg]
    for name in ("x", "y"):
        with pytest.raises(AttributeError):
            setattr(predictor, name, rows(1, 2))
        with pytest.raises(ValueError, match="resize"):
            getattr(predictor, name).resize((9, 9), refcheck=False)
    with pytest.raises(TypeError):
        type(predictor)()
    for fails in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            fails(predictor)
    model.double()
    with pytest.raises(RuntimeError, match="predictor: the model has changed"):
        predictor()


def test_its_end() -> None:
    model = fm.MLP([2, 3, 1], seed=0)
    predictor = model.predictor(2)
    x, y = predictor.x, predictor()
    want = y.copy()
    gone = weakref.ref(model)
    model.__dict__["own"] = predictor  # a circle
    del model, predictor
    gc.collect()
    assert gone() is None
    x[:] = 1
    np.testing.assert_array_equal(y, want)


def test_threads() -> None:
    model = fm.MLP([50, 300, 4], seed=0)
    wrong: list[int] = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(8, 50)).astype("float32")
        predictor, want = model.predictor(8), model.predict(x)
        predictor.x[:] = x
        wrong.extend(1 for _ in range(200) if not np.array_equal(predictor(), want))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_a_device(dtype: str) -> None:
    model = mlp(device="cuda", dtype=dtype)
    x = rows(3, 2, dtype)
    predictor = model.predictor(3)
    assert type(predictor.x) is type(predictor.y) is np.ndarray
    predictor.x[:] = x
    np.testing.assert_array_equal(predictor(), model.predict(x))
    model[0].weight[...] = 0.5
    np.testing.assert_array_equal(predictor(), model.predict(x))
    like = CudaArray(np.zeros(1, dtype))
    there = model.predictor(3, like=like)
    assert type(there.x) is type(there.y) is CudaArray
    there.x.memory[...] = x if EMULATED else pytest.importorskip("torch").from_numpy(x)
    assert there() is there.y
    np.testing.assert_array_equal(there.y.numpy(), model.predict(x))
    with pytest.raises(TypeError, match=r"like: .*ndarray"):
        model.predictor(1, like=x)
    with pytest.raises(TypeError, match=r"like: .*int64"):
        model.predictor(1, like=CudaArray(np.zeros(1, "int64")))
    with pytest.raises(TypeError, match="DlpackArray"):
        model.predictor(1, like=DlpackArray(x))
    model.to("cpu")
    with pytest.raises(RuntimeError, match="has changed"):
        predictor()
    model.to("cuda")
    np.testing.assert_array_equal(predictor(), model.predict(x))
