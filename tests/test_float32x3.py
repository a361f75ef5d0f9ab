"""float32 products by three of TF32 on a device: errors beside float32's; infinities and NaNs."""

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error

pytestmark = pytest.mark.cuda


def data(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype("float32")


def products(precision: str, x: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    layer = fm.Linear(x.shape[1], dy.shape[1], bias=False).to("cuda", precision=precision)
    layer.weight[...] = data(dy.shape[1], x.shape[1], 2)
    source = fm.tensor(x, requires_grad=True)
    y = layer(source)
    y.backward(dy)
    return {"y": np.asarray(y), "dx": source.grad, "dW": np.asarray(layer.weight.grad)}


@pytest.mark.parametrize("shape", [(40, 4096, 36), (40, 36, 4096), (4096, 40, 36)])
def test_sums_of_4096_terms_are_as_exact_as_in_float32(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    x, dy = data(rows, inputs, 0), data(rows, outputs, 1)
    w = data(outputs, inputs, 2).astype("float64")
    want = {"y": x @ w.T, "dx": dy @ w, "dW": dy.T.astype("float64") @ x}
    errors = {
        precision: {name: relative_error(got, want[name]) for name, got in found.items()}
        for precision in ("float32", "float32x3", "tf32")
        for found in [products(precision, x, dy)]
    }
    for name in want:
        assert errors["float32x3"][name] <= 2 * errors["float32"][name] + 2e-7
        assert errors["float32x3"][name] < 1e-6
        assert errors["tf32"][name] > 1e-4


def test_infinities_and_nans_are_those_of_float32() -> None:
    x, dy = data(40, 70, 0), data(40, 36, 1)
    plain = products("float32x3", x, dy)
    for place, value in {(3, 5): np.inf, (9, 0): -np.inf, (20, 69): np.nan}.items():
        x[place] = value
    found, want = products("float32x3", x, dy), products("float32", x, dy)
    for name, values in want.items():
        finite = np.isfinite(values)
        np.testing.assert_array_equal(found[name][~finite], values[~finite])
        np.testing.assert_array_equal(found[name][finite], plain[name][finite])
    assert np.isinf(want["y"][[3, 9]]).all()
    assert np.isnan(want["y"][20]).all()
    assert np.isfinite(want["y"]).sum() == 37 * 36
