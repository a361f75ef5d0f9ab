"""Predictions of few rows on a device, most of them in one launch, beside the CPU's."""

from collections.abc import Callable

import numpy as np
import pytest

import fastmlp as fm

MODELS: dict[str, Callable[[str], fm.Module]] = {
    "tiny": lambda dtype: fm.MLP([2, 10, 3], "tanh", dtype=dtype, seed=0),
    "classes": lambda dtype: fm.Sequential(
        fm.Linear(20, 40, dtype=dtype), fm.ReLU(), fm.Linear(40, 5, dtype=dtype), fm.Softmax()
    ),
    "dropout": lambda dtype: fm.Sequential(
        *(fm.Linear(6, 30, bias=False, dtype=dtype), fm.GELU(), fm.Dropout(0.5)),
        *(fm.Linear(30, 30, dtype=dtype), fm.Dropout(0.5), fm.LogSoftmax()),
    ),
    "wide": lambda dtype: fm.MLP([784, 100, 10], "relu", dtype=dtype, seed=0),
    "wide classes": lambda dtype: fm.Sequential(
        fm.Linear(701, 33, dtype=dtype), fm.SiLU(), fm.Linear(33, 7, dtype=dtype), fm.Softmax()
    ),
    "one layer": lambda dtype: fm.Sequential(fm.Linear(900, 20, dtype=dtype), fm.LogSoftmax()),
    "several wide": lambda dtype: fm.MLP([50, 300, 200, 4], "relu", dtype=dtype, seed=0),
    "other layers": lambda dtype: fm.Sequential(
        fm.Linear(6, 12, dtype=dtype), fm.LayerNorm(12, dtype=dtype), fm.Linear(12, 2, dtype=dtype)
    ),
}


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_few_rows(name: str, dtype: str) -> None:
    fm.manual_seed(0)
    model = MODELS[name](dtype)
    columns = model[0].in_features
    x = np.random.default_rng(0).normal(size=(11, columns)).astype(dtype)
    want = model.predict(x)
    model.to("cuda")
    tolerance = (
        {"rtol": 1e-4, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    )
    for rows in (1, 2, 4, 5, 8, 9, 11):
        y = model.predict(x[:rows])
        np.testing.assert_allclose(y, want[:rows], **tolerance)
        np.testing.assert_array_equal(model.predict(x[:rows]), y)
        np.testing.assert_array_equal(model.predictor(rows)().shape, y.shape)
    np.testing.assert_allclose(model.predict(x[3]), want[3], **tolerance)
