"""Tensors and modes: gradients and how they add up, dtypes, dropout, prediction, forms of data."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw
from specs import LOSSES
from training import MEDIUM, TINY

X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
T = np.array([0, 1, 2, 0, 1, 2])
# Its weights' gradient is summed in several blocks of rows.
LONG = Case((70, 40, 5), 1300)


# --- gradients


@pytest.mark.parametrize("case", [TINY, MEDIUM, LONG], ids=["tiny", "medium", "long"])
def test_backward_adds_to_the_gradient(case: Case) -> None:
    problem = draw(case)
    model, loss_fn = problem.fastmlp(), LOSSES[case.loss].module("mean")
    loss_fn(model(problem.x), problem.t).backward()
    once = [p.grad.copy() for p in model.parameters()]
    loss_fn(model(problem.x), problem.t).backward()
    for parameter, grad in zip(model.parameters(), once, strict=True):
        assert np.abs(grad).max() > 0
        np.testing.assert_allclose(parameter.grad, 2 * grad, rtol=1e-12, atol=1e-15)


def test_gradients_are_none_until_the_first_and_after_zero_grad() -> None:
    model, loss_fn = fm.MLP([2, 5, 3], dtype="float64"), fm.CrossEntropyLoss()
    assert all(p.grad is None for p in model.parameters())
    loss_fn(model(X), T).backward()
    once = [p.grad.copy() for p in model.parameters()]
    assert all(np.abs(g).max() > 0 for g in once)
    fm.SGD(model.parameters()).zero_grad()
    assert all(p.grad is None for p in model.parameters())
    loss_fn(model(X), T).backward()
    for parameter, grad in zip(model.parameters(), once, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)
    model.zero_grad()
    assert model[0].weight.grad is None


def test_backward_runs_once_for_each_forward() -> None:
    for case in (TINY, MEDIUM):
        problem, model = draw(case), draw(case).fastmlp()
        y = model(problem.x)
        y.backward(np.ones(y.shape))
        grads = [p.grad.copy() for p in model.parameters()]
        with pytest.raises(RuntimeError, match="backward"):
            y.backward(np.ones(y.shape))
        for parameter, grad in zip(model.parameters(), grads, strict=True):
            np.testing.assert_array_equal(parameter.grad, grad)


def test_backward_after_an_update_is_an_error() -> None:
    """The weights that the forward pass used are gone."""
    model, loss_fn = fm.MLP([2, 5, 3]), fm.CrossEntropyLoss()
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    late = loss_fn(model(X), T)
    loss_fn(model(X), T).backward()
    optimizer.step()
    grads = [p.grad.copy() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="backward"):
        late.backward()
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_forward_of_another_batch_does_not_disturb_a_pending_backward() -> None:
    model, loss_fn = draw(MEDIUM).fastmlp(), fm.MSELoss()
    x, t = draw(MEDIUM).x, draw(MEDIUM).t
    loss_fn(model(x), t).backward()
    want = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    loss = loss_fn(model(x), t)
    model(x[:7] * 3)
    model.predict(x[:20] * 2)
    loss_fn(model(x[5:9]), t[5:9])
    loss.backward()
    for parameter, grad in zip(model.parameters(), want, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_gradient_of_chained_models_and_of_the_input() -> None:
    first, second = fm.MLP([2, 4, 3], "tanh", dtype="float64"), fm.Linear(3, 2, dtype="float64")
    whole = fm.Sequential(*first, second)
    ends = []
    for model in (lambda x: second(first(x)), whole):
        whole.zero_grad()
        x = fm.tensor(X.astype("float64"), requires_grad=True)
        fm.MSELoss()(model(x), np.ones((6, 2))).backward()
        ends.append([x.grad, *[p.grad for p in whole.parameters()]])
    for a, b in zip(*ends, strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_input_gradient_accumulates_and_has_the_shape_of_the_input() -> None:
    model = fm.MLP([2, 4, 1], "tanh")
    x = fm.tensor(X[0], requires_grad=True)
    y = model(x)
    assert y.shape == (1,)
    y.backward()
    once = x.grad.copy()
    assert once.shape == (2,)
    model(x).backward()
    np.testing.assert_allclose(x.grad, 2 * once, rtol=1e-6)
    x.grad = None
    model(x).backward(np.array([2.0]))
    np.testing.assert_allclose(x.grad, 2 * once, rtol=1e-6)


def test_frozen_parameters_get_no_gradient_and_stay() -> None:
    model = fm.MLP([2, 5, 3], "tanh", seed=0)
    model[0].weight.requires_grad = False
    start = model.state_dict()
    fm.CrossEntropyLoss()(model(X), T).backward()
    assert model[0].weight.grad is None
    assert np.abs(model[0].bias.grad).max() > 0
    for run in (lambda: _five_lines(model), lambda: _fit(model)):
        run()
        np.testing.assert_array_equal(np.asarray(model[0].weight), start["0.weight"])
        assert not np.array_equal(np.asarray(model[2].weight), start["2.weight"])


def _five_lines(model: fm.Module) -> None:
    optimizer = fm.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    loss = fm.CrossEntropyLoss()(model(X), T)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _fit(model: fm.Module) -> None:
    optimizer = fm.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    fm.Trainer(model, optimizer).fit(X, T, max_epoch=2)


def test_optimizer_of_some_parameters_leaves_the_others() -> None:
    for train in ("fit", "loop"):
        model = fm.MLP([2, 5, 3], "tanh", seed=0)
        start = model.state_dict()
        optimizer = fm.Adam(model[2].parameters(), lr=0.1)
        if train == "fit":
            fm.Trainer(model, optimizer).fit(X, T, max_epoch=2)
        else:
            fm.CrossEntropyLoss()(model(X), T).backward()
            optimizer.step()
        np.testing.assert_array_equal(np.asarray(model[0].weight), start["0.weight"])
        np.testing.assert_array_equal(np.asarray(model[0].bias), start["0.bias"])
        assert not np.array_equal(np.asarray(model[2].weight), start["2.weight"])


def test_no_grad_records_nothing() -> None:
    model, loss_fn = fm.MLP([2, 5, 3]), fm.CrossEntropyLoss()
    want = np.asarray(model(X))

    @fm.no_grad()
    def evaluate() -> Any:
        return loss_fn(model(X), T)

    with fm.no_grad():
        y = model(X)
    np.testing.assert_array_equal(y, want)
    for tensor in (y, evaluate()):
        assert not tensor.requires_grad
        with pytest.raises(RuntimeError):
            tensor.backward()
    assert loss_fn(model(X), T).requires_grad


def test_tensors_are_arrays() -> None:
    model = fm.MLP([2, 5, 1])
    y = model(X)
    assert isinstance(y, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 1
    assert type(y.numpy()) is np.ndarray
    assert type(y.detach()) is fm.Tensor
    assert not (y.detach() + 1).requires_grad
    loss = fm.MSELoss()(y, np.zeros(6))
    assert loss.shape == ()
    assert isinstance(loss.item(), float)
    assert loss.item() == pytest.approx(float((np.asarray(y, "float64") ** 2).mean()), rel=1e-6)
    assert fm.MSELoss()(np.ones((2, 2)), np.zeros((2, 2))).item() == 1.0


def test_views_of_a_tensor_outlive_it() -> None:
    """A recorded tensor's numbers lie in native memory, which its views have to keep."""
    model, loss_fn = fm.MLP([2, 5, 3]), fm.CrossEntropyLoss()
    want = model.predict(X)
    rows, value = model(X).numpy()[1:], loss_fn(model(X), T).numpy()
    kept = float(value)
    for _ in range(10):  # whatever was freed is used again
        loss_fn(model(X), T).backward()
    np.testing.assert_array_equal(rows, want[1:])
    assert float(value) == kept


