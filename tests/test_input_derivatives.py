"""`jacobian` and `input_gradient`: against torch and differences, and what they leave alone."""

import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw, relative_error
from specs import ACTIVATIONS, LOSSES
from test_residual import NET

EXACT = 1e-12
ROWWISE = [row.id for row in ACTIVATIONS.values() if row.rowwise]


def torch_jacobian(torch: Any, model: Any, x: np.ndarray) -> np.ndarray:
    rows = torch.from_numpy(x.astype("float64"))
    of_row = torch.func.jacrev(lambda row: model(row[None])[0])
    return np.stack([of_row(row).detach().numpy() for row in rows])


def differences(model: fm.Module, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central ones: (rows, out, in)."""
    columns = []
    for i in range(x.shape[1]):
        by = np.zeros(x.shape[1])
        by[i] = step
        columns.append((model.predict(x + by) - model.predict(x - by)) / (2 * step))
    return np.stack(columns, axis=2)


def sum_error(model: fm.Module, x: np.ndarray, jacobian: np.ndarray) -> float:
    """Of the gradient of the sum of outputs, beside the Jacobian's values: softmax's are 0."""
    error = np.abs(model.input_gradient(x) - jacobian.sum(axis=1)).max()
    return float(error / np.abs(jacobian).max())


def network(*widths: int, dtype: str = "float64") -> fm.Sequential:
    return fm.MLP(widths, "tanh", seed=3, dtype=dtype)


def data(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, columns))


# --- the values


@pytest.mark.parametrize("widths", [(5, 7, 3), (17, 64, 64, 6), (3, 33, 20), (4, 1, 1)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian_equals_torch(torch: Any, activation: str, widths: tuple[int, ...]) -> None:
    problem = draw(Case(widths, 9, activation, head=activation))
    want = torch_jacobian(torch, problem.torch(torch), problem.x)
    model = problem.fastmlp()
    got = model.jacobian(problem.x)
    assert got.dtype == np.float64
    assert relative_error(got, want) < EXACT
    assert relative_error(model.jacobian(problem.x[4]), want[4]) < EXACT


@pytest.mark.parametrize("head", ["identity", *ROWWISE])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_device(torch: Any, device: str, dtype: str, head: str) -> None:
    problem = draw(Case((6, 20, 9, 4), 11, "gelu", head=head, dtype=dtype))
    exact = problem.torch(torch)
    model = problem.fastmlp(device)
    limit = EXACT if dtype == "float64" else 1e-5
    jacobian = torch_jacobian(torch, exact, problem.x)
    assert relative_error(model.jacobian(problem.x), jacobian) < limit
    assert sum_error(model, problem.x, jacobian) < limit
    loss = fm.MSELoss()
    x = fm.tensor(problem.x, requires_grad=True)
    loss(model(x), problem.t).backward()
    assert x.grad is not None
    gradient = model.input_gradient(problem.x, problem.t, loss)
    assert relative_error(gradient, x.grad) < limit


@NET
def test_sums_and_values_used_twice(torch: Any, build: Any, device: str) -> None:
    theirs = build(torch.nn).double()
    ours = build(fm.nn).double()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        own[...] = other.detach().numpy()
    ours.to(device)
    x = data(7, 6)
    want = torch_jacobian(torch, theirs, x)
    assert relative_error(ours.jacobian(x), want) < EXACT
    assert sum_error(ours, x, want) < EXACT


@pytest.mark.parametrize("activation", [a for a, row in ACTIVATIONS.items() if not row.kinks])
def test_jacobian_equals_differences(activation: str) -> None:
    problem = draw(Case((5, 12, 4), 6, activation))
    model = problem.fastmlp()
    assert relative_error(model.jacobian(problem.x), differences(model, problem.x)) < 1e-7


@pytest.mark.parametrize("activation", [a for a, row in ACTIVATIONS.items() if row.kinks])
def test_kinks_are_torch_s(torch: Any, activation: str) -> None:
    row = ACTIVATIONS[activation]
    x = np.array([[kink, kink + 1, -kink] for kink in row.kinks], float)
    want = torch_jacobian(torch, row.torch(torch.nn), x)
    np.testing.assert_allclose(fm.Sequential(row.module()).jacobian(x), want, rtol=3e-16, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_a_loss_equals_torch(torch: Any, name: str, reduction: str) -> None:
    row = LOSSES[name]
    problem = draw(Case((6, 17, 4), 13, "silu", row.head, name, reduction))
    x, t = map(torch.from_numpy, problem.exact_data)
    x.requires_grad_()
    row.torch(torch.nn, reduction)(problem.torch(torch)(x), t).backward()
    got = problem.fastmlp().input_gradient(problem.x, problem.t, row.module(reduction))
    assert relative_error(got, x.grad.numpy()) < EXACT


def test_gradient_of_one_row() -> None:
    model, x = network(3, 5, 1), data(1, 3)
    np.testing.assert_array_equal(model.input_gradient(x[0]), model.input_gradient(x)[0])
    np.testing.assert_allclose(model.input_gradient(x[0]), model.jacobian(x[0])[0], rtol=1e-14)
    loss = fm.MSELoss()
    one, all_rows = model.input_gradient(x[0], [2.0], loss), model.input_gradient(x, [[2.0]], loss)
    np.testing.assert_array_equal(one, all_rows[0])


def test_without_parameters() -> None:
    x = data(3, 4)
    for model in (fm.Sequential(), fm.Identity()):
        np.testing.assert_array_equal(model.jacobian(x), np.broadcast_to(np.eye(4), (3, 4, 4)))
        np.testing.assert_array_equal(model.input_gradient(x), np.ones((3, 4)))
        assert model.jacobian(x.astype("float32")).dtype == np.float32


def test_no_rows() -> None:
    model = network(3, 5, 2)
    assert model.jacobian(np.zeros((0, 3))).shape == (0, 2, 3)
    assert model.input_gradient(np.zeros((0, 3))).shape == (0, 3)


# --- bits


@pytest.mark.parametrize("widths", [(17, 64, 64, 6), (4, 300, 200, 3), (2, 10, 40), (6, 5, 1)])
def test_any_number_of_rows(widths: tuple[int, ...]) -> None:
    """One model, whose workspaces serve one batch after the other."""
    model, x = network(*widths), data(50, widths[0])
    jacobians, gradients = model.jacobian(x), model.input_gradient(x)
    for rows in (slice(0, 1), slice(7, 10), slice(3, 40), slice(0, 50)):
        assert relative_error(model.jacobian(x[rows]), jacobians[rows]) < EXACT
        assert relative_error(model.input_gradient(x[rows]), gradients[rows]) < EXACT


def test_more_rows_than_one_pass_takes() -> None:
    model, x = network(5, 400, 16), data(900, 5)
    jacobian, gradient = model.jacobian(x), model.input_gradient(x)
    assert relative_error(model.jacobian(x[-10:]), jacobian[-10:]) < EXACT
    assert relative_error(gradient, jacobian.sum(axis=1)) < EXACT
    assert relative_error(jacobian[::100], differences(model, x[::100])) < 1e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype: str) -> None:
    model, x = network(30, 300, 300, 7, dtype=dtype), data(200, 30)
    found = []
    for count in (1, 2, 3, 7):
        with fm.threads(count):
            found.append((model.jacobian(x), model.input_gradient(x)))
    for jacobian, gradient in found[1:]:
        np.testing.assert_array_equal(jacobian, found[0][0])
        np.testing.assert_array_equal(gradient, found[0][1])


def test_many_threads_at_once() -> None:
    model, x = network(17, 64, 64, 6), data(64, 17)
    want = [model.jacobian(x[: n + 1]) for n in range(8)]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(50):
            if not np.array_equal(model.jacobian(x[: n + 1]), want[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- what stays as it was


def test_dropout_is_off_and_draws_nothing() -> None:
    model = fm.Sequential(fm.Linear(3, 8), fm.Dropout(0.5), fm.Tanh(), fm.Linear(8, 2)).double()
    x = data(5, 3)
    assert model.training
    fm.manual_seed(5)
    want = model(x)
    fm.manual_seed(5)
    jacobian = model.jacobian(x)
    model.input_gradient(x)
    np.testing.assert_array_equal(model(x), want)
    np.testing.assert_array_equal(model.eval().jacobian(x), jacobian)
    assert relative_error(jacobian, differences(model, x)) < 1e-7


def test_gradients_and_recorded_passes_stay() -> None:
    model, x, loss = network(3, 6, 2), data(8, 3), fm.MSELoss()
    t = np.ones((8, 2))
    loss(model(x), t).backward()
    want = [np.array(p.grad) for p in model.parameters()]
    model.zero_grad()
    model.jacobian(x)
    model.input_gradient(x, t, loss)
    assert all(p.grad is None for p in model.parameters())
    recorded = loss(model(x), t)
    model.jacobian(x[:3])
    model.input_gradient(x, t, loss)
    recorded.backward()
    before = [np.array(p.grad) for p in model.parameters()]
    model.jacobian(x)
    model.input_gradient(x, t, loss)
    for parameter, grad, expected in zip(model.parameters(), before, want, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)
        np.testing.assert_array_equal(grad, expected)


def test_new_values_and_other_layers_count_at_once() -> None:
    model, x = network(3, 4, 2), data(2, 3)
    model.jacobian(x)
    for parameter in model.parameters():
        parameter[...] = np.asarray(parameter) * 2
    assert relative_error(model.jacobian(x), differences(model, x)) < 1e-7
    model.append(fm.Linear(2, 5, dtype="float64"))
    assert model.jacobian(x).shape == (2, 5, 3)
