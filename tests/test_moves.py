"""Models that move from device to device."""

import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error

pytestmark = pytest.mark.cuda
X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
T = np.array([0, 1, 2, 0, 1, 2])


def mlp(**options: Any) -> fm.Sequential:
    return fm.MLP([2, 5, 3], "tanh", **{"seed": 1, **options})


def losses_of(model: fm.Module, optimizer: fm.optim.Optimizer, steps: int = 5) -> list[float]:
    """The five-line loop."""
    losses, loss_fn = [], fm.CrossEntropyLoss()
    for _ in range(steps):
        loss = loss_fn(model(X), T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_near(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    assert relative_error(np.asarray(got), np.asarray(want)) < tolerance


def test_to_moves_in_place_and_back() -> None:
    model, twin = mlp(), mlp()
    want = model.predict(X)
    weight = model[0].weight
    assert model.to("cuda") is model
    assert (model.device, model[0].device, weight.device) == ("cuda", "cuda", "cuda")
    assert model[0].weight is weight
    np.testing.assert_array_equal(np.asarray(weight), np.asarray(twin[0].weight))
    assert_near(model.predict(X), want)
    assert model.to("cuda:0").device == "cuda"
    assert_near(model.predict(X), want)
    model.to("cpu")
    assert model.device == "cpu"
    np.testing.assert_array_equal(model.predict(X), want)
    np.testing.assert_array_equal(model.to("cuda").to("cpu").predict(X), want)


def test_made_on_the_device() -> None:
    """From the same numbers as on the CPU."""
    want = mlp().state_dict()
    made = [
        mlp(device="cuda"),
        fm.Sequential(*mlp(), device="cuda:0"),
        fm.Sequential(*mlp(device="cuda")),
    ]
    for model in made:
        assert model.device == "cuda"
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value, want[name])
    layer = fm.Linear(2, 3, dtype="float64", device="cuda")
    assert (layer.device, layer.weight.dtype) == ("cuda", np.float64)
    model = fm.Sequential(*mlp(device="cuda"), dtype="float64")
    assert (model.device, model[0].weight.dtype) == ("cuda", np.float64)


def test_precision() -> None:
    model = mlp(device="cuda", precision="bf16")
    assert model.precision == model[0].precision == "bf16"
    assert model.to("cuda").precision == "bf16"
    assert model.to(precision="tf32").precision == "tf32"
    rounded = fm.MLP([64, 300, 64], device="cuda", seed=0)
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    exact = rounded.predict(x)
    bf16 = rounded.to(precision="bf16").predict(x)
    assert not np.array_equal(bf16, exact)
    assert_near(bf16, exact, 0.1)
    np.testing.assert_array_equal(rounded.to(precision="float32").predict(x), exact)
    for lost in ("tf32", "float32x3"):
        assert model.to("cuda", precision=lost).to("cpu").precision == "float32"
        assert model.to("cuda").precision == "float32"
    assert model.to(precision="bf16").to("cpu").precision == "bf16"
    double = mlp(dtype="float64")
    for call in (
        lambda: double.to("cuda", precision="tf32"),
        lambda: mlp(dtype="float64", device="cuda", precision="bf16"),
        lambda: fm.Sequential(mlp(device="cuda", precision="bf16"), dtype="float64"),
    ):
        with pytest.raises(ValueError, match=r"precision.*float64"):
            call()
    assert double.device == "cpu"


def test_all_of_a_model_is_on_one_device() -> None:
    model = mlp()
    model[2].to("cuda")
    for call in (model, model.predict):
        with pytest.raises(ValueError, match=r"layer 2.*expected device 'cpu'.*layer 0.*'cuda'"):
            call(X)
    with pytest.raises(ValueError, match=r"device.*cpu and cuda"):
        model.device  # noqa: B018
    with pytest.raises(ValueError, match="expected device"):
        fm.Sequential(*mlp(device="cuda"), fm.Linear(3, 2))
    assert_near(model.to("cuda").predict(X), mlp().predict(X))
    model[0].to(precision="tf32")
    with pytest.raises(ValueError, match=r"expected precision 'tf32'.*'float32'"):
        model.predict(X)
    layer = fm.Linear(2, 3, bias=False, device="cuda")
    layer.bias = fm.Parameter(np.zeros(3, "float32"))
    with pytest.raises(ValueError, match=r"one device.*cuda.*cpu"):
        layer.predict(X)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "NAdam", "Adagrad", "Lion"])
