"""Losses that are functions: of arrays with their gradient, or of torch's tensors."""

import subprocess
import sys
import traceback
from typing import Any

import numpy as np
import pytest

import fastmlp as fm


def squared(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    return float(((y - t) ** 2).mean()), 2 * (y - t) / y.size


def data(rows: int = 20, columns: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 3)), rng.normal(size=(rows, columns))


def model_of(width: int = 6, dtype: str = "float64", dropout: bool = False) -> fm.Sequential:
    with fm.no_grad():
        middle = [fm.Dropout(0.3)] if dropout else []
    fm.manual_seed(1)
    return fm.Sequential(
        fm.Linear(3, width, dtype=dtype), fm.Tanh(), *middle, fm.Linear(width, 2, dtype=dtype)
    )


def weights_of(model: fm.Module) -> list[np.ndarray]:
    return [np.array(parameter) for parameter in model.parameters()]


def assert_close(got: list[np.ndarray], want: list[np.ndarray], tolerance: float = 1e-12) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("width", [6, 700])
def test_five_lines(width: int, device: str) -> None:
    x, t = data()
    model = model_of(width).to(device)
    found = []
    for loss_fn in (fm.FunctionLoss(squared), fm.MSELoss()):
        model.zero_grad()
        tracked = fm.tensor(x, requires_grad=True)
        loss = loss_fn(model(tracked), t)
        loss.backward()
        found.append([loss.item(), tracked.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    with pytest.raises(RuntimeError, match="backward has run"):
        loss.backward()
    leaf = fm.tensor(x[:, :2], requires_grad=True)
    fm.FunctionLoss(squared)(leaf, t).backward()
    np.testing.assert_allclose(leaf.grad, 2 * (x[:, :2] - t) / t.size)
    assert fm.FunctionLoss(squared)(x[:, :2], t).item() == pytest.approx(
        ((x[:, :2] - t) ** 2).mean()
    )


@pytest.mark.parametrize("options", [{}, {"batch_size": 6}, {"batch_size": 6, "max_grad": 0.1}])
@pytest.mark.parametrize("width", [6, 700])
@pytest.mark.parametrize("dropout", [False, True])
def test_training_equals_that_of_a_native_loss(
    width: int, dropout: bool, options: dict[str, Any], device: str
) -> None:
    x, t = data()
    found = []
    for loss_fn in (fm.FunctionLoss(squared), fm.MSELoss()):
        model = model_of(width, dropout=dropout).to(device)
        trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), loss_fn)
        trainer.fit(x, t, max_epoch=5, seed=3, validation_data=(x[:7], t[:7]), **options)
        found.append((weights_of(model), trainer.history))
    assert_close(found[0][0], found[1][0], 1e-10)
    np.testing.assert_allclose(found[0][1].loss, found[1][1].loss, rtol=1e-12)
    np.testing.assert_allclose(found[0][1].validation_loss, found[1][1].validation_loss, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_torch(dtype: str, torch: Any, device: str) -> None:
    functional = torch.nn.functional
    x, t = data()
    x, classes = x.astype(dtype), np.arange(20) % 2

    def by_name(y: Any, t: Any) -> Any:
        return torch.nn.functional.mse_loss(y, t)

    def by_methods(y: Any, t: Any) -> Any:
        return ((y - t) ** 2).mean()  # nothing of torch is named

    pairs = [
        (by_name, fm.MSELoss(), t),
        (by_methods, fm.MSELoss(), t),
        (functional.l1_loss, fm.L1Loss(), t),
        (torch.nn.CrossEntropyLoss(), fm.CrossEntropyLoss(), classes),
        (lambda y, t: functional.cross_entropy(y, t), fm.CrossEntropyLoss(), classes),
    ]
    for function, native, target in pairs:
        found = []
        for loss_fn in (fm.FunctionLoss(function), native):
            model = model_of(dtype=dtype).to(device)
            with fm.no_grad():
                value = loss_fn(model.predict(x), target).item()
            loss = loss_fn(model(x), target)
            assert loss.item() == pytest.approx(value, rel=1e-6)
            loss.backward()
            grads = [p.grad.copy() for p in model.parameters()]
            optimizer = fm.SGD(model.parameters(), lr=0.1)
            fm.Trainer(model, optimizer, loss_fn).fit(x, target, max_epoch=3, batch_size=8, seed=0)
            found.append([*grads, *weights_of(model)])
        assert_close(found[0], found[1], 1e-12 if dtype == "float64" else 1e-5)


def test_a_batch_is_one_call_of_its_rows() -> None:
    x, _ = data(10)
    calls: list[tuple[Any, ...]] = []

    def record(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append((y.shape, y.dtype, t, y))
        return 1.0, np.zeros(y.shape)

    model = model_of(dtype="float32")
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.FunctionLoss(record))
    history = trainer.fit(
        x, np.arange(10), max_epoch=2, batch_size=4, validation_data=(x[:3], np.arange(3)), seed=0
    )
    assert [len(t) for _, _, t, _ in calls] == [4, 4, 2, 3] * 2
    assert all(shape == (len(t), 2) and dtype == np.float32 for shape, dtype, t, _ in calls)
    assert sorted(np.concatenate([t for _, _, t, _ in calls[:3]])) == list(range(10))
    assert calls[3][2].tolist() == [0, 1, 2]
    for _, _, t, y in calls:  # nothing has changed, and the arrays are the function's own
        np.testing.assert_allclose(y, model.predict(x[t]), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(history.loss, 1)
    np.testing.assert_array_equal(history.validation_loss, 1)


def test_losses_are_averaged_over_rows() -> None:
    x, _ = data(10)
    model = model_of()
    loss_fn = fm.FunctionLoss(lambda y, t: (float(t.mean()), np.zeros(y.shape)))
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), loss_fn)
    history = trainer.fit(x, np.arange(10.0), max_epoch=1, batch_size=4, shuffle=False)
    assert history.loss[0] == pytest.approx(4.5)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_last_whole_step(kind: type[BaseException], device: str) -> None:
    x, t = data()
    calls = 0

    def fails_at_seven(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise kind("seven")
        return squared(y, t)

    model = model_of().to(device)
    optimizer = fm.Adam(model.parameters(), lr=0.01)
    trainer = fm.Trainer(model, optimizer, fm.FunctionLoss(fails_at_seven))
    with pytest.raises(kind, match="seven") as caught:
        trainer.fit(x, t, max_epoch=5, batch_size=5, shuffle=False)
    assert any(f.name == "fails_at_seven" for f in traceback.extract_tb(caught.value.__traceback__))
    assert len(trainer.history.loss) == 1
    other = model_of().to(device)
    other_optimizer = fm.Adam(other.parameters(), lr=0.01)
    for step in range(6):
        rows = slice(step % 4 * 5, step % 4 * 5 + 5)
        loss = fm.MSELoss()(other(x[rows]), t[rows])
        other_optimizer.zero_grad()
        loss.backward()
        other_optimizer.step()
    assert_close(weights_of(model), weights_of(other))
    trainer.fit(x, t, max_epoch=1, batch_size=5)  # goes on
    assert len(trainer.history.loss) == 2


def test_ctrl_c_ends_a_training() -> None:
    code = """
import os, signal, threading, time
import numpy as np
import fastmlp as fm
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
model = fm.MLP([2, 4, 1], seed=0)
def loss(y, t):
    return float((y ** 2).mean()), 2 * y / y.size
trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), fm.FunctionLoss(loss))
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    trainer.fit(np.ones((64, 2)), np.ones((64, 1)), max_epoch=10**7, batch_size=8)
except KeyboardInterrupt:
    print("ended", len(trainer.history.loss) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ended True\n", done.stderr


def test_torch_is_imported_only_where_it_is_used() -> None:
    code = """
import sys
import numpy as np
import fastmlp as fm
model = fm.MLP([2, 4, 1], seed=0)
loss_fn = fm.FunctionLoss(lambda y, t: (float((y ** 2).mean()), 2 * y / y.size))
loss_fn(model(np.ones((3, 2))), np.ones(3)).backward()
fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), loss_fn).fit(np.ones((3, 2)), np.ones(3))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_other_threads_run_meanwhile() -> None:
    """The interpreter is taken for the call alone."""
    x, t = data(4000)
    model = model_of(600)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), fm.FunctionLoss(squared))
    import threading

    ticks, running = 0, True

    def count() -> None:
        nonlocal ticks
        while running:
            ticks += 1

    thread = threading.Thread(target=count)
    thread.start()
    trainer.fit(x, t, max_epoch=10, batch_size=None)
    running = False
    thread.join()
    assert ticks > 1000
    assert len(trainer.history.loss) == 10


def test_a_callback_may_exchange_the_loss() -> None:
    x, t = data()

    def exchange(info: fm.EpochInfo) -> None:
        info.trainer.loss_fn = fm.MSELoss() if info.epoch % 2 else fm.FunctionLoss(squared)

    found = []
    for callbacks in ([exchange], []):
        model = model_of()
        trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.MSELoss())
        trainer.fit(x, t, max_epoch=5, batch_size=6, seed=3, callbacks=callbacks)
        found.append(weights_of(model))
    assert_close(found[0], found[1], 1e-10)
