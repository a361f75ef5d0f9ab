"""What is written between a forward pass and its backward, or by a callback: right, or an error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

WIDTHS = pytest.mark.parametrize("width", [1, 3, 600])  # both strategies


def _net(width: int) -> fm.Sequential:
    return fm.Sequential(fm.Linear(width, width, bias=False), fm.Tanh(), fm.Linear(width, width))


def _gradients(model: fm.Module) -> list[np.ndarray]:
    return [np.array(p.grad) for p in model.parameters()]


@WIDTHS
def test_x_may_change(width: int) -> None:
    model, loss_fn = _net(width), fm.MSELoss(reduction="sum")
    x, t = np.full((5, width), 0.1, "f4"), np.zeros((5, width), "f4")
    loss_fn(model(x), t).backward()
    want = _gradients(model)
    model.zero_grad()
    loss = loss_fn(model(x), t)
    x[:] = 7
    loss.backward()
    for found, expected in zip(_gradients(model), want, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_targets_may_change() -> None:
    model, loss_fn, x = fm.MLP([1, 1], seed=0), fm.MSELoss(), np.ones((2, 1), "f4")
    t = np.zeros((2, 1), "f4")
    loss_fn(model(x), t).backward()
    want = _gradients(model)
    model.zero_grad()
    loss = loss_fn(model(x), t)
    t[:] = 100
    loss.backward()
    np.testing.assert_array_equal(_gradients(model)[0], want[0])


def test_targets_must_not_change_where_two_losses_take_turns() -> None:
    model, t = fm.MLP([1, 1], seed=0), np.zeros((2, 1), "f4")
    y = model(np.ones((2, 1), "f4"))
    loss = fm.MSELoss()(y, t)
    fm.MSELoss()(y, t + 1)
    t[:] = 100
    with pytest.raises(RuntimeError, match="targets were changed"):
        loss.backward()


WRITES: dict[str, Callable[[fm.Parameter, np.ndarray], Any]] = {
    "item": lambda p, view: p.__setitem__(slice(None), 100),
    "data": lambda p, view: setattr(p, "data", np.full(p.shape, 100)),
    "copy_": lambda p, view: p.copy_(np.full(p.shape, 100)),
    "in place": lambda p, view: p.__imul__(2),
    "ufunc": lambda p, view: np.add(p, 1, out=p),
    "init": lambda p, view: fm.init.normal_(p),
    "an old view": lambda p, view: view.__setitem__(0, 100),
    "data[...]": lambda p, view: p.data.__setitem__(0, 100),
    "asarray": lambda p, view: np.asarray(p).__setitem__(0, 100),
    "numpy()": lambda p, view: p.numpy().__setitem__(0, 100),
    "conversion": lambda p, view: p._convert("float64"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("hold", ["it", "another", "none"])
@WIDTHS
def test_parameters_must_not_change(width: int, write: str, hold: str) -> None:
    """With somebody's view of the parameter about, with one of another parameter, and without."""
    model = _net(width)
    target = model[2].weight
    held = np.asarray(model[0].weight) if hold == "another" else None
    view = np.asarray(target) if hold == "it" or write == "an old view" else np.zeros(0)
    loss = fm.MSELoss()(model(np.ones((2, width), "f4")), np.zeros((2, width), "f4"))
    WRITES[write](target, view)
    with pytest.raises(RuntimeError, match="parameters were changed"):
        loss.backward()
    del held


@WIDTHS
def test_looking_at_parameters_is_no_change(width: int) -> None:
    model = _net(width)
    view = np.asarray(model[0].weight)
    first = model(np.ones((2, width), "f4"))
    assert view.sum() == model[0].weight.data.sum() == np.asarray(model[0].weight).sum()
    second = model(np.ones((2, width), "f4"))
    repr(model[0].weight)
    for y in (first, second):
        fm.MSELoss()(y, np.zeros((2, width), "f4")).backward()


def test_a_write_after_the_first_of_two_passes() -> None:
    model = fm.MLP([1, 1], seed=0)
    x, t, loss_fn = np.ones((1, 1), "f4"), np.zeros((1, 1), "f4"), fm.MSELoss()
    before = loss_fn(model(x), t)
    model[0].weight.data[:] = 3
    after = loss_fn(model(x), t)
    with pytest.raises(RuntimeError, match="changed"):
        before.backward()
    after.backward()


