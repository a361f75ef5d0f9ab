"""Products in bfloat16 on the CPU: what is rounded, and that everything else goes on as it does."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of


def rounded(values: Any) -> np.ndarray:
    """To bfloat16, the upper half of a float's bits: to the nearest, ties to even. As float64."""
    bits = np.asarray(values, "float32").view("uint32").astype("uint64")
    upper = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
    return upper.astype("uint32").view("float32").astype("float64")


def data(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype("float32")


def model_of(*sizes: int, precision: str = "bf16") -> fm.Sequential:
    return fm.MLP(sizes, "tanh", precision=precision, seed=0)


def test_a_layer_rounds_its_operands_and_nothing_else() -> None:
    layer = fm.Linear(300, 70, precision="bf16")
    x, dy = data(50, 300), data(50, 70, 1)
    source = fm.tensor(x, requires_grad=True)
    y = layer(source)
    y.backward(dy)
    weight = np.asarray(layer.weight)
    wanted = {
        "y": (y, rounded(x) @ rounded(weight).T + np.asarray(layer.bias, "float64")),
        "dx": (source.grad, rounded(dy) @ rounded(weight)),
        "dW": (layer.weight.grad, rounded(dy).T @ rounded(x)),
        "db": (layer.bias.grad, dy.astype("float64").sum(axis=0)),
    }
    for name, (got, want) in wanted.items():
        np.testing.assert_allclose(np.asarray(got), want, atol=2e-4, err_msg=name)
    exact = x.astype("float64") @ weight.T.astype("float64") + np.asarray(layer.bias)
    assert np.abs(np.asarray(y) - exact).max() > 2e-3


def test_tiny_networks_are_rounded_too() -> None:
    """The choice of a strategy for a batch must not change what a row gives."""
    model = model_of(2, 10, 3)
    exact = model_of(2, 10, 3, precision="float32")
    assert not np.array_equal(model.predict(data(4, 2)), exact.predict(data(4, 2)))


@pytest.mark.parametrize("optimizer", [fm.SGD, fm.Adam, fm.RMSprop, fm.NAdam, fm.Adagrad])
def test_fit_is_the_five_lines(optimizer: Callable[..., Any]) -> None:
    x, t = data(96, 40), data(96, 7, 1)
    fitted, stepped = model_of(40, 70, 50, 7), model_of(40, 70, 50, 7)
    trainer = fm.Trainer(fitted, optimizer(fitted.parameters(), lr=0.01), fm.MSELoss())
    trainer.fit(x, t, max_epoch=3, batch_size=32, shuffle=False)
    rule, loss_fn = optimizer(stepped.parameters(), lr=0.01), fm.MSELoss()
    for _ in range(3):
        for i in range(0, 96, 32):
            loss = loss_fn(stepped(x[i : i + 32]), t[i : i + 32])
            rule.zero_grad()
            loss.backward()
            rule.step()
    for ours, theirs in zip(fitted.parameters(), stepped.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_training_gets_as_far_as_in_float32() -> None:
    x = data(512, 64)
    t = np.sin(x[:, :4]).astype("float32")
    ends = {}
    for precision in ("float32", "bf16"):
        model = model_of(64, 128, 4, precision=precision)
        trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=3e-3), fm.MSELoss())
        ends[precision] = trainer.fit(x, t, max_epoch=30, batch_size=64, seed=0).loss[-1]
    assert ends["bf16"] < 1.2 * ends["float32"] < 0.1


def test_the_same_bits_for_any_number_of_threads() -> None:
    predictions = []
    for threads in (1, 2, 3):
        with fm.threads(threads):
            model = model_of(100, 256, 256, 3)
            trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), fm.MSELoss())
            trainer.fit(data(256, 100), data(256, 3, 1), max_epoch=2, batch_size=64, seed=0)
            predictions.append(model.predict(data(256, 100)))
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


def test_copies_keep_the_precision() -> None:
    model = model_of(20, 30, 2)
    want = model.predict(data(5, 20))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.precision == "bf16"
        np.testing.assert_array_equal(twin.predict(data(5, 20)), want)
    assert model.to(precision="float32").precision == "float32"
    assert not np.array_equal(model.predict(data(5, 20)), want)


@pytest.mark.parametrize("isa", fm.show_config("dicts")["available isas"])
def test_every_instruction_set(isa: str) -> None:
    """Sums differ in their order alone."""
    code = """
        import numpy as np, fastmlp as fm
        model = fm.MLP([200, 300, 5], "tanh", precision="bf16", seed=0)
        x = np.random.default_rng(0).normal(size=(40, 200)).astype("float32")
        print(model.predict(x).tolist())
        print(fm.show_config("dicts")["bf16 by"])
    """
    values, name = output_of(code, FASTMLP_ISA=isa).strip().splitlines()
    assert name in {"avx512": ("avx512_bf16", "avx2")}.get(isa, (isa,))
    model = fm.MLP([200, 300, 5], "tanh", precision="bf16", seed=0)
    np.testing.assert_allclose(np.array(eval(values)), model.predict(data(40, 200)), atol=2e-3)
