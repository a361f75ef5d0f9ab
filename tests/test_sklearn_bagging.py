"""Many networks as one estimator: each as by itself, their mean, scikit-learn's checks."""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_friedman1, make_multilabel_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp as fm
from fastmlp.sklearn import (
    BaggingMLPClassifier,
    BaggingMLPRegressor,
    MLPClassifier,
    MLPQuantileRegressor,
    MLPRegressor,
    MLPSearchCV,
)

X, Y = make_friedman1(150, noise=0.5, random_state=0)
FLOWERS, KINDS = load_iris(return_X_y=True)
LABELS = make_multilabel_classification(120, 4, random_state=0)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
REGRESSOR = MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, learning_rate_init=0.01)
WEIGHTS = "rows are drawn whatever they weigh, so that a weight is not a row that is there twice"
OF_WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": WEIGHTS for kind in ("dense", "sparse")
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        BaggingMLPRegressor(MLPRegressor(max_iter=60, learning_rate_init=0.01), 3, random_state=0),
        BaggingMLPClassifier(MLPClassifier(max_iter=60, learning_rate_init=0.01), 3),
    ],
    expected_failed_checks=lambda estimator: OF_WEIGHTS,
)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "weighted"),
    [
        (REGRESSOR, False),
        (clone(REGRESSOR).set_params(dropout=0.2, batch_norm=True, solver="sgd"), True),
        (clone(REGRESSOR).set_params(batch_size=30, dtype="float64", alpha=0.1), True),
        (clone(REGRESSOR).set_params(solver="lbfgs"), False),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_each_network_is_as_by_itself(estimator, weighted, threads):
    w = np.linspace(0.1, 2, len(X)) if weighted else None
    with fm.threads(threads):
        many = BaggingMLPRegressor(estimator, 4, max_samples=0.7, random_state=1).fit(X, Y, w)
    assert len(many.estimators_) == len(many.estimators_samples_) == 4
    for one, rows in zip(many.estimators_, many.estimators_samples_, strict=True):
        assert len(rows) == 105
        solo = clone(estimator).set_params(random_state=one.random_state)
        solo.fit(X[rows], Y[rows], None if w is None else w[rows])
        np.testing.assert_array_equal(one.predict(X), solo.predict(X))
        assert one.loss_ == solo.loss_
        assert one.n_iter_ == solo.n_iter_
    each = np.array([one.predict(X) for one in many.estimators_])
    mean, std = many.predict(X, return_std=True)
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(std, each.std(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(many.predict(X), mean, strict=True)


def test_each_stops_by_itself():
    one = MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, tol=0.1, n_iter_no_change=3)
    one.set_params(learning_rate_init=0.02)
    many = BaggingMLPRegressor(one, 6, random_state=0).fit(X, Y)
    assert len({one.n_iter_ for one in many.estimators_}) > 1
    one.set_params(early_stopping=True, max_iter=30)
    many.fit(X, Y)
    seen = np.unique(np.concatenate(many.estimators_samples_))
    assert len(seen) <= 135  # the others are held out
    assert all(len(one.validation_scores_) == one.n_iter_ for one in many.estimators_)
    assert all(max(e.validation_scores_) == e.best_validation_score_ for e in many.estimators_)


@pytest.mark.parametrize(
    "estimator",
    [
        clone(REGRESSOR).set_params(loss="poisson"),
        clone(REGRESSOR).set_params(standardize=True, standardize_target=True),
        MLPQuantileRegressor(hidden_layer_sizes=(6,), max_iter=10),
        clone(REGRESSOR).set_params(categorical_features=[0], missing="indicator"),
    ],
)
def test_other_regressors(estimator):
    x = np.column_stack([np.arange(len(X)) % 30, X])
    many = BaggingMLPRegressor(estimator, 3, random_state=0).fit(x, Y)
    each = np.array([one.predict(x) for one in many.estimators_])
    mean, std = many.predict(x, return_std=True)
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(std, each.std(axis=0), rtol=1e-3, atol=1e-3)


def test_several_targets():
    y = np.stack([Y, -Y], axis=1)
    mean, std = BaggingMLPRegressor(REGRESSOR, 3).fit(X, y).predict(X, return_std=True)
    assert mean.shape == std.shape == (150, 2)


@pytest.mark.parametrize("kind", ["binary", "classes", "labels", "embedded"])
def test_probabilities_are_means(kind):
    x, y = LABELS if kind == "labels" else (FLOWERS, KINDS if kind != "binary" else KINDS > 0)
    one = MLPClassifier((8,), max_iter=20)
    if kind == "embedded":
        x = np.column_stack([np.arange(len(x)) % 30, x])
        one.set_params(categorical_features=[0], max_iter=3)
    many = BaggingMLPClassifier(one, 3, max_samples=0.3, random_state=0).fit(x, y)
    p = many.predict_proba(x)
    each = np.mean([e.predict_proba(x) for e in many.estimators_], axis=0)
    np.testing.assert_allclose(p, each, atol=1e-6)
    expected = (p > 0.5).astype(int) if kind == "labels" else many.classes_[p.argmax(axis=1)]
    np.testing.assert_array_equal(many.predict(x), expected)
    np.testing.assert_array_equal(many.predict_log_proba(x), np.log(p))


def test_it_is_better_than_one_network():
    one = MLPRegressor(hidden_layer_sizes=(30,), max_iter=300, learning_rate_init=0.02, alpha=0)
    one.set_params(standardize=True, standardize_target=True)
    alone = cross_val_score(one.set_params(random_state=0), X, Y).mean()
    together = BaggingMLPRegressor(one, 10, bootstrap=False, random_state=0)
    together = cross_val_score(together, X, Y).mean()
    assert together > alone + 0.02


def test_deep_ensembles_see_all_rows():
    many = BaggingMLPRegressor(REGRESSOR, 3, bootstrap=False, random_state=0).fit(X, Y)
    for rows in many.estimators_samples_:
        np.testing.assert_array_equal(rows, np.arange(150))
    assert (many.predict(X, return_std=True)[1] > 0).all()
    some = BaggingMLPRegressor(REGRESSOR, 3, bootstrap=False, max_samples=50).fit(X, Y)
    assert all(len(np.unique(rows)) == 50 for rows in some.estimators_samples_)


@pytest.mark.parametrize("solver", ["lbfgs", "lm"])
def test_solvers_that_look_at_all_rows(solver):
    one = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=20, random_state=0)
    many = BaggingMLPRegressor(one, 3, random_state=0).fit(X, Y)
    assert many.score(X, Y) > 0.5
    search = MLPSearchCV(one, {"alpha": [0, 0.1]}, cv=2).fit(X, Y)
    own = GridSearchCV(one, {"alpha": [0, 0.1]}, cv=2).fit(X, Y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], own.cv_results_["mean_test_score"]
    )


