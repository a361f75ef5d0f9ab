"""`predict(X, return_std=True)` by dropout: what it means, and where it does not."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from fastmlp.sklearn import MLPQuantileRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = X[:, 0] - X[:, 1]


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_moments_of_one_hidden_layer(p):
    """The deviation of a sum of units, each there with probability 1 - p, in closed form."""
    one = MLPRegressor(
        hidden_layer_sizes=(8,), dropout=p, max_iter=30, random_state=0, dtype="float64"
    ).fit(X, Y)
    hidden = np.maximum(X @ one.coefs_[0] + one.intercepts_[0], 0) * one.coefs_[1].ravel()
    expected = np.sqrt((hidden**2).sum(axis=1) * p / (1 - p))
    mean, std = one.predict(X, return_std=True, samples=20_000)
    np.testing.assert_allclose(std, expected, rtol=0.05)
    np.testing.assert_allclose(mean, one.predict(X), atol=5 * expected.max() / np.sqrt(20_000))
    few = [one.predict(X[:5], return_std=True, samples=4) for _ in range(2)]
    np.testing.assert_array_equal(*few)
    one.set_params(random_state=None)
    few = [one.predict(X[:5], return_std=True, samples=4)[1] for _ in range(2)]
    assert (few[0] != few[1]).any()


def test_targets_shapes_and_other_layers():
    y = np.stack([Y, 100 + 10 * Y], axis=1)
    one = MLPRegressor(
        hidden_layer_sizes=(16, 16), dropout=[0.0, 0.3], batch_norm=True, standardize_target=True,
        max_iter=200, random_state=0, batch_size=40,
    ).fit(X, y)  # fmt: skip
    before = one.predict(X)
    mean, std = one.predict(X.astype("f4"), return_std=True)
    assert mean.shape == std.shape == (80, 2)
    assert abs(mean[:, 1].mean() - 100) < 3
    assert 5 < std[:, 1].mean() / std[:, 0].mean() < 20
    np.testing.assert_array_equal(one.predict(X), before)  # nothing has been left in training
    quantiles = MLPQuantileRegressor(dropout=0.2, max_iter=5).fit(X, Y)
    assert quantiles.predict(X, return_std=True)[1].shape == (80, 3)
    counts = MLPRegressor("poisson", dropout=0.2, max_iter=5).fit(X, np.abs(Y))
    assert (counts.predict(X, return_std=True)[0] > 0).all()


@pytest.mark.parametrize(
    ("options", "given", "error", "message"),
    [
        ({}, {"return_std": True}, ValueError, "return_std: expected False .* without dropout"),
        ({"dropout": 0.1}, {"return_std": 1}, TypeError, "return_std: expected"),
        ({"dropout": 0.1}, {"return_std": True, "samples": 1}, ValueError, "samples: expected"),
        ({"dropout": 0.1}, {"return_std": True, "samples": 2.5}, TypeError, "samples: expected"),
    ],
)
def test_wrong_arguments(options, given, error, message):
    one = MLPRegressor(max_iter=2, **options).fit(X, Y)
    with pytest.raises(error, match=message):
        one.predict(X, **given)
