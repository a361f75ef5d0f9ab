"""`MLPSearchCV` has scikit-learn's results, to the bit, whatever the threads."""

import _thread
import pickle
import threading
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_iris, make_friedman1
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    ShuffleSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPRegressor, MLPSearchCV

X, Y = make_friedman1(120, noise=0.5, random_state=0)
FLOWERS = load_iris(return_X_y=True)
REGRESSOR = MLPRegressor(hidden_layer_sizes=(6,), max_iter=15, random_state=0)
CLASSIFIER = MLPClassifier((6,), max_iter=15, random_state=0)
GRID = {"learning_rate_init": [0.001, 0.01], "hidden_layer_sizes": [(4,), (8, 8)]}
RANGES = {"learning_rate_init": loguniform(1e-3, 1e-1), "activation": ["tanh", "relu"]}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def same(ours, theirs, x):
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[name], values, err_msg=name)
    for name in ("best_index_", "best_score_", "best_params_", "n_splits_", "multimetric_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name)
    if theirs.refit:
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x), strict=True)
        assert ours.refit_time_ > 0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("estimator", "grid", "options"),
    [
        (REGRESSOR, GRID, {}),
        (REGRESSOR, [{"alpha": [0, 1]}, {"dropout": [0.5]}], {"return_train_score": True}),
        (REGRESSOR, {"solver": ["lbfgs", "sgd", "adamw"]}, {"scoring": ["r2", "neg_max_error"]}),
        (clone(REGRESSOR).set_params(early_stopping=True, standardize=True), GRID, {"cv": 2}),
        (CLASSIFIER, GRID, {"scoring": "neg_log_loss", "refit": False}),
        (make_pipeline(StandardScaler(), CLASSIFIER), {"mlpclassifier__alpha": [0, 0.1]}, {}),
        (CLASSIFIER, {"batch_size": [10, 50]}, {"cv": ShuffleSplit(3, random_state=0)}),
    ],
    ids=["plain", "list", "solvers", "stopping", "unfitted", "pipeline", "splitter"],
)
def test_grid(estimator, grid, options, threads):
    x, y = FLOWERS if "neg_log_loss" in options.values() or "Class" in str(estimator) else (X, Y)
    options = {"refit": "r2" if isinstance(options.get("scoring"), list) else True, **options}
    theirs = GridSearchCV(estimator, grid, **options).fit(x, y)
    with fm.threads(threads):
        ours = MLPSearchCV(estimator, grid, **options).fit(x, y)
    same(ours, theirs, x)


def test_random():
    theirs = RandomizedSearchCV(REGRESSOR, RANGES, n_iter=5, random_state=1).fit(X, Y)
    with fm.threads(2):
        ours = MLPSearchCV(
            REGRESSOR, strategy="random", param_distributions=RANGES, n_iter=5, random_state=1
        ).fit(X, Y)
    same(ours, theirs, X)
    assert len(MLPSearchCV(
        REGRESSOR, strategy="random", param_distributions=RANGES, cv=2
    ).fit(X, Y).cv_results_["params"]) == 10  # fmt: skip


@pytest.mark.parametrize("resource", [{}, {"resource": "max_iter", "max_resources": 12}])
def test_halving(resource):
    options = {"cv": 2, "random_state": 0, "factor": 2, "return_train_score": False, **resource}
    theirs = HalvingGridSearchCV(REGRESSOR, GRID, **options).fit(X, Y)
    with fm.threads(2):
        ours = MLPSearchCV(REGRESSOR, GRID, strategy="halving", **options).fit(X, Y)
    same(ours, theirs, X)
    assert ours.n_resources_ == theirs.n_resources_
    assert ours.n_candidates_ == theirs.n_candidates_