def test_a_long_chain_of_models_is_taken_apart() -> None:
    layer, x = fm.Linear(2, 2), fm.tensor(X, requires_grad=True)
    y: Any = x
    for _ in range(50_000):
        y = layer(y)
    y.backward(np.zeros(y.shape, "float32"))
    assert x.grad is not None
    for _ in range(50_000):
        y = layer(y)
    del y


# --- dtypes, modes, prediction


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_keeps_its_dtype(dtype: str) -> None:
    for model in (
        fm.MLP([2, 5, 3], dtype=dtype),
        fm.Sequential(fm.Linear(2, 5), fm.ReLU(), fm.Linear(5, 3), dtype=dtype),
        fm.Sequential(fm.Linear(2, 3, dtype=np.dtype(dtype).type)),
    ):
        for x in (X, X.astype("float64"), X.astype(int), X.tolist()):
            assert model(x).dtype == model.predict(x).dtype == dtype
            fm.CrossEntropyLoss()(model(x), T).backward()
        trainer = fm.Trainer(model, fm.Adam(model.parameters()))
        trainer.fit(X.astype("float64"), T, max_epoch=1)
        assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}
        assert {p.grad.dtype for p in model.parameters()} == {np.dtype(dtype)}
        assert {v.dtype for v in model.state_dict().values()} == {np.dtype(dtype)}


