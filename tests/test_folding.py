"""Prediction folds running statistics into the affine layer before or behind them."""

from collections.abc import Callable

import numpy as np
import pytest

import fastmlp as fm

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _folding_models() -> dict[str, Callable[[], list[fm.Module]]]:
    return {
        "behind": lambda: [fm.Linear(3, 6, bias=False), fm.BatchNorm1d(6), fm.ReLU()],
        "before": lambda: [fm.Tanh(), fm.BatchNorm1d(3), fm.Linear(3, 4)],
        "both": lambda: [
            *(fm.BatchNorm1d(3), fm.Linear(3, 6), fm.BatchNorm1d(6), fm.Dropout(0.5), fm.GELU()),
            *(fm.BatchNorm1d(6, affine=False), fm.Linear(6, 2), fm.BatchNorm1d(2)),
        ],
        "standardize": lambda: [fm.Standardize(3), fm.Linear(3, 4), fm.Tanh(), fm.Linear(4, 2)],
        "residual": lambda: [
            fm.Residual(fm.BatchNorm1d(3), fm.ReLU(), fm.Linear(3, 5), fm.BatchNorm1d(5))
        ],
        "none": lambda: [fm.BatchNorm1d(3), fm.Softmax(1)],
        "far": lambda: [fm.Standardize(3), fm.Linear(3, 2)],
    }


@pytest.mark.parametrize("kind", _folding_models())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prediction_is_that_of_the_layers(kind: str, dtype: str, rng: np.random.Generator) -> None:
    """A recorded call in evaluation mode runs layer by layer."""
    model = fm.Sequential(*_folding_models()[kind](), dtype=dtype)
    centre = 1e5 if kind == "far" else 1.0
    x = (centre + rng.normal(size=(50, 3))).astype(dtype)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else TIGHT

    def check() -> None:
        model.eval()
        np.testing.assert_allclose(model.predict(x), model(x), **tolerance)
        np.testing.assert_array_equal(model.predict(x[:1]), model.predict(x)[:1])
        np.testing.assert_array_equal(model.predict(x[7]), model.predict(x)[7])
        model.train()

    check()
    for module in model.modules():
        if isinstance(module, fm.Standardize):
            module.update(x)
    for parameter in model.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    check()
    model(x)  # changes running statistics
    check()
    next(iter(model.parameters())).data[...] *= 2  # through a view that is gone
    check()
    view = list(model.parameters())[-1].data
    check()
    view += 1
    check()
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.1), fm.MSELoss())
    t = rng.normal(size=model.predict(x).shape)
    history = trainer.fit(x, t, max_epoch=2, batch_size=25, validation_data=(x, t))
    check()
    want = fm.MSELoss()(model.predict(x), t).item()
    assert history.validation_loss[-1] == pytest.approx(want, rel=1e-4)
    model.load_state_dict({key: value * 0 + 1 for key, value in model.state_dict().items()})
    check()


def test_prediction_has_the_bits_of_the_folded_layer(rng: np.random.Generator) -> None:
    linear, norm = fm.Linear(5, 7), fm.BatchNorm1d(7)
    for parameter in (*norm.parameters(), norm.running_mean):
        parameter[...] = rng.normal(size=7)
    norm.running_var = rng.uniform(0.5, 2, size=7)
    scale = 1 / np.sqrt(np.asarray(norm.running_var, "f8") + norm.eps) * np.asarray(norm.weight)
    twin = fm.Linear(5, 7)
    twin.weight = np.asarray(linear.weight, "f8") * scale[:, None]
    centred = np.asarray(linear.bias, "f8") - np.asarray(norm.running_mean)
    twin.bias = centred * scale + np.asarray(norm.bias)
    x = rng.normal(size=(40, 5)).astype("f4")
    found = fm.Sequential(linear, norm, fm.Tanh()).predict(x)
    np.testing.assert_array_equal(found, fm.Sequential(twin, fm.Tanh()).predict(x))
