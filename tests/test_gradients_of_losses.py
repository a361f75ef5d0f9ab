"""`input_gradient` of losses with options, and of functions: what `backward` gives a tracked x."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error

EXACT = 1e-12
ROWS, COLUMNS = 11, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5))
CLASSES = RNG.integers(0, COLUMNS, size=ROWS)
IGNORED = np.where(np.arange(ROWS) % 3 == 1, -100, CLASSES)
REAL = RNG.normal(size=(ROWS, COLUMNS))
SHARES = RNG.uniform(size=(ROWS, COLUMNS))
DISTRIBUTIONS = RNG.dirichlet(np.ones(COLUMNS), size=ROWS)
BY_COLUMN = (0.5, 2.0, 0.0, 3.0)

# The loss, its targets, and what the model ends with.
OPTIONS: dict[str, tuple[Any, np.ndarray, str]] = {
    "weighted classes": (fm.CrossEntropyLoss(BY_COLUMN), CLASSES, "identity"),
    "weighted distributions": (fm.CrossEntropyLoss(BY_COLUMN), DISTRIBUTIONS, "identity"),
    "ignored": (fm.CrossEntropyLoss(label_smoothing=0.2), IGNORED, "identity"),
    "all ignored": (fm.CrossEntropyLoss(), np.full(ROWS, -100), "identity"),
    "weighted and ignored": (fm.NLLLoss(BY_COLUMN, reduction="sum"), IGNORED, "log_softmax"),
    "pos_weight": (fm.BCEWithLogitsLoss(pos_weight=BY_COLUMN), SHARES, "identity"),
    "both weights": (fm.BCEWithLogitsLoss(BY_COLUMN, pos_weight=2.0), SHARES, "identity"),
    "bce": (fm.BCELoss(BY_COLUMN), SHARES, "sigmoid"),
    "bce of softmax": (fm.BCELoss(), SHARES, "softmax"),
    "batchmean": (fm.KLDivLoss("batchmean"), SHARES, "log_softmax"),
    "gaussian": (fm.GaussianNLLLoss(), REAL[:, :2], "softplus"),
    "quantile": (fm.QuantileLoss((0.1, 0.3, 0.5, 0.9)), REAL[:, :1], "identity"),
}


def network(head: str = "identity", dtype: str = "float64") -> fm.Sequential:
    return fm.MLP([5, 9, COLUMNS], "tanh", output_activation=head, dtype=dtype, seed=2)


def tracked_gradient(model: fm.Module, x: np.ndarray, t: Any, loss: Any) -> np.ndarray:
    tracked = fm.tensor(x, requires_grad=True)
    loss(model(tracked), t).backward()
    assert tracked.grad is not None
    return tracked.grad


@pytest.mark.parametrize("option", OPTIONS)
def test_options(option: str, device: str) -> None:
    loss, t, head = OPTIONS[option]
    model = network(head).to(device)
    want = tracked_gradient(model, X, t, loss)
    assert np.any(want) or option == "all ignored"
    assert relative_error(model.input_gradient(X, t, loss), want) < EXACT
    model.zero_grad()
    one = tracked_gradient(model, X[3], t[3], loss)
    assert relative_error(model.input_gradient(X[3], t[3], loss), one) < EXACT


def squared(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    return float(((y - t) ** 2).mean()), 2 * (y - t) / y.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(dtype: str, device: str) -> None:
    model, loss = network(dtype=dtype).to(device), fm.FunctionLoss(squared)
    limit = EXACT if dtype == "float64" else 1e-5
    want = model.input_gradient(X, REAL, fm.MSELoss())
    got = model.input_gradient(X, REAL, loss)
    assert got.dtype == dtype
    assert relative_error(got, want) < limit
    want = model.input_gradient(X[3], REAL[3], fm.MSELoss())
    assert relative_error(model.input_gradient(X[3], REAL[3], loss), want) < limit
    assert model.input_gradient(X[:0], REAL[:0], loss).shape == (0, 5)
    rows = np.tile(X, (2000, 1))  # more than one pass of inference takes
    want = model.input_gradient(rows, np.tile(REAL, (2000, 1)), fm.MSELoss())
    got = model.input_gradient(rows, np.tile(REAL, (2000, 1)), loss)
    assert relative_error(got, want) < 10 * limit


def test_functions_of_torch(torch: Any) -> None:
    model = network()
    loss = fm.FunctionLoss(torch.nn.functional.smooth_l1_loss)
    want = model.input_gradient(X, REAL, fm.SmoothL1Loss())
    assert relative_error(model.input_gradient(X, REAL, loss), want) < EXACT


def test_a_function_sees_the_prediction_and_may_raise() -> None:
    model, seen = network(), []

    def function(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append((y, t))
        if len(seen) > 1:
            raise KeyError("later")
        return 0.0, np.ones_like(y)

    loss = fm.FunctionLoss(function, torch=False)
    got = model.input_gradient(X, CLASSES, loss)
    np.testing.assert_array_equal(got, model.input_gradient(X))
    np.testing.assert_array_equal(seen[0][0], model.predict(X))
    np.testing.assert_array_equal(seen[0][1], CLASSES)
    with pytest.raises(KeyError, match="later"):
        model.input_gradient(X, CLASSES, loss)
    np.testing.assert_array_equal(model.input_gradient(X), got)


def test_a_mean_is_over_all_rows() -> None:
    """However many a pass of inference takes."""
    model = fm.MLP([5, 300, COLUMNS], "tanh", dtype="float64", seed=2)
    x, t = np.tile(X, (700, 1)), np.tile(REAL, (700, 1))
    want = model.input_gradient(X, REAL, fm.MSELoss()) / 700
    assert relative_error(model.input_gradient(x, t, fm.MSELoss())[-ROWS:], want) < EXACT