@pytest.mark.parametrize("fork", ["double", "Sequential", "to"])
def test_converted_models(fork: str) -> None:
    """Gradients never go to memory that nobody looks at any more, and optimizers tell of it."""
    model = fm.MLP([1, 1], seed=0)
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    loss = fm.MSELoss()(model(np.ones((1, 1), "f4")), np.zeros((1, 1), "f4"))
    if fork == "double":
        model.double()
    elif fork == "to":
        model.to("float64")
    else:
        fm.Sequential(model, dtype="float64")
    with pytest.raises(RuntimeError, match="converted"):
        loss.backward()
    with pytest.raises(RuntimeError, match="make a new one"):
        optimizer.step()
    with pytest.raises((RuntimeError, TypeError, ValueError), match="optimizer"):
        trainer.fit(np.ones((1, 1)), np.ones((1, 1)), max_epoch=1)


def test_a_conversion_while_the_model_trains_is_refused() -> None:
    model = fm.MLP([1, 1], seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())

    def convert(info: fm.EpochInfo) -> None:
        with pytest.raises(RuntimeError, match="being trained"):
            model.double()

    x = np.ones((4, 1), "f4")
    trainer.fit(x, 7 * x, max_epoch=100, callbacks=convert)
    assert model.predict(x)[0, 0] == pytest.approx(7, abs=0.1)
    model.double()


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_data_that_are_the_parameters(batch_size: int | None) -> None:
    model = fm.Sequential(fm.Linear(3, 3, bias=False))
    model[0].weight.data = np.random.default_rng(0).normal(size=(3, 3))
    twin = fm.Sequential(fm.Linear(3, 3, bias=False))
    twin[0].weight.data = np.asarray(model[0].weight)
    x = np.asarray(model[0].weight).T  # as it is stored
    assert x.flags.c_contiguous
    for net, data in ((twin, x.copy()), (model, x)):
        trainer = fm.Trainer(net, fm.SGD(net.parameters(), lr=0.1), fm.MSELoss())
        trainer.fit(data, data, max_epoch=5, batch_size=batch_size, seed=0)
    np.testing.assert_array_equal(np.asarray(model[0].weight), np.asarray(twin[0].weight))


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_callbacks_do_not_change_the_data(batch_size: int | None, dtype: str) -> None:
    x, t = np.ones((8, 2), dtype), np.zeros((8, 1), dtype)
    validation = (np.ones((2, 2), dtype), np.zeros((2, 1), dtype))
    model = fm.MLP([2, 1], seed=0)

    def change(info: fm.EpochInfo) -> None:
        for array in (x, t, *validation):
            array[:] = 3

    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.0), fm.MSELoss())
    options: dict[str, Any] = {"max_epoch": 3, "batch_size": batch_size, "shuffle": False}
    history = trainer.fit(x, t, validation_data=validation, callbacks=change, **options)
    assert len(set(history.loss)) == len(set(history.validation_loss)) == 1


# --- gradients


def test_a_kept_gradient_stays() -> None:
    model, loss_fn = fm.MLP([3, 4, 1], seed=0), fm.MSELoss()
    x = np.ones((2, 3), "f4")
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    for forget in (model.zero_grad, optimizer.zero_grad):
        loss_fn(model(x), np.zeros((2, 1))).backward()
        kept = [p.grad for p in model.parameters()]
        values = [np.array(g) for g in kept]
        forget()
        loss_fn(model(x), np.full((2, 1), 9.0)).backward()
        for grad, value, parameter in zip(kept, values, model.parameters(), strict=True):
            np.testing.assert_array_equal(grad, value)
            assert parameter.grad is not None
        optimizer.zero_grad()
    fm.Trainer(model, optimizer, loss_fn).fit(x, np.zeros((2, 1)), max_epoch=1)
    np.testing.assert_array_equal(kept[0], values[0])