def test_callbacks_are_of_each_network():
    class Counts:
        calls = 0

        def on_epoch_end(self, info):
            self.calls += 1
            return self.calls == 4

    one = clone(REGRESSOR).set_params(callbacks=Counts())
    many = BaggingMLPRegressor(one, 3).fit(X, Y)
    assert [e.callbacks.calls for e in many.estimators_] == [4, 4, 4]


def test_copies_searches_and_a_failed_fit():
    many = BaggingMLPRegressor(REGRESSOR, 3, random_state=0).fit(X, Y)
    y = many.predict(X)
    for other in (pickle.loads(pickle.dumps(many)), copy.deepcopy(many)):
        np.testing.assert_array_equal(other.predict(X), y)
    before = len(pickle.dumps(many))
    with pytest.raises(ValueError, match="NaN"):
        many.fit(np.full((10, 10), np.nan), Y[:10])
    np.testing.assert_array_equal(many.predict(X), y)
    assert len(pickle.dumps(many)) == before
    search = MLPSearchCV(many, {"estimator__alpha": [0, 1], "n_estimators": [2, 3]}, cv=2)
    assert len(search.fit(X, Y).cv_results_["params"]) == 4


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"estimator": MLPClassifier()}, TypeError, "estimator: expected an MLPRegressor, got"),
        ({"estimator": MLPRegressor(alpha=-1)}, ValueError, "'alpha' parameter of MLPRegressor"),
        ({"n_estimators": 0}, ValueError, "n_estimators"),
        ({"max_samples": 151}, ValueError, "max_samples: expected at most 150"),
        ({"max_samples": 1.5}, ValueError, "max_samples"),
    ],
)
def test_wrong_arguments(given, error, message):
    with pytest.raises(error, match=message):
        BaggingMLPRegressor(**given).fit(X, Y)
