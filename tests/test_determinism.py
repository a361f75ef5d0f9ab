"""Same seed, same data: the same bits, with any number of threads and in every process."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw, fastmlp_gradients
from specs import BUSY_OPTIMIZERS, LOSSES, Optimizer
from subprocesses import output_of

# Sizes on both sides of every change of strategy: lanes, few outputs, several tiles and panels.
SHAPES = [
    Case((2, 10, 3), 300, "sigmoid", loss="cross_entropy"),
    Case((40, 70, 33, 5), 50, "tanh", "log_softmax", "nll"),
    Case((100, 256, 256, 1), 256, "relu", loss="mse"),
    Case((300, 257, 130, 10), 129, "gelu", loss="cross_entropy"),
    Case((7, 500), 1000, "tanh", loss="l1"),
    Case((20, 600, 5), 530, "tanh", loss="mse"),
    Case((1300, 130, 3), 2, "tanh", loss="mse"),
]
# Batches long enough that threads share a network in lanes, or the rows of a product.
LONG = [Case((2, 10, 3), 5000, "sigmoid", loss="cross_entropy"), Case((70, 40, 5), 3000, "relu")]
DTYPES = ["float32", "float64"]
CUDA_SHAPES = [
    SHAPES[1],
    Case((2, 10, 3), 48, "sigmoid", loss="cross_entropy"),
    Case((9, 80, 1), 96),
]


def fit_digest(
    case: Case,
    optimizer: Optimizer,
    max_grad: float | None = None,
    batch_size: int = 48,
    device: str = "cpu",
    precision: str = "float32",
) -> str:
    """Train with shuffled mini-batches and dropout, and digest all that can be seen of it."""
    problem = draw(case)
    layers = list(problem.fastmlp())
    model = fm.Sequential(layers[0], fm.Dropout(0.3), *layers[1:])
    model.to(device, precision=precision)
    trainer = fm.Trainer(
        model, optimizer.fastmlp(model.parameters()), LOSSES[case.loss].module("mean")
    )
    history = trainer.fit(
        problem.x,
        problem.t,
        max_epoch=3,
        batch_size=batch_size,
        max_grad=max_grad,
        eval_interval=2,
        validation_data=(problem.x[:9], problem.t[:9]),
        seed=5,
    )
    for parameter, start in zip(model.parameters(), problem.weights, strict=True):
        assert not np.array_equal(np.asarray(parameter), start), "nothing was trained"
    curves = [history.loss, history.validation_loss, history.report_loss]
    grads = [p.grad for p in model.parameters()]
    return digest([*model.parameters(), *grads, *curves, model.predict(problem.x)])


def digest(arrays: list[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def all_digests() -> list[str]:
    digests = []
    for case in SHAPES:
        for dtype in DTYPES:
            case = replace(case, dtype=dtype)
            digests += [fit_digest(case, optimizer) for optimizer in BUSY_OPTIMIZERS[:3]]
            digests.append(digest(list(fastmlp_gradients(draw(case)).values())))
    fm.manual_seed(3)
    model = fm.Sequential(fm.Linear(50, 60), fm.Dropout(0.5), fm.Linear(60, 4))
    digests.append(digest([*model.parameters(), model(np.ones((9, 50)))]))
    return digests


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SHAPES, ids=lambda c: c.id)
def test_fit_does_not_depend_on_threads(case: Case, dtype: str) -> None:
    case = replace(case, dtype=dtype)
    for optimizer, max_grad in [(BUSY_OPTIMIZERS[0], None), (BUSY_OPTIMIZERS[2], 0.1)]:
        digests = []
        for threads in (1, 2, 3, 1):
            with fm.threads(threads):
                assert fm.get_num_threads() == threads
                digests.append(fit_digest(case, optimizer, max_grad))
        assert len(set(digests)) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SHAPES, ids=lambda c: c.id)
def test_gradients_and_predictions_do_not_depend_on_threads(case: Case, dtype: str) -> None:
    found, predictions = [], []
    for threads in (1, 2, 3):
        problem = draw(replace(case, dtype=dtype, threads=1))
        found.append(
            fastmlp_gradients(replace(problem, case=replace(problem.case, threads=threads)))
        )
        with fm.threads(threads):
            predictions.append(problem.fastmlp().predict(problem.x))
    assert np.abs(found[0]["x"]).max() > 0
    for other, prediction in zip(found[1:], predictions[1:], strict=True):
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value)
        np.testing.assert_array_equal(prediction, predictions[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LONG, ids=lambda c: c.id)
def test_long_batches_do_not_depend_on_threads(case: Case, dtype: str) -> None:
    """Without dropout, so that the first stays in lanes."""
    problem = draw(replace(case, dtype=dtype))
    ends = []
    for threads in (1, 2, 3):
        model = problem.fastmlp()
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), LOSSES[case.loss].module("mean"))
        with fm.threads(threads):
            history = trainer.fit(
                problem.x,
                problem.t,
                max_epoch=3,
                batch_size=None,
                validation_data=(problem.x, problem.t),
            )
            found = fastmlp_gradients(replace(problem, case=replace(problem.case, threads=threads)))
            arrays = [*model.parameters(), history.loss, history.validation_loss, *found.values()]
            ends.append(digest([*arrays, model.predict(problem.x)]))
    assert len(set(history.loss)) == 3
    assert len(set(ends)) == 1


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "float32x3", "tf32", "bf16"])
@pytest.mark.parametrize("case", CUDA_SHAPES, ids=lambda c: c.id)
def test_a_device_gives_the_same_bits_again(case: Case, precision: str) -> None:
    """With dropout, and without: tiny networks then train in a kernel of their own."""
    case = replace(case, dtype="float32")
    for max_grad in (None, 0.1):
        digests = [
            fit_digest(case, BUSY_OPTIMIZERS[2], max_grad, device="cuda", precision=precision)
            for _ in range(3)
        ]
        assert len(set(digests)) == 1
    ends = []
    for _ in range(3):
        model = draw(case).fastmlp("cuda", precision)
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), LOSSES[case.loss].module("mean"))
        history = trainer.fit(draw(case).x, draw(case).t, max_epoch=5, batch_size=16, seed=1)
        ends.append(digest([*model.parameters(), history.loss]))
    assert len(set(ends)) == 1


def test_other_seeds_give_other_bits() -> None:
    """So that equal digests mean something."""
    problem = draw(SHAPES[0])
    ends = []
    for seed in (0, 1, 0):
        model = problem.fastmlp()
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))
        trainer.fit(problem.x, problem.t, max_epoch=2, batch_size=32, seed=seed)
        ends.append(digest(list(model.parameters())))
    assert ends[0] == ends[2] != ends[1]


def test_processes_agree() -> None:
    code = "from test_determinism import all_digests; print(*all_digests(), sep='\\n')"
    runs = [
        output_of(code, FASTMLP_NUM_THREADS=threads, PYTHONHASHSEED=threads).split()
        for threads in ("1", "3")
    ]
    assert len(set(runs[0])) == len(runs[0]) > 30
    assert runs[0] == runs[1]
