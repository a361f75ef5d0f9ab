"""Tables, targets and parameters that are wrong: the error, and that it changes nothing."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn.exceptions import NotFittedError

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPQuantileRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)
R = X[:, 0] * 2
HUGE = np.where(np.arange(40)[:, None] == 3, 1e39, X)
NAN = np.where(np.arange(40)[:, None] == 3, np.nan, X)
TEXT = np.array([["a", "b", "c"]] * 40)
BOTH = ((MLPClassifier, Y), (MLPRegressor, R), (MLPQuantileRegressor, R))

# Of all estimators: parameters, X, what is said
TABLES = [
    ({}, NAN, "Input X contains NaN"),
    ({}, np.full((40, 3), np.inf), "Input X contains infinity"),
    ({}, HUGE, "too large for dtype.'float32'"),
    ({}, TEXT, "could not convert string to float"),
    ({}, X[:, 0], "Expected 2D array"),
    ({}, X[:30], "inconsistent numbers of samples"),
    ({}, X[:0], "0 sample"),
    ({}, X[:, :0], "0 feature"),
    ({}, X + 1j, "Complex data not supported"),
    ({"hidden_layer_sizes": (5, 0)}, X, "hidden_layer_sizes must be > 0"),
    ({"hidden_layer_sizes": -1}, X, "hidden_layer_sizes"),
    ({"activation": "swish"}, X, "activation"),
    ({"activation": "softmax"}, X, "activation"),
    ({"activation": ["relu", "swish"], "hidden_layer_sizes": (3, 3)}, X, "activation"),
    ({"activation": ["relu"], "hidden_layer_sizes": (3, 3)}, X, "each of the 2 hidden layers"),
    ({"dropout": 1.0}, X, "dropout"),
    ({"dropout": [0.5, 0.5]}, X, "each of the 1 hidden layers"),
    ({"dropout": [1.5]}, X, "from 0 to below 1"),
    ({"dropout": 0.5, "solver": "lbfgs"}, X, "'lbfgs'"),
    ({"batch_norm": True, "solver": "lbfgs"}, X, "'lbfgs'"),
    ({"dtype": "float16"}, X, "dtype"),
    ({"solver": "rmsprop"}, X, "solver"),
    ({"max_grad_norm": 0}, X, "max_grad_norm"),
    ({"max_iter": 0}, X, "max_iter"),
    ({"validation_fraction": 0.01, "early_stopping": True}, X, "validation|test_size"),
]


@pytest.mark.parametrize(("cls", "y"), BOTH)
@pytest.mark.parametrize(("options", "x", "message"), TABLES)
def test_fit_refuses(cls, y, options, x, message):
    given = {"hidden_layer_sizes": (4,), "max_iter": 2, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        cls(**given).fit(x, y)


def test_float64_takes_huge_values():
    MLPClassifier(dtype="float64", max_iter=1).fit(HUGE / 1e30, Y)


# Estimator, y, what is said
TARGETS = [
    (MLPClassifier(), None, "requires y"),
    (MLPClassifier(), R, "Unknown label type"),
    (MLPClassifier(), np.where(Y, np.nan, 0.0), "contains NaN"),
    (MLPClassifier(), np.stack([Y, Y + 5], axis=1), "Multioutput target data is not supported"),
    (MLPClassifier(class_weight={"yes": 2.0}), Y, "class_weight|yes|not in"),
    (MLPClassifier(class_weight="equal"), Y, "class_weight"),
    (MLPRegressor(), None, "requires y"),
    (MLPRegressor(), np.array(["a", "b"] * 20), "could not convert string to float"),
    (MLPRegressor(), np.where(Y, np.nan, R), "contains NaN"),
    (MLPRegressor(), np.where(Y, 1e39, R), "too large"),
    (MLPRegressor("huber", solver="lm"), R, "loss: expected 'squared_error' .* got 'huber'"),
    (MLPRegressor(solver="lm", dropout=0.5), R, "got 'lm'"),
    (MLPRegressor("poisson"), R, "out of the valid range of the loss 'poisson'"),
    (MLPRegressor("quantile"), np.stack([R, R], axis=1), "one target"),
    (MLPRegressor("quantile", quantile=1.0), R, "quantile"),
    (MLPRegressor("median"), R, "loss"),
    (MLPRegressor("huber", huber_delta=0), R, "huber_delta"),
    (MLPQuantileRegressor(1.0), R, "quantiles"),
    (MLPQuantileRegressor((0.5, 1.5)), R, "quantiles: expected numbers between 0 and 1"),
    (MLPQuantileRegressor(), np.stack([R, R], axis=1), "one target"),
]


@pytest.mark.parametrize(("estimator", "y", "message"), TARGETS)
def test_targets_are_refused(estimator, y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y)


@pytest.mark.parametrize(("cls", "y"), BOTH)
def test_weights_and_rows_to_validate_with_are_refused(cls, y):
    def fails(message, *weights, **given):
        with pytest.raises((ValueError, TypeError), match=message):
            cls(max_iter=1).fit(X, y, *weights, **given)

    fails("inconsistent|sample_weight", np.ones(39))
    fails("NaN", np.full(40, np.nan))
    fails("[Ss]ample_?weight|sum|weight", np.zeros(40))
    fails("expected both", X_val=X)
    fails("expected both", y_val=y)
    fails("without X_val", sample_weight_val=np.ones(40))
    fails("3 features", X_val=X[:, :2], y_val=y)
    fails("inconsistent", X_val=X, y_val=y[:10])
    fails("NaN", X_val=NAN, y_val=y)
    fails("inconsistent|sample_weight", X_val=X, y_val=y, sample_weight_val=np.ones(3))
    if cls is MLPClassifier:
        fails("classes not in", X_val=X, y_val=y + 1)


@pytest.mark.parametrize(("cls", "y"), BOTH)
def test_predict_refuses(cls, y):
    with pytest.raises(NotFittedError, match="not fitted"):
        cls().predict(X)
    model = cls(max_iter=2).fit(X, y)
    before = model.predict(X)
    for x, message in (
        (X[:, :2], "expecting 3 features"),
        (np.hstack([X, X]), "expecting 3 features"),
        (NAN, "contains NaN"),
        (HUGE, "too large"),
        (X[0], "Expected 2D array"),
        (TEXT, "could not convert string"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(x)
    np.testing.assert_array_equal(model.predict(X), before)


def test_partial_fit_refuses():
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier().partial_fit(X, Y)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        MLPRegressor(early_stopping=True).partial_fit(X, R)
    with pytest.raises(AttributeError, match="partial_fit"):
        _ = MLPRegressor(solver="lbfgs").partial_fit
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1])
    model = MLPClassifier((4,)).partial_fit(X, Y, classes=[0, 1])
    before = model.predict_proba(X)
    for x, y, message in (
        (X[:, :2], Y, "expecting 3 features"),
        (X, Y + 1, "classes not in"),
        (NAN, Y, "contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(x, y)
    with pytest.raises(ValueError, match="not the same"):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="hidden_layer_sizes: expected layers of"):
        model.set_params(hidden_layer_sizes=(5,)).partial_fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_warm_starts_refuse_other_classes_and_layers():
    model = MLPClassifier((4,), warm_start=True, max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="same classes as in the previous"):
        model.fit(X, Y + 1)
    with pytest.raises(ValueError, match="hidden_layer_sizes: expected layers of"):
        model.set_params(hidden_layer_sizes=(5,)).fit(X, Y)


def test_a_network_that_diverges_is_an_error():
    model = MLPRegressor(solver="sgd", learning_rate_init=1e6, max_iter=200)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.fit(1000 * X, 1000 * R)


def test_odd_tables_are_taken():
    one = MLPClassifier(max_iter=2).fit(X, np.full(40, "only"))
    assert set(one.predict(X)) == {"only"}
    np.testing.assert_array_equal(one.predict_proba(X), np.ones((40, 1)))
    for cls, y in BOTH:
        assert np.isfinite(cls(max_iter=2).fit(np.ones((40, 3)), y).predict(X).astype(float)).all()
        cls(max_iter=2).fit(X[:1], y[:1]).predict(X)
        cls(max_iter=2).fit(X.tolist(), y.tolist()).predict(X.tolist())
        cls(max_iter=2).fit(X.astype(np.float16), y).predict((10 * X).astype(int))
        cls(max_iter=2).fit(np.asfortranarray(X)[::-1], y).predict(X[:, ::-1])
    assert MLPRegressor(hidden_layer_sizes=(), max_iter=2).fit(X, R).n_layers_ == 2
    column = MLPRegressor(max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="column-vector"):
        column.fit(X, R[:, None])
    assert column.predict(X).shape == (40,)


def test_activations_of_rows_and_with_weights_are_refused():
    for activation in (fm.PReLU(), fm.Softmax(), fm.ReLU):
        with pytest.raises((ValueError, TypeError), match="activation"):
            MLPClassifier(activation=activation, max_iter=1).fit(X, Y)
        with pytest.raises((ValueError, TypeError), match="activation"):
            MLPClassifier(activation=[activation], max_iter=1).fit(X, Y)


@pytest.mark.parametrize(("cls", "y"), BOTH)
def test_a_refused_fit_leaves_the_old_network(cls, y):
    model = cls(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, y)
    before, names = model.predict(X), set(vars(model))
    for x, t, more in (
        (HUGE, y, {}),
        (X[:, :2], y[:30], {}),
        (X[:, :2], y, {"X_val": NAN[:, :2], "y_val": y}),
        (X[:, :2], y, {"X_val": X[:, :2]}),
        (X[:, :2], y, {"sample_weight": np.full(40, np.nan)}),
    ):
        with pytest.raises(ValueError, match=r"."):
            model.fit(x, t, **more)
        np.testing.assert_array_equal(model.predict(X), before)
        assert set(vars(model)) == names
