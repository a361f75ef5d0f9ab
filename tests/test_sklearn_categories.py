"""Categories, embeddings and missing values inside the estimators."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")
pd = pytest.importorskip("pandas")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from fastmlp.sklearn import (  # noqa: E402
    MLPClassifier,
    MLPQuantileRegressor,
    MLPRegressor,
)

ROWS = 1200
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def table():
    """A number, a column of 30 cities, one of 3 kinds, a number that is missing at times."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=30)
    city, kind = rng.integers(0, 30, ROWS), rng.choice(list("abc"), ROWS)
    x = pd.DataFrame(
        {
            "area": 1000 + 50 * rng.normal(size=ROWS),
            "city": pd.Categorical([f"city {i}" for i in city]),
            "kind": pd.Categorical(kind),
            "age": np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS)),
        }
    )
    y = (x["area"] - 1000) / 50 + 2 * effects[city] + (kind == "a") + 0.1 * rng.normal(size=ROWS)
    return x, y.rename("price")


def regressor(**parameters):
    given = {"categorical_features": "from_dtype", "missing": "indicator", "random_state": 0}
    return MLPRegressor(**{**given, "learning_rate_init": 0.01, "max_iter": 60, **parameters})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True},
        {"solver": "sgd", "learning_rate": "adaptive", "max_iter": 150},
        {"solver": "lbfgs"},
        {"preset": "tabular", "max_iter": 40},
        {"dtype": "float64", "max_grad_norm": 5.0},
        {"loss": "huber"},
    ],
    ids=str,
)
def test_it_learns_what_the_cities_are_worth(table, parameters):
    x, y = table
    model = regressor(**parameters).fit(x[:900], y[:900])
    assert model.score(x[900:], y[900:]) > 0.95
    # A number, an indicator and its number, three kinds; and of a city a row, or one of 30 columns.
    embedded = parameters.get("solver") != "lbfgs"
    width = round(1.6 * 30**0.56) if embedded else 30
    assert model.coefs_[0].shape[0] == 3 + 3 + width
    assert model.n_features_in_ == 4
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(x), model.predict(x))
    assert clone(model).get_params() == model.get_params()


