"""The five-line loop and `Trainer.fit` do the same arithmetic: their weights agree bit by bit.

On CUDA they need not: `fit` trains tiny networks by a kernel of its own, which orders sums anew.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cases import Case, draw, relative_error
from specs import ACTIVATIONS, BUSY_OPTIMIZERS, LOSSES, OPTIMIZERS, TOLERANCE, Optimizer
from training import FULL_BATCH, MEDIUM, MINI_BATCHES, TINY, Plan, fit_run, loop_run

WIDE = Case((300, 257, 130, 10), 100, activation="relu", loss="cross_entropy", threads=2)
# Batches beyond the blocks that they are cut into: 512 rows of a product, 1024 rows in lanes.
LONG = [Case((70, 40, 5), 1300, loss="mse"), Case((2, 10, 3), 3000, loss="cross_entropy")]


def _assert_equal(case: Case, optimizer: Optimizer, plan: Plan, device: str = "cpu") -> None:
    problem = draw(case)
    loop_weights, step_losses = loop_run(problem, optimizer, plan, device)
    fit_weights, epoch_losses = fit_run(problem, optimizer, plan, device)
    tolerance = 0 if device == "cpu" else 10 * TOLERANCE[case.dtype]
    for value, other, start in zip(fit_weights, loop_weights, problem.weights, strict=True):
        assert not np.array_equal(other, start), "nothing was trained"
        assert relative_error(value, other) <= tolerance
    expected = plan.epoch_losses(step_losses, case.batch)
    np.testing.assert_allclose(epoch_losses, expected, rtol=max(tolerance, 1e-12))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [TINY, MEDIUM], ids=["tiny", "medium"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.id)
def test_every_optimizer(optimizer: Optimizer, case: Case, dtype: str, device: str) -> None:
    plan = replace(MINI_BATCHES[case], epochs=15)
    _assert_equal(replace(case, dtype=dtype), optimizer, plan, device)


@pytest.mark.parametrize("case", [TINY, MEDIUM], ids=["tiny", "medium"])
@pytest.mark.parametrize("batch_size", [None, 1, 7], ids=["all", "1", "7"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_clipped(optimizer: Optimizer, batch_size: int | None, case: Case, device: str) -> None:
    _assert_equal(case, optimizer, Plan(10, batch_size, 0.05), device)


@pytest.mark.parametrize("case", [TINY, MEDIUM], ids=["tiny", "medium"])
def test_200_full_batches(case: Case, device: str) -> None:
    _assert_equal(case, BUSY_OPTIMIZERS[0], FULL_BATCH, device)


@pytest.mark.parametrize("max_grad", [None, 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_wide_layers_on_two_threads(
    optimizer: Optimizer, dtype: str, max_grad: float | None
) -> None:
    _assert_equal(replace(WIDE, dtype=dtype), optimizer, Plan(3, 40, max_grad))


@pytest.mark.parametrize("batch_size", [None, 1200], ids=["all", "1200"])
@pytest.mark.parametrize("case", LONG, ids=["dense", "lanes"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_long_batches(optimizer: Optimizer, case: Case, batch_size: int | None) -> None:
    for dtype in ("float32", "float64"):
        for max_grad in (None, 0.01):
            plan = Plan(3, batch_size, max_grad)
            _assert_equal(replace(case, dtype=dtype), optimizer, plan)


# The smallest networks have steps of their own in `fit`; the last one's width has not.
TABLES = [(2, 2, 1), (2, 3, 1), (2, 4, 1), (3, 4, 1), (2, 5, 1)]


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("sizes", TABLES, ids=str)
@pytest.mark.parametrize("head", ["identity", "relu", "sigmoid", "tanh", "softplus"])
@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "tanh", "elu"])
def test_truth_tables(activation: str, head: str, sizes: tuple[int, ...], rows: int) -> None:
    losses = ["mse", "huber", *(["bce"] if head == "sigmoid" else []), "bce_with_logits"]
    for loss in losses:
        case = Case(sizes, rows, activation, head, loss, dtype="float32")
        _assert_equal(case, BUSY_OPTIMIZERS[0], Plan(5, None, None))


@pytest.mark.parametrize("loss", ["mse", "bce", "bce_with_logits", "huber"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.id)
def test_batches_of_truth_tables(optimizer: Optimizer, loss: str) -> None:
    head = LOSSES[loss].head
    for sizes in TABLES:
        case = Case(sizes, 11, "tanh", head, loss, dtype="float32")
        _assert_equal(case, optimizer, Plan(3, 4, None))


widths = st.lists(st.integers(1, 40) | st.sampled_from([64, 65, 100]), min_size=2, max_size=5)


@given(
    sizes=widths,
    rows=st.integers(1, 70),
    batch_size=st.integers(1, 70),
    activation=st.sampled_from(["tanh", "sigmoid", "gelu", "elu"]),
    loss=st.sampled_from(list(LOSSES)),
    optimizer=st.sampled_from(BUSY_OPTIMIZERS),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    max_grad=st.sampled_from([None, 0.05]),
)
@example([3072, 6, 2], 9, 4, "tanh", "nll", BUSY_OPTIMIZERS[0], True, "float32", None)
def test_any_shape(
    sizes: list[int],
    rows: int,
    batch_size: int,
    activation: str,
    loss: str,
    optimizer: Optimizer,
    bias: bool,
    dtype: str,
    max_grad: float | None,
) -> None:
    head = LOSSES[loss].head
    one_class = loss.startswith("cross_entropy") or ACTIVATIONS[head].rowwise
    if one_class and sizes[-1] == 1:  # nothing to learn
        sizes = [*sizes[:-1], 2]
    case = Case(tuple(sizes), rows, activation, head, loss, bias=bias, dtype=dtype)
    _assert_equal(case, optimizer, Plan(3, batch_size, max_grad))
