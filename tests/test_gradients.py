"""Outputs, losses, gradients of every parameter and of the input, against torch and NumPy.

The dimensions are too many for a full product. `covering` makes some hundreds of networks in which
every pair of values (each activation with each loss, each width with each batch, ...) occurs; the
tables below add every activation after the last layer and every size in every place.
test_strategies.py runs this file for each instruction set with each strategy.
"""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import (
    SIZES,
    Case,
    assert_close,
    covering,
    draw,
    fastmlp_gradients,
    numpy_gradients,
    relative_error,
    torch_gradients,
)
from specs import ACTIVATIONS, LOSSES, TOLERANCE, Activation, Loss


def _covering_cases() -> list[Case]:
    factors = {
        "activation": list(ACTIVATIONS),
        "loss": list(LOSSES),
        "reduction": ["mean", "sum"],
        "depth": range(6),
        "batch": SIZES,
        "fan_in": SIZES,
        "hidden": SIZES,
        "fan_out": SIZES,
        "bias": [True, False],
        "dtype": ["float64", "float32"],
        "threads": [1, 2],
    }
    rng = np.random.default_rng(2)
    cases = []
    for row in covering(factors, seed=2):
        others = rng.choice(SIZES[:-2], size=5).tolist()
        hidden = [row.pop("hidden"), *others][: row.pop("depth")]
        widths = (row.pop("fan_in"), *hidden, row.pop("fan_out"))
        cases.append(Case(widths=widths, head=LOSSES[row["loss"]].head, **row))
    return cases


def _head_cases() -> list[Case]:
    """Every loss after every activation whose output it takes."""
    return [
        Case((6, 11, 5), 13, head=head, loss=loss.id, reduction=reduction, dtype=dtype)
        for loss in LOSSES.values()
        for head in ACTIVATIONS
        if loss.heads is None or head in loss.heads
        for reduction, dtype in [("mean", "float64"), ("sum", "float32")]
    ]


def _size_cases() -> list[Case]:
    """Every size as the batch and as each of a layer's widths; the others are odd or even."""
    return [
        case
        for size in SIZES
        for dtype in ("float64", "float32")
        for other in (5, 48)
        for case in [
            Case((other, size, 3), 19, dtype=dtype, threads=2),
            Case((size, other, other), size, activation="relu", loss="cross_entropy", dtype=dtype),
            Case((3, other, size), other, activation="gelu", loss="l1", dtype=dtype),
        ]
    ]


# Beyond the blocks that products and batches are cut into: 512 deep, 512 rows, 1024 rows in lanes.
LARGE = [
    Case((513, 20, 7), 5),
    Case((9, 515, 3), 40),
    Case((20, 30, 600), 33, loss="cross_entropy"),
    Case((70, 40, 5), 513, loss="nll", head="log_softmax"),
    Case((770, 520, 514), 530, "gelu", threads=2),
    Case((2, 10, 3), 1024, loss="cross_entropy", threads=2),
    Case((2, 10, 3), 1025, loss="cross_entropy"),
    Case((13, 3, 3, 1), 20_000, "sigmoid", reduction="sum", threads=2),
]

# Below and above the tiles of tensor cores, and with sums of several.
PRECISION_CASES = [
    Case((5, 7, 3), 9, loss="cross_entropy", dtype="float32"),
    Case((64, 64, 64), 64, dtype="float32"),
    Case((130, 70, 33), 65, "relu", dtype="float32"),
    Case((257, 100, 10), 31, "gelu", loss="cross_entropy", dtype="float32"),
]
COVERING = _covering_cases()


def _ids(case: Case) -> str:
    return case.id


@pytest.mark.parametrize("case", COVERING, ids=_ids)
def test_covering_against_torch(case: Case, torch: Any) -> None:
    problem = draw(case)
    want = torch_gradients(torch, problem)
    assert_close(fastmlp_gradients(problem), want, TOLERANCE[case.dtype])


@pytest.mark.parametrize("case", COVERING, ids=_ids)
def test_covering_against_numpy(case: Case, device: str) -> None:
    problem = draw(case)
    found = fastmlp_gradients(problem, device)
    assert_close(found, numpy_gradients(problem), TOLERANCE[case.dtype])


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        pytest.param("cuda", "tf32", marks=pytest.mark.cuda),
        pytest.param("cuda", "bf16", marks=pytest.mark.cuda),
        pytest.param("cuda", "float32x3", marks=pytest.mark.cuda),
        ("cpu", "bf16"),
    ],
)
@pytest.mark.parametrize("case", PRECISION_CASES, ids=_ids)
def test_rounded_products(case: Case, device: str, precision: str) -> None:
    """They are near the exact ones, and are rounded indeed, where they should be."""
    problem = draw(case)
    found, exact = fastmlp_gradients(problem, device, precision), numpy_gradients(problem)
    assert_close(found, exact, TOLERANCE[precision])
    if precision == "float32x3":
        return
    if case.widths[0] >= 64 or device == "cpu":  # smaller ones need not use tensor cores
        assert relative_error(found["y"], exact["y"]) > 1e-5