def test_train_and_eval_switch_dropout() -> None:
    model = fm.Sequential(fm.Linear(2, 50), fm.Dropout(0.5))
    assert model.training
    assert (np.asarray(model(X)) == 0).any()
    plain = model.predict(X)
    assert (plain != 0).all()
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    np.testing.assert_allclose(model(X), plain, rtol=1e-5, atol=1e-6)
    model.train()
    assert (np.asarray(model(X)) == 0).any()
    with fm.no_grad():
        assert (np.asarray(model(X)) == 0).any()


def test_predict_out() -> None:
    model = fm.MLP([2, 5, 3])
    out = np.full((6, 3), np.nan, "float32")
    assert model.predict(X, out=out) is out
    np.testing.assert_array_equal(out, model.predict(X))
    row = np.zeros(3, "float32")
    assert model.predict(X[0], out=row) is row
    np.testing.assert_allclose(row, out[0], rtol=1e-6)
    stack = np.zeros((4, 6, 3), "float32")
    model.predict(X, out=stack[2])
    np.testing.assert_array_equal(stack[2], out)
    assert not stack[[0, 1, 3]].any()
    assert type(model.predict(X)) is np.ndarray


def test_torch_tensors_are_taken(torch: Any) -> None:
    problem = draw(TINY)
    model = problem.fastmlp()
    x, t = torch.from_numpy(problem.x), torch.from_numpy(problem.t)
    np.testing.assert_array_equal(model.predict(x), model.predict(problem.x))
    np.testing.assert_array_equal(model.predict(x.T.contiguous().T), model.predict(problem.x))
    assert fm.CrossEntropyLoss()(model(x), t) == fm.CrossEntropyLoss()(model(problem.x), problem.t)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
    history = trainer.fit(x, t, max_epoch=20, validation_data=(x, t))
    assert history.loss[-1] < history.loss[0]
    view = torch.from_numpy(np.asarray(model[0].weight))
    view.zero_()
    assert not np.asarray(model[0].weight).any()


def test_targets_in_every_form() -> None:
    z = np.random.default_rng(1).normal(size=(6, 3))
    loss_fn = fm.CrossEntropyLoss()
    want = loss_fn(z, T).item()
    assert want > 0
    for dtype in ("uint8", "int16", "int32", "uint64"):
        assert loss_fn(z, T.astype(dtype)).item() == want
    assert loss_fn(z, T.tolist()).item() == want
    assert loss_fn(z, np.eye(3)[T]).item() == pytest.approx(want, rel=1e-12)
    assert loss_fn(z, np.eye(3, dtype=int)[T]).item() == pytest.approx(want, rel=1e-12)
    column = z[:, :1]
    assert fm.MSELoss()(column, z[:, 1]).item() == fm.MSELoss()(column, z[:, 1:2]).item()
    probabilities = 1 / (1 + np.exp(-column))
    labels = z[:, 1] > 0
    assert fm.BCELoss()(probabilities, labels) == fm.BCELoss()(probabilities, labels.astype(float))
