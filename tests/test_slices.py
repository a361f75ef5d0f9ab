"""Training with many rows, which go forward and backward a slice at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, assert_close, draw, fastmlp_gradients, numpy_gradients, relative_error
from specs import BUSY_OPTIMIZERS, LOSSES, TOLERANCE
from subprocesses import output_of
from training import Plan, fit_run, loop_run, numpy_run

# Two slices; a part for each slice, one of them short; several slices in each part.
BATCHES = [256, 777, 30_000]
NET = (70, 64, 5)
DTYPES = ["float32", "float64"]


def strategy_of(model: Any, rows: int) -> str:
    return model._compiled().network.strategy(rows)


@pytest.fixture(autouse=True)
def _sliced() -> None:
    model = fm.MLP(NET, dtype="float64")
    if strategy_of(model, BATCHES[0]) != "sliced":
        pytest.skip("another strategy is forced, or the second cache is small")


def _model(*layers: Any) -> fm.Sequential:
    return fm.Sequential(*layers)


@pytest.mark.parametrize(
    ("layers", "rows", "sliced"),
    [
        (lambda: [fm.Linear(70, 64), fm.Tanh(), fm.Linear(64, 5)], 256, True),
        (lambda: [fm.Linear(70, 64), fm.LayerNorm(64), fm.PReLU(), fm.Linear(64, 5)], 256, True),
        (lambda: [fm.Linear(70, 64), fm.Tanh(), fm.Linear(64, 5)], 255, False),
        (lambda: [fm.Linear(70, 64), fm.BatchNorm1d(64), fm.Linear(64, 5)], 5000, False),
        (lambda: [fm.Linear(70, 64), fm.Dropout(0.5), fm.Linear(64, 5)], 256, True),
        (lambda: [fm.Linear(2000, 2000)], 5000, False),
        (lambda: [layer := fm.Linear(64, 64), fm.Tanh(), layer], 5000, False),
    ],
    ids=["plain", "norm", "few rows", "mixed rows", "dropout", "large", "tied"],
)
def test_it_is_chosen_where_it_pays(
    layers: Callable[[], list[Any]], rows: int, sliced: bool
) -> None:
    if fm.show_config("dicts")["strategy"] != "automatic":
        pytest.skip("it is forced")
    assert (strategy_of(_model(*layers()), rows) == "sliced") == sliced


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize(
    ("activation", "head", "loss", "reduction"),
    [
        ("tanh", "identity", "mse", "mean"),
        ("gelu", "identity", "cross_entropy", "mean"),
        ("relu", "sigmoid", "bce", "sum"),
        ("sigmoid", "log_softmax", "nll", "mean"),
    ],
)
def test_gradients(
    activation: str, head: str, loss: str, reduction: str, rows: int, dtype: str
) -> None:
    case = Case(NET, rows, activation, head, loss, reduction, dtype=dtype)
    problem = draw(case)
    assert strategy_of(problem.fastmlp(), rows) == "sliced"
    want = numpy_gradients(problem)
    found = [
        fastmlp_gradients(replace(problem, case=replace(case, threads=threads)))
        for threads in (1, 2, 3)
    ]
    assert_close(found[0], want, TOLERANCE[dtype])
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_grad", [None, 0.05])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS[:3], ids=lambda o: o.id)
def test_trainings(optimizer: Any, max_grad: float | None, dtype: str) -> None:
    """With a short last batch: fit and the loop to the last bit, over threads, and NumPy."""
    case = Case(NET, 1700, "tanh", loss="cross_entropy", dtype=dtype)
    problem, plan = draw(case), Plan(4, 600, max_grad)
    weights, losses = fit_run(problem, optimizer, plan)
    for threads in (1, 3):
        with fm.threads(threads):
            for again in (fit_run, loop_run):
                for value, other in zip(weights, again(problem, optimizer, plan)[0], strict=True):
                    np.testing.assert_array_equal(other, value)
    exact, step_losses = numpy_run(problem, optimizer, plan)
    for value, other, start in zip(weights, exact, problem.weights, strict=True):
        assert relative_error(value, start) > 1e-3, "nothing was trained"
        assert relative_error(value, other) < 10 * TOLERANCE[dtype]
    np.testing.assert_allclose(losses, plan.epoch_losses(step_losses, 1700), rtol=TOLERANCE[dtype])


def test_shuffled_rows_are_those_of_the_order() -> None:
    problem = draw(Case(NET, 900, "tanh", loss="nll", head="log_softmax"))
    ends = []
    for threads in (1, 2):
        model = problem.fastmlp()
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.NLLLoss())
        with fm.threads(threads):
            history = trainer.fit(problem.x, problem.t, max_epoch=3, batch_size=900, seed=4)
        ends.append(np.concatenate([np.ravel(p) for p in model.parameters()]))
    np.testing.assert_array_equal(*ends)
    weights, losses = fit_run(problem, _SGD, Plan(3))
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)  # of all rows, in any order
    np.testing.assert_allclose(ends[0], np.concatenate([w.ravel() for w in weights]), rtol=1e-9)


class _Plain:
    """Gradient descent at a rate of 0.1."""

    def fastmlp(self, parameters: Any) -> fm.SGD:
        return fm.SGD(parameters, lr=0.1)


_SGD: Any = _Plain()


def _small_batches(rows: int) -> Iterator[slice]:
    for start in range(0, rows, 100):
        yield slice(start, min(start + 100, rows))


def _summed(model: Any, loss_fn: Any, x: Any, t: Any, weights: Any) -> dict[str, np.ndarray]:
    """Gradients of a sum over all rows, from batches that are too small for slices."""
    found: dict[str, Any] = {"x": []}
    for rows in _small_batches(len(x)):
        part = fm.tensor(x[rows], requires_grad=True)
        loss_fn(model(part), t[rows], sample_weight=weights[rows]).backward()
        found["x"].append(part.grad)
    found["x"] = np.concatenate(found["x"])
    grads = {name: np.array(p.grad) for name, p in model.named_parameters() if p.requires_grad}
    for p in model.parameters():
        p.grad = None
    return found | grads


def _residual() -> fm.Sequential:
    inner = fm.Sequential(fm.Linear(64, 64), fm.LayerNorm(64), fm.GELU(), fm.Linear(64, 64))
    frozen = fm.Linear(64, 64)
    frozen.requires_grad_(False)
    return fm.Sequential(
        fm.Linear(70, 64), fm.PReLU(64), fm.Residual(inner), frozen, fm.SiLU(), fm.Linear(64, 5)
    )


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_layers_and_weights_of_rows(loss: str, rows: int) -> None:
    """As the sum over small batches says, twice, since gradients add up."""
    fm.manual_seed(1)
    rng = np.random.default_rng(2)
    model = _residual().to(dtype="float64")
    assert strategy_of(model, rows) == "sliced"
    x, weights = rng.standard_normal((rows, 70)), rng.integers(0, 3, rows).astype("float64")
    if loss == "mse":
        t: Any = rng.standard_normal((rows, 5))
        make: Any = fm.MSELoss
        total = weights.sum() * 5
    else:
        t = rng.integers(0, 5, rows)
        t[::7] = -1
        of_class = np.array([0.5, 1, 2, 3, 0])

        def make(reduction: str) -> fm.CrossEntropyLoss:
            return fm.CrossEntropyLoss(weight=of_class, ignore_index=-1, reduction=reduction)

        total = (weights * np.where(t < 0, 0, of_class[t])).sum()
    want = _summed(model, make(reduction="sum"), x, t, weights)
    for times in (1, 2):
        whole = fm.tensor(x, requires_grad=True)
        make(reduction="mean")(model(whole), t, sample_weight=weights).backward()
        assert relative_error(whole.grad, want["x"] / total) < 1e-10
        for name, p in model.named_parameters():
            if p.requires_grad:
                assert relative_error(np.array(p.grad), times * want[name] / total) < 1e-10
            else:
                assert p.grad is None


def test_a_step_with_weights_of_rows_in_fit() -> None:
    """Groups with options of their own, a frozen layer, several batches a step."""
    fm.manual_seed(1)
    rng = np.random.default_rng(3)
    rows = 1800
    x, t = rng.standard_normal((rows, 70)), rng.standard_normal((rows, 5))
    weights = rng.random(rows)
    for accumulate, batch in ((1, rows), (3, 600)):
        fm.manual_seed(1)
        model = _residual().to(dtype="float64")
        start = {name: np.array(p) for name, p in model.named_parameters()}
        want = _summed(model, fm.MSELoss(reduction="sum"), x, t, weights)
        optimizer = fm.SGD(
            [
                {"params": model[0].parameters(), "lr": 0.5},
                {"params": [p for layer in model[1:] for p in layer.parameters()]},
            ],
            lr=0.1,
        )
        trainer = fm.Trainer(model, optimizer, fm.MSELoss())
        trainer.fit(
            x,
            t,
            max_epoch=1,
            batch_size=batch,
            accumulate=accumulate,
            sample_weight=weights,
            shuffle=False,
        )
        for name, p in model.named_parameters():
            rate = 0.5 if name.startswith("0.") else 0.1
            moved = rate * want[name] / (weights.sum() * 5) if p.requires_grad else 0 * start[name]
            assert relative_error(start[name] - np.array(p), moved) < 1e-9


def save_dropped(path: str) -> None:
    """Where a step drops values, forward and backward; for a process with a forced strategy."""
    fm.manual_seed(3)
    model = fm.Sequential(fm.Linear(7, 63), fm.Dropout(0.4), fm.Linear(63, 63), fm.Dropout(0.2))
    for p in (model[0].weight, model[0].bias, model[2].bias):
        p[...] = 0
    model[0].bias[...] = 1
    model[2].weight[...] = np.eye(63)
    rows = []
    for n in (1001, 9000):
        x = fm.tensor(np.ones((n, 7)), requires_grad=True)
        y = model(x)
        y.backward(np.ones((n, 63)))
        rows += [np.asarray(y), np.asarray(model[0].bias.grad)]
    np.savez(path, *rows)


def test_dropout_drops_the_same_values_in_every_strategy(tmp_path: Path) -> None:
    found = []
    for strategy in ("dense", "sliced"):
        path = tmp_path / f"{strategy}.npz"
        code = f"from test_slices import save_dropped; save_dropped({str(path)!r})"
        output_of(code, FASTMLP_STRATEGY=strategy)
        found.append(np.load(path))
    for name in found[0].files:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)
    dropped = found[1]["arr_0"] == 0
    assert abs(dropped.mean() - (1 - 0.6 * 0.8)) < 0.01
    assert not np.array_equal(dropped[:300], dropped[300:600])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_does_not_depend_on_threads(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, t = rng.standard_normal((1300, 70)), rng.integers(0, 5, 1300)
    ends = []
    for threads in (1, 2, 3):
        fm.manual_seed(5)
        model = fm.Sequential(
            fm.Linear(70, 64), fm.ReLU(), fm.Dropout(0.3), fm.Linear(64, 5), dtype=dtype
        )
        assert strategy_of(model, 500) == "sliced"
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.CrossEntropyLoss())
        with fm.threads(threads):
            history = trainer.fit(x.astype(dtype), t, max_epoch=3, batch_size=500, seed=6)
        assert history.loss[-1] < history.loss[0]
        ends.append(np.concatenate([np.ravel(p) for p in model.parameters()]))
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_batch_of_no_weight_moves_nothing(loss: str) -> None:
    problem = draw(Case(NET, 1400, "tanh", loss=loss, dtype="float32"))
    weights = np.repeat([0.0, 1.0], 700).astype("float32")
    ends = []
    for rows in (slice(None), slice(700, None)):
        model = problem.fastmlp()
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), LOSSES[loss].module("mean"))
        trainer.fit(
            problem.x[rows],
            problem.t[rows],
            max_epoch=1,
            batch_size=700,
            sample_weight=weights[rows],
            shuffle=False,
        )
        ends.append([np.array(p) for p in model.parameters()])
    for value, other, start in zip(*ends, problem.weights, strict=True):
        assert not np.array_equal(value, start)
        np.testing.assert_array_equal(value, other)