@pytest.mark.parametrize("case", _head_cases(), ids=_ids)
def test_every_loss_after_every_activation(case: Case, device: str, torch: Any) -> None:
    problem = draw(case)
    want = torch_gradients(torch, problem)
    assert_close(fastmlp_gradients(problem, device), want, TOLERANCE[case.dtype])


@pytest.mark.parametrize("case", _size_cases(), ids=_ids)
def test_every_size(case: Case, device: str, torch: Any) -> None:
    problem = draw(case)
    want = torch_gradients(torch, problem)
    assert_close(fastmlp_gradients(problem, device), want, TOLERANCE[case.dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", LARGE, ids=_ids)
def test_large(case: Case, dtype: str, device: str, torch: Any) -> None:
    problem = draw(replace(case, dtype=dtype))
    want = torch_gradients(torch, problem)
    assert_close(fastmlp_gradients(problem, device), want, TOLERANCE[dtype])


def _points(dtype: str) -> np.ndarray:
    """Arguments of an activation: dense around 0, wide, in a number that fills no last vector."""
    near, far = np.linspace(-6, 6, 1201), np.linspace(-700, 700, 1202)
    small = np.array([-1e-300, -1e-30, -1e-9, 1e-9, 1e-30, 1e-300])
    return np.concatenate([near, far, small]).astype(dtype)


def _alone(activation: Activation, columns: int, dtype: str, place: str) -> fm.Sequential:
    """A network of the activation; on CUDA after a unit matrix, fused into that layer or not."""
    if place == "cpu":
        return fm.Sequential(activation.module())
    unit = fm.Linear(columns, columns, bias=False, dtype=dtype, device="cuda")
    unit.weight = np.eye(columns)
    between = [] if place == "cuda, fused" else [fm.Identity()]
    return fm.Sequential(unit, *between, activation.module())


def _evaluate(
    activation: Activation, z: np.ndarray, dy: np.ndarray, place: str = "cpu"
) -> dict[str, np.ndarray]:
    x = fm.tensor(z, requires_grad=True)
    y = _alone(activation, z.shape[1], str(z.dtype), place)(x)
    y.backward(dy)
    return {"y": np.asarray(y), "x": x.grad}


ON_CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
FUSED = pytest.param("cuda, fused", marks=pytest.mark.cuda)
PLACES = pytest.mark.parametrize("place", ["cpu", ON_CUDA, FUSED])
ELEMENTWISE = [a for a in ACTIVATIONS.values() if not a.rowwise]


@PLACES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: a.id)
def test_activation_alone(activation: Activation, dtype: str, place: str) -> None:
    """Each value and derivative, not only the largest, over a wide range and at the kinks."""
    z = np.concatenate([_points(dtype), np.array(activation.kinks, dtype)])[:, None]
    dy = np.random.default_rng(0).uniform(0.5, 2, z.shape).astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        want, pullback = activation.numpy(z.astype("float64"))
        want_x = pullback(dy.astype("float64"))
    got = _evaluate(activation, z, dy, place)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": activation.slack * np.finfo(dtype).eps}
    np.testing.assert_allclose(got["y"], want, **tolerance)
    np.testing.assert_allclose(got["x"], want_x, **tolerance)
    low, high = activation.range
    assert got["y"].min() >= low
    assert got["y"].max() <= high


@PLACES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: a.id)
def test_activation_of_special_values(
    activation: Activation, dtype: str, place: str, torch: Any
) -> None:
    """Both zeros, huge values and NaN give what torch gives, each in its own place."""
    largest = float(np.finfo(dtype).max)
    special = [0.0, -0.0, 1.0, np.nan, -1e4, 1e4, -largest / 4, largest / 4, -3.0]
    z = np.array(special, dtype)[:, None]
    dy = np.ones_like(z)
    x = torch.from_numpy(z.copy()).requires_grad_()
    want = activation.torch(torch.nn)(x)
    want.backward(torch.from_numpy(dy))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = _evaluate(activation, z, dy, place)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": activation.slack * np.finfo(dtype).eps}
    np.testing.assert_allclose(got["y"], want.detach().numpy(), **tolerance)
    finite = ~np.isnan(z)  # torch itself gives 0, 1 or NaN for the derivative at NaN
    slope = x.grad.numpy()
    # and NaN for that of GELU's tanh form where the square of z overflows: it is 0 or 1 there
    slope = np.where(np.isnan(slope), (z > 0).astype(dtype), slope)
    np.testing.assert_allclose(got["x"][finite], slope[finite], **tolerance)