def test_the_same_seed_gives_the_same_model(table):
    x, y = table
    first, second = (regressor(max_iter=5).fit(x, y).predict(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.any(first != regressor(max_iter=5, random_state=1).fit(x, y).predict(x))


def test_a_city_that_nobody_has_seen(table):
    x, y = table
    model = regressor().fit(x, y)
    others = x.assign(city="elsewhere", kind="d")
    assert np.isfinite(model.predict(others)).all()
    nowhere = x.assign(city=None)
    np.testing.assert_allclose(model.predict(others.assign(kind=x["kind"])), model.predict(nowhere))


def test_a_classifier_by_names_places_and_masks(table):
    x, y = table
    t = np.where(y > y.mean(), "dear", "cheap")
    given = {"missing": "indicator", "max_iter": 40, "random_state": 0, "learning_rate_init": 0.01}
    expected = None
    for columns in (["city", "kind"], [1, 2], [False, True, True, False]):
        model = MLPClassifier(categorical_features=columns, **given).fit(x, t)
        assert model.score(x, t) > 0.9
        probabilities = model.predict_proba(x)
        if expected is not None:
            np.testing.assert_array_equal(probabilities, expected)
        expected = probabilities
    codes = np.column_stack([x["area"], x["city"].cat.codes, x["kind"].cat.codes, x["age"]])
    array = MLPClassifier(categorical_features=[1, 2], **given).fit(codes, t)
    assert array.score(codes, t) > 0.9


def test_partial_fits_and_warm_starts_go_on(table):
    x, y = table
    model = regressor(max_iter=5, warm_start=True)
    losses = []
    for _ in range(4):
        model.fit(x, y)
        losses.append(model.loss_)
    assert losses[-1] < losses[0]
    model = regressor()
    for _ in range(5):
        model.partial_fit(x, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert len(model.loss_curve_) == 5


def test_validation_data_weights_and_quantiles(table):
    x, y = table
    weights = np.r_[np.ones(600), np.zeros(ROWS - 600)]
    model = regressor(max_iter=30, early_stopping=True)
    model.fit(x, y, weights, X_val=x[600:], y_val=y[600:])
    assert len(model.validation_loss_curve_) == model.n_iter_
    alone = regressor(max_iter=30).fit(x[:600], y[:600])
    assert abs(model.score(x[:600], y[:600]) - alone.score(x[:600], y[:600])) < 0.1
    quantiles = MLPQuantileRegressor(
        categorical_features="from_dtype", missing="indicator", max_iter=30, random_state=0
    ).fit(x, y)
    assert np.all(np.diff(quantiles.predict(x), axis=1) >= 0)


def test_in_a_search(table):
    x, y = table
    search = GridSearchCV(regressor(max_iter=10), {"hidden_layer_sizes": [(8,), (32,)]}, cv=3)
    assert search.fit(x, y).best_params_ == {"hidden_layer_sizes": (32,)}


def test_callbacks_see_the_epochs(table):
    x, y = table
    seen = []
    regressor(max_iter=7, callbacks=lambda info: seen.append(info.epoch) or info.epoch == 3).fit(
        x, y
    )
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({"missing": "error"}, {}, "NaN"),
        ({"categorical_features": None}, {}, "expected numbers, got 'city"),
        ({"categorical_features": ["town"]}, {}, "categorical_features: expected names in"),
        ({"categorical_features": [7]}, {}, "categorical_features: expected places"),
        ({"categorical_features": [True]}, {}, r"categorical_features: expected a mask of shape"),
        ({}, {"area": np.inf}, "infinity"),
    ],
)
def test_wrong_tables(table, parameters, change, message):
    x, y = table
    with pytest.raises(ValueError, match=message):
        regressor(**parameters).fit(x.assign(**change), y)


def test_wrong_tables_to_predict(table):
    x, y = table
    model = regressor(max_iter=3).fit(x, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x[["city", "area", "kind", "age"]])
    with pytest.raises(ValueError, match="feature"):
        model.predict(x.drop(columns="age"))
    with pytest.raises(ValueError, match="expected numbers, got 'wide'"):
        model.predict(x.assign(area="wide"))
    with pytest.raises(ValueError, match="missing"):
        MLPRegressor(missing="mean").fit(x, y)


def test_weights_of_rows_count_in_means_and_scales(table):
    x, y = table
    numbers = x[["area", "age"]]
    twice = np.r_[0:600, 0:600]
    given = {"missing": "indicator", "dtype": "float64", "solver": "lbfgs", "random_state": 0}
    weighted = MLPRegressor(**given, max_iter=20)
    weighted.fit(numbers, y, np.r_[np.full(600, 2.0), np.zeros(600)])
    repeated = MLPRegressor(**given, max_iter=20).fit(numbers.iloc[twice], y.iloc[twice])
    np.testing.assert_allclose(weighted.predict(numbers), repeated.predict(numbers), rtol=1e-6)


def test_a_warm_start_keeps_the_columns(table):
    x, y = table
    numbers = MLPRegressor(max_iter=2, warm_start=True).fit(x[["area", "age"]].fillna(0.0), y)
    numbers.set_params(categorical_features=[0])
    before = numbers.coefs_[0].copy()
    with pytest.raises(ValueError, match=r"categorical_features: expected None, as in the fit"):
        numbers.fit(x[["area", "age"]].fillna(0.0), y)
    np.testing.assert_array_equal(numbers.coefs_[0], before)
    model = regressor(max_iter=2, warm_start=True).fit(x, y)
    with pytest.raises(ValueError, match=r"missing: expected indicator.*got error"):
        model.set_params(missing="error").fit(x, y)
    model.set_params(missing="indicator").fit(x, y)


def test_a_table_is_checked_once(table):
    """Of columns without their names the estimator tells, and not its encoder."""
    x, y = table
    numbers = x[["area", "age"]]
    model = MLPRegressor(missing="indicator", random_state=0, max_iter=2).fit(numbers, y)
    with pytest.warns(UserWarning, match="feature names") as found:
        told = model.predict(numbers.to_numpy())
    told_of = [str(warning.message).split(", but ")[1].split()[0] for warning in found]
    assert told_of.count("MLPRegressor") == 1
    assert "TableEncoder" not in told_of
    np.testing.assert_array_equal(told, model.predict(numbers))


def test_embeddings_end_by_the_same_rule(table):
    x, y = table
    options = {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 100}
    model = regressor(**options).fit(x, y)
    called = regressor(callbacks=lambda info: None, **options).fit(x, y)
    assert called.loss_curve_ == model.loss_curve_
    losses, waited = np.array(model.loss_curve_), 0
    for epoch in range(1, len(losses)):
        assert waited <= 2
        waited = waited + 1 if losses[epoch] > losses[:epoch].min() - 0.05 else 0
    assert waited == 3
    assert model.n_iter_ == len(losses) < 100