@pytest.mark.parametrize("n_iter", [None, 4])
def test_halving_of_what_is_drawn(n_iter):
    options = {"cv": 2, "random_state": 0, "return_train_score": False}
    drawn = {} if n_iter is None else {"n_candidates": n_iter, "min_resources": "exhaust"}
    theirs = HalvingRandomSearchCV(REGRESSOR, RANGES, **options, **drawn).fit(X, Y)
    with fm.threads(2):
        ours = MLPSearchCV(
            REGRESSOR, strategy="halving", param_distributions=RANGES, n_iter=n_iter, **options
        ).fit(X, Y)
    same(ours, theirs, X)


def test_fits_run_in_threads_that_use_one_core_each(monkeypatch):
    seen, limited = set(), {}
    limit = fm._core.limit_own_threads
    monkeypatch.setattr(
        fm._core,
        "limit_own_threads",
        lambda n: (limited.update({threading.get_ident(): n}), limit(n)),
    )

    class Regressor(MLPRegressor):
        def fit(self, *data):
            seen.add(threading.get_ident())
            return super().fit(*data)

    with fm.threads(3):
        MLPSearchCV(Regressor(random_state=0, max_iter=3), {"alpha": [0, 1]}, refit=False).fit(X, Y)
    assert len(seen) > 1
    assert {limited[thread] for thread in seen} == {1}


def test_a_setting_that_fails():
    grid = {"dropout": [0.0, [0.1, 0.2]]}  # two values for one hidden layer
    with fm.threads(2):
        search = MLPSearchCV(REGRESSOR, grid, cv=2, error_score=-7)
        with pytest.warns(RuntimeWarning, match="2 fits failed out of a total of 4"):
            search.fit(X, Y)
        assert search.cv_results_["mean_test_score"][1] == -7
        before = dict(vars(search))
        with pytest.raises(ValueError, match="dropout: expected one value"):
            search.set_params(error_score="raise").fit(X, Y)
        assert search.best_score_ == before["best_score_"]


def test_groups_and_weights_reach_the_fit():
    weights = np.linspace(0, 1, len(X))
    theirs = GridSearchCV(REGRESSOR, GRID, cv=2).fit(X, Y, sample_weight=weights)
    same(MLPSearchCV(REGRESSOR, GRID, cv=2).fit(X, Y, sample_weight=weights), theirs, X)


def test_a_search_is_an_estimator():
    search = MLPSearchCV(CLASSIFIER, GRID, cv=2)
    assert clone(search).get_params().keys() == search.get_params().keys()
    search.fit(*FLOWERS)
    x = FLOWERS[0]
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict_proba(x), search.predict_proba(x))
    assert list(search.classes_) == [0, 1, 2]
    search.set_params(strategy="halving", random_state=0).fit(*FLOWERS)
    assert search.n_iterations_ > 1
    search.set_params(strategy="grid", refit=False).fit(*FLOWERS)
    assert not hasattr(search, "n_iterations_")
    assert not hasattr(search, "best_estimator_")


def test_ctrl_c_ends_a_search():
    forever = {"max_iter": 20_000, "tol": 0, "n_iter_no_change": np.inf}
    network = clone(REGRESSOR).set_params(hidden_layer_sizes=(100,), **forever)
    search = MLPSearchCV(network, {"alpha": [0.1] * 1000})
    threading.Timer(0.5, _thread.interrupt_main).start()
    start = time.perf_counter()
    with fm.threads(2), pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert time.perf_counter() - start < 20
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "param_grid: expected param_grid with strategy='grid', got neither"),
        ({"strategy": "bayes"}, "strategy: expected one of"),
        ({"param_distributions": RANGES}, "param_grid: .* got param_distributions"),
        ({"param_grid": GRID, "strategy": "random"}, "param_distributions: .* got param_grid"),
        (
            {"param_grid": GRID, "param_distributions": RANGES, "strategy": "halving"},
            "expected param_grid or param_distributions .* got param_grid and param_distributions",
        ),
        ({"param_grid": {"alpha": 3}}, "."),
        ({"param_grid": GRID, "cv": 1}, "k-fold|cv"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises((ValueError, TypeError), match=message), warnings.catch_warnings():
        MLPSearchCV(REGRESSOR, **given).fit(X, Y)