@pytest.mark.parametrize("place", ["cpu", ON_CUDA])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 9, 17, 100])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rowwise_activation_alone(name: str, columns: int, dtype: str, place: str) -> None:
    """Rows of very different size, among them one that overflows without the usual shift."""
    rng = np.random.default_rng(columns)
    z = rng.normal(size=(33, columns)) * np.logspace(-3, 3, 33)[:, None]
    z = z.astype(dtype)
    dy = rng.normal(size=z.shape).astype(dtype)
    want, pullback = ACTIVATIONS[name].numpy(z.astype("float64"))
    got = _evaluate(ACTIVATIONS[name], z, dy, place)
    assert relative_error(got["y"], want) < TOLERANCE[dtype]
    np.testing.assert_allclose(got["x"], pullback(dy), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda row: row.id)
def test_loss_alone(loss: Loss, dtype: str) -> None:
    """Value and gradient on plain arrays of every size, without a network before them."""
    for i, shape in enumerate(covering({"rows": SIZES, "columns": SIZES}, seed=4)):
        rng = np.random.default_rng(i)
        shape["columns"] = loss.outputs(shape["columns"])
        y = rng.normal(size=tuple(shape.values()))
        if loss.heads is not None:  # probabilities
            y = 0.01 + 0.98 * rng.uniform(size=y.shape)
        y = y.astype(dtype)
        t = loss.targets(rng, **shape)
        t = t.astype(dtype) if t.dtype.kind == "f" else t
        exact = [a.astype("float64") if a.dtype.kind == "f" else a for a in (y, t)]
        values, gradient = loss.numpy(*exact)
        for reduction, scale in (("sum", 1.0), ("mean", 1 / values.size)):
            x = fm.tensor(y, requires_grad=True)
            loss_fn = loss.module(reduction)
            found = loss_fn(x, t)
            found.backward()
            assert found.item() == pytest.approx(values.sum() * scale, rel=TOLERANCE[dtype])
            assert loss_fn(y, t).item() == found.item()
            assert relative_error(x.grad, gradient * scale) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss_name", ["bce", "bce_with_logits", "cross_entropy", "nll"])
def test_confident_outputs_keep_loss_and_gradient_finite(
    loss_name: str, dtype: str, device: str, torch: Any
) -> None:
    """Logits of +-200 saturate sigmoid and softmax; logarithms are clamped or shifted."""
    spec = LOSSES[loss_name]
    z = np.array([[200, -200, 3], [-200, 200, 0], [90, 60, -40]], dtype)
    t = np.array([0, 0, 1]) if spec.id in ("cross_entropy", "nll") else (z > 0)[::-1].astype(dtype)
    head = ACTIVATIONS[spec.head]
    x = fm.tensor(z, requires_grad=True)
    loss = spec.module("mean")(_alone(head, 3, dtype, device)(x), t)
    loss.backward()
    xt = torch.from_numpy(z.astype("float64")).requires_grad_()
    want = spec.torch(torch.nn, "mean")(
        head.torch(torch.nn)(xt),
        torch.from_numpy(t.astype("float64" if t.dtype.kind == "f" else "int64")),
    )
    assert want.item() > 10
    if spec.id != "bce":  # torch's own gradient there is that of the clamp
        want.backward()
        assert relative_error(x.grad, xt.grad.numpy()) < TOLERANCE[dtype]
    assert loss.item() == pytest.approx(want.item(), rel=TOLERANCE[dtype])
    assert np.isfinite(x.grad).all()
    assert np.abs(x.grad).max() > 0


def test_nan_stays_in_its_row(device: str) -> None:
    """Rows share vectors and tiles, but no values."""
    for widths in [(3, 5, 2), (40, 70, 33)]:
        problem = draw(Case(widths, 21, activation="relu"))
        model, x = problem.fastmlp(device), problem.x.copy()
        clean = model.predict(x)
        x[4, 1] = np.nan
        y = model.predict(x)
        assert np.isnan(y[4]).all()
        np.testing.assert_array_equal(np.delete(y, 4, axis=0), np.delete(clean, 4, axis=0))


def test_the_covering_covers() -> None:
    """Each size in each place; each activation with each loss; both ways to compute."""
    assert len(COVERING) > 250
    for place in (lambda c: c.batch, lambda c: c.widths[0]):
        assert {place(c) for c in COVERING} == set(SIZES)
    outputs = {(name, loss.outputs(size)) for name, loss in LOSSES.items() for size in SIZES}
    assert {(c.loss, c.widths[-1]) for c in COVERING} == outputs
    pairs = {(c.activation, c.loss) for c in COVERING}
    assert len(pairs) == len(ACTIVATIONS) * len(LOSSES)
    assert {(len(c.widths) - 2, c.threads, c.bias) for c in COVERING} >= {
        (depth, threads, bias) for depth in range(6) for threads in (1, 2) for bias in (True, False)
    }
    ways = {draw(c).fastmlp()._compiled().network.strategy(c.batch) for c in COVERING}
    setting = fm.show_config("dicts")["strategy"]
    may = {"automatic": {"lanes", "dense", "sliced"}, "lanes": {"lanes", "dense"}}
    assert ways == may.get(setting, {setting})