def test_optimizers_go_on_after_a_move(name: str) -> None:
    """Their states follow the parameters, there and back."""
    options = {"lr": 0.05} | ({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})
    still, moved = mlp(dtype="float64"), mlp(dtype="float64")
    ours = getattr(fm, name)(moved.parameters(), **options)
    theirs = getattr(fm, name)(still.parameters(), **options)
    got = losses_of(moved, ours)
    got += losses_of(moved.to("cuda"), ours)
    got += losses_of(moved.to("cpu"), ours)
    np.testing.assert_allclose(got, losses_of(still, theirs, 15), rtol=1e-9)
    trainers = fm.Trainer(moved, ours), fm.Trainer(still, theirs)
    for device in ("cuda", "cpu", "cuda"):
        moved.to(device)
        ends = [t.fit(X, T, max_epoch=3, batch_size=4, seed=0).loss for t in trainers]
        np.testing.assert_allclose(*ends, rtol=1e-9)
    assert ours.steps == theirs.steps


def test_gradients_move_along() -> None:
    model = mlp()
    fm.CrossEntropyLoss()(model(X), T).backward()
    want = [p.grad.copy() for p in model.parameters()]
    model.to("cuda")
    for parameter, grad in zip(model.parameters(), want, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)
    fm.CrossEntropyLoss()(model(X), T).backward()  # adds to them
    for parameter, grad in zip(model.to("cpu").parameters(), want, strict=True):
        assert_near(parameter.grad, 2 * grad)


def test_a_pending_backward_ends_with_a_move() -> None:
    model = mlp()
    for device in ("cuda", "cpu"):
        y = model(X)
        loss = fm.CrossEntropyLoss()(y, T)
        model.to(device)
        for call in (loss.backward, lambda y=y: y.backward(np.ones((6, 3)))):
            with pytest.raises(RuntimeError, match="moved"):
                call()
        assert model[0].weight.grad is None


def test_a_callback_must_not_move_the_model() -> None:
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        model = mlp(device=first)
        trainer = fm.Trainer(model, fm.SGD(model.parameters()))
        with pytest.raises(RuntimeError, match=r"being trained.*moved"):
            trainer.fit(X, T, callbacks=[lambda info, m=model, d=second: bool(m.to(d)) and False])
        assert len(trainer.fit(X, T, max_epoch=2).loss) == 3


def test_a_model_that_other_threads_use_moves_as_a_whole_or_not_at_all() -> None:
    model = fm.MLP([64, 256, 64], seed=0)
    x = np.random.default_rng(1).normal(size=(512, 64)).astype("float32")
    want = model.predict(x)
    ended = threading.Event()
    results: list[np.ndarray] = []
    refused: list[str] = []

    def predict() -> None:
        for _ in range(30):
            try:
                results.append(model.predict(x))
            except RuntimeError as error:
                refused.append(str(error))
        ended.set()

    thread = threading.Thread(target=predict)
    thread.start()
    while not ended.is_set():
        try:
            model.to("cpu" if model.device == "cuda" else "cuda")
        except RuntimeError as error:
            refused.append(str(error))
    thread.join()
    assert len(results) + len(refused) >= 30
    for result in results:
        assert_near(result, want, 1e-4)
    expected = {
        "parameters: another thread computes with these; they cannot be moved meanwhile",
        "the model's parameters have moved to another device",
    }
    assert set(refused) <= expected