def test_a_gradient_accumulates_and_takes_writes() -> None:
    model = fm.MLP([1, 1], seed=0)
    x, t, loss_fn = np.ones((1, 1), "f4"), np.zeros((1, 1), "f4"), fm.MSELoss()
    loss_fn(model(x), t).backward()
    grad = model[0].weight.grad
    once = np.array(grad)
    loss_fn(model(x), t).backward()
    np.testing.assert_array_equal(grad, 2 * once)
    grad[...] = 0
    before = np.array(model[0].weight)
    fm.SGD([model[0].weight], lr=1.0).step()
    np.testing.assert_array_equal(np.asarray(model[0].weight), before)


def test_zeroing_without_forgetting() -> None:
    model = fm.MLP([1, 1], seed=0)
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    fm.MSELoss()(model(np.ones((1, 1))), np.zeros((1, 1))).backward()
    optimizer.zero_grad(set_to_none=False)
    assert [np.abs(p.grad).max() for p in model.parameters()] == [0, 0]
    model.zero_grad(set_to_none=True)
    assert [p.grad for p in model.parameters()] == [None, None]


@pytest.mark.parametrize("own", ["float32", "float64"])
@pytest.mark.parametrize("model_dtype", ["float32", "float64"])
def test_the_gradient_of_an_input_is_of_its_dtype(own: str, model_dtype: str) -> None:
    model = fm.MLP([2, 3, 1], dtype=model_dtype, seed=0)
    x = fm.tensor(np.ones((4, 2)), dtype=own, requires_grad=True)
    model(x).backward(np.ones((4, 1)))
    assert x.grad is not None
    assert (str(x.grad.dtype), x.grad.shape) == (own, (4, 2))


# --- tied and compared


def test_tied_weights(torch: Any) -> None:
    model = fm.Sequential(fm.Linear(3, 3, bias=False), fm.Tanh(), fm.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    assert len(list(model.parameters())) == 1
    assert model[2].weight is model[0].weight
    assert list(model.state_dict()) == ["0.weight", "2.weight"]
    linear = torch.nn.Linear(3, 3, bias=False)
    linear.weight.data = torch.from_numpy(np.array(model[0].weight))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        y = linear(torch.tanh(linear(torch.from_numpy(x))))
        torch.nn.functional.mse_loss(y, torch.from_numpy(x)).backward()
        optimizer.step()
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
    trainer.fit(x, x, max_epoch=5, batch_size=None)
    np.testing.assert_allclose(model[2].weight, linear.weight.detach().numpy(), rtol=1e-4)


def test_what_cannot_be_tied() -> None:
    model = fm.Sequential(fm.Linear(2, 3), fm.Linear(3, 2))
    with pytest.raises(ValueError, match="weight: expected shape"):
        model[1].weight = model[0].weight
    with pytest.raises(TypeError, match="dtype"):
        model[1].weight = fm.Parameter(np.zeros((2, 3)))
    model[1].weight = np.ones((2, 3))  # values
    assert model[1].weight.data.sum() == 6


def test_parameters_compare_and_hash_as_what_they_are() -> None:
    parameters = list(fm.MLP([2, 3, 3], seed=0).parameters())
    twin = fm.Parameter(np.asarray(parameters[0]))
    assert len({*parameters, *parameters}) == 4
    assert parameters[2] in parameters
    assert parameters.index(parameters[3]) == 3
    assert twin not in parameters
    assert twin not in set(parameters)
    assert (parameters[0] == np.asarray(parameters[0])).all()


# --- memory


def test_a_loss_lets_go_of_its_pass() -> None:
    model, loss_fn = fm.MLP([100, 50, 1]), fm.MSELoss()
    x, t = np.ones((200, 100), "f4"), np.zeros((200, 1), "f4")

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def run(count: int) -> list[fm.Tensor]:
        kept = []
        for _ in range(count):
            loss = loss_fn(model(x), t)
            loss.backward()
            kept.append(loss)
        return kept

    run(50)
    before = resident()
    kept = run(2000)  # of 80 kB each, were anything kept
    assert len(kept) == 2000
    assert resident() - before < 30e6
    with pytest.raises(RuntimeError, match="has run already"):
        kept[0].backward()


def test_a_model_does_not_keep_its_largest_workspace() -> None:
    model = fm.MLP([10, 2000, 1])

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    model.predict(np.ones((10, 10), "f4"))
    before = resident()
    model(np.ones((60_000, 10), "f4"))  # a layer of 480 MB, and its gradient
    assert resident() - before < 400e6
