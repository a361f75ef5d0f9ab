"""Any chain of layers, on data of any form: shapes that nobody thought of in advance."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
import reference
from specs import ACTIVATIONS, TOLERANCE

# Smooth ones: near a kink rounding would decide the derivative.
SMOOTH = [name for name, row in ACTIVATIONS.items() if not row.kinks]
sizes = st.integers(1, 20) | st.integers(1, 140) | st.sampled_from([31, 32, 33, 64, 65, 128, 257])


@st.composite
def chains(draw: Any) -> list[Any]:
    """Widths (integers, each an affine layer) and activations (names) in any order."""
    layers = draw(st.lists(sizes | st.sampled_from(SMOOTH), min_size=1, max_size=8))
    return layers if any(isinstance(layer, int) for layer in layers) else [*layers, draw(sizes)]


def _build(
    chain: list[Any], fan_in: int, bias: bool, dtype: str, rng: np.random.Generator
) -> tuple[fm.Sequential, list[reference.Function]]:
    modules, functions = [], []
    for layer in chain:
        if isinstance(layer, str):
            modules.append(ACTIVATIONS[layer].module())
            functions.append(ACTIVATIONS[layer].numpy)
            continue
        linear = fm.Linear(fan_in, layer, bias=bias, dtype=dtype)
        for parameter in linear.parameters():
            parameter[...] = rng.normal(scale=fan_in**-0.5, size=parameter.shape)
        modules.append(linear)
        functions.append(reference.Affine(*[np.asarray(p, "float64") for p in linear.parameters()]))
        fan_in = layer
    return fm.Sequential(*modules), functions


@settings(max_examples=300)
@given(
    chain=chains(),
    rows=sizes,
    fan_in=sizes,
    bias=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_gradients_of_any_chain(
    chain: list[Any], rows: int, fan_in: int, bias: bool, dtype: str, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    model, functions = _build(chain, fan_in, bias, dtype, rng)
    x = fm.tensor(rng.normal(size=(rows, fan_in)).astype(dtype), requires_grad=True)
    with fm.threads(threads):
        y = model(x)
        dy = rng.normal(size=y.shape).astype(dtype)
        y.backward(dy)
        prediction = model.predict(x)

    want = x.numpy().astype("float64")
    pullbacks = []
    for function in functions:
        want, pullback = function(want)
        pullbacks.append(pullback)
    gradient = dy.astype("float64")
    for pullback in reversed(pullbacks):
        gradient = pullback(gradient)

    assert y.dtype == prediction.dtype == x.grad.dtype == dtype
    _assert_near(y, want, dtype)
    _assert_near(prediction, want, dtype)
    _assert_near(x.grad, gradient, dtype)
    grads = [g for f in functions if isinstance(f, reference.Affine) for g in f.grads]
    for parameter, expected in zip(model.parameters(), grads, strict=True):
        _assert_near(parameter.grad, expected, dtype)


def _assert_near(got: Any, want: np.ndarray, dtype: str) -> None:
    """Relative to the largest value, or to 1e-3: softmax after softmax can cancel almost wholly."""
    assert got.shape == want.shape
    scale = max(np.abs(want).max(), 1e-3)
    assert np.abs(np.asarray(got, "float64") - want).max() < TOLERANCE[dtype] * scale


def _layouts(x: np.ndarray) -> dict[str, Any]:
    """The same numbers in other places of memory."""
    rows, columns = x.shape
    padded = np.zeros((2 * rows, 3 * columns + 1), x.dtype)
    padded[::2, 1::3][:, :columns] = x
    shifted = np.zeros(x.nbytes + 1, "uint8")[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "Fortran order": np.asfortranarray(x),
        "with gaps": padded[::2, 1::3][:, :columns],
        "backwards": x[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": shifted,
        "other byte order": x.astype(x.dtype.newbyteorder()),
        "read-only": read_only,
        "list": x.tolist(),
        "memoryview": memoryview(x),
    }


@given(rows=st.integers(1, 70), columns=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_the_layout_of_data_does_not_matter(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype("float32")
    t = rng.normal(size=(rows, 2)).astype("float32")
    fm.manual_seed(seed)
    model = fm.MLP([columns, 9, 2], "tanh")
    state = model.state_dict()
    want, want_loss = model.predict(x), fm.MSELoss()(model(x), t).item()

    def fitted(x: Any, t: Any) -> list[np.ndarray]:
        model.load_state_dict(state)
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
        trainer.fit(x, t, max_epoch=1, batch_size=16, seed=1)
        return [np.array(p) for p in model.parameters()]

    want_weights = fitted(x, t)
    assert not np.array_equal(want_weights[0], state["0.weight"])
    targets = _layouts(t)
    for name, form in _layouts(x).items():
        model.load_state_dict(state)
        np.testing.assert_array_equal(model.predict(form), want, err_msg=name)
        assert fm.MSELoss()(model(form), targets[name]).item() == want_loss, name
        for got, expected in zip(fitted(form, targets[name]), want_weights, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "bool", "float16"])
def test_whole_numbers_are_converted(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, size=(9, 4)).astype(dtype)
    model = fm.MLP([4, 5, 1], "sigmoid", seed=0)
    assert model.predict(x).dtype == np.float32
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype("float32")))


@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 70),
    batch_size=st.integers(1, 310),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_a_row_is_a_batch_of_one(rows: int, columns: int, batch_size: int, dtype: str) -> None:
    """What a row gives does not depend on the rows beside it, beyond rounding."""
    fm.manual_seed(rows)
    model = fm.MLP([columns, 33, 3], "gelu", dtype=dtype)
    x = np.random.default_rng(rows).normal(size=(rows, columns)).astype(dtype)
    whole = model.predict(x)
    assert model.predict(x[0]).shape == (3,)
    single = np.stack([model.predict(row) for row in x[:5]])
    parts = np.concatenate(
        [model.predict(x[i : i + batch_size]) for i in range(0, rows, batch_size)]
    )
    tolerance = {"rtol": 0, "atol": 50 * np.finfo(dtype).eps}
    np.testing.assert_allclose(single, whole[:5], **tolerance)
    np.testing.assert_allclose(parts, whole, **tolerance)
