"""The estimators where they are used: searches, pipelines, frames, files, threads."""

import copy
import io
import pickle
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.model_selection import GridSearchCV, LearningCurveDisplay, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPQuantileRegressor, MLPRegressor
from subprocesses import output_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
XR, YR = make_regression(80, 4, random_state=0)
XL, YL = make_multilabel_classification(80, 4, random_state=0)


def fitted():
    return [
        MLPClassifier(max_iter=5).fit(X, Y),
        MLPClassifier((8, 6), ["tanh", "gelu"], max_iter=5, batch_norm=True).fit(X, Y > 0),
        MLPClassifier(max_iter=5, solver="sgd", dropout=0.1).partial_fit(X, Y, classes=[0, 1, 2]),
        MLPClassifier(max_iter=5, early_stopping=True).fit(XL, YL),
        MLPClassifier(max_iter=5).fit(X, np.array(["x", "y", "z"])[Y]),
        MLPRegressor(max_iter=5, layer_norm=True).fit(XR, YR),
        MLPRegressor("poisson", max_iter=5).fit(XR, np.abs(np.stack([YR, YR], axis=1))),
        MLPRegressor(solver="lbfgs", max_iter=5).fit(XR.astype(np.float32), YR),
        MLPRegressor("huber", activation=fm.LeakyReLU(0.3), max_iter=5).fit(XR, YR),
        MLPQuantileRegressor(max_iter=5, dtype="float64").fit(XR.astype(np.float32), YR),
    ]


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_skops(model):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    data = skops.dumps(model)
    untrusted = skops.get_untrusted_types(data=data)
    assert all(name.startswith("fastmlp.") for name in untrusted), untrusted
    return skops.loads(data, trusted=untrusted)


@pytest.mark.parametrize("copied", [pickled, through_joblib, through_skops, copy.deepcopy])
def test_copies_predict_the_same_and_train_on(copied):
    for model in fitted():
        if copied is through_skops and isinstance(model.activation, fm.LeakyReLU):
            continue  # a module, which skops does not know how to take apart
        x = X if isinstance(model, MLPClassifier) else XR
        other = copied(model)
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        if isinstance(model, MLPClassifier):
            np.testing.assert_array_equal(other.predict_proba(x), model.predict_proba(x))
        for own, same in zip(model.coefs_, other.coefs_, strict=True):
            assert own.dtype == same.dtype
            np.testing.assert_array_equal(own, same)
        assert other.get_params().keys() == model.get_params().keys()
        assert other.loss_ == model.loss_
        if model.solver == "lbfgs" or model.early_stopping:
            continue
        y = {3: Y, 2: Y > 0}.get(len(getattr(model, "classes_", ())))
        if y is None:
            y = YR if model.n_outputs_ != 2 else np.abs(np.stack([YR, YR], axis=1))
        elif not isinstance(model.classes_[0], np.integer | np.bool_):
            y = np.array(["x", "y", "z"])[Y]
        for each in (model, other):
            each.set_params(random_state=0).partial_fit(x, y)
        for own, same in zip(model.coefs_, other.coefs_, strict=True):
            np.testing.assert_array_equal(own, same)


def test_a_pickle_holds_no_native_objects():
    state = fitted()[2].__getstate__()
    assert all(type(value) is np.ndarray for value in state["_model"].values())
    assert not any(type(value).__module__.startswith("fastmlp") for value in state.values())


def test_clones_are_unfitted_and_alike():
    for model in fitted():
        other = clone(model)
        assert not hasattr(other, "coefs_")
        assert repr(other) == repr(model)


def threads_of(estimator, x, y):
    return fm.get_num_threads()


def test_a_search_in_processes_shares_the_threads():
    search = GridSearchCV(
        make_pipeline(
            StandardScaler(), MLPClassifier(max_iter=20, random_state=0, learning_rate_init=0.02)
        ),
        {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__hidden_layer_sizes": [(5,), (5, 5)]},
        cv=3, n_jobs=2,
    )  # fmt: skip
    assert search.fit(X, Y).best_score_ > 0.7
    serial = clone(search).set_params(n_jobs=1).fit(X, Y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"]
    )
    found = cross_val_score(
        MLPClassifier(max_iter=2), X, Y, n_jobs=2, scoring=threads_of, error_score="raise"
    )
    assert max(found) <= max(1, joblib.cpu_count() // 2)


def test_the_tools_of_scikit_learn_work():
    model = MLPClassifier(max_iter=60, random_state=0)
    assert cross_val_score(model, X, Y).mean() > 0.8
    calibrated = CalibratedClassifierCV(model, cv=3).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    importance = permutation_importance(model.fit(X, Y), X, Y, random_state=0).importances_mean
    assert importance[2:].min() > 0
    pytest.importorskip("matplotlib").use("agg")
    regressor = MLPRegressor(max_iter=30, random_state=0).fit(XR, YR)
    PartialDependenceDisplay.from_estimator(regressor, XR, [0, (0, 1)])
    LearningCurveDisplay.from_estimator(model, X, Y, cv=2, train_sizes=[0.5, 1.0])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library)
    if library == "polars":
        pytest.importorskip("sklearn", "1.9", reason="older ones do not see polars' names")
    x = frames.DataFrame({f"f{i}": X[:, i] for i in range(4)})
    y = frames.Series(["x", "y", "z"][i] for i in Y)
    options = {"max_iter": 20, "random_state": 0}
    model = MLPClassifier(**options).fit(x, y)
    assert list(model.feature_names_in_) == ["f0", "f1", "f2", "f3"]
    plain = MLPClassifier(**options).fit(X, np.asarray(y))
    np.testing.assert_array_equal(model.predict_proba(x), plain.predict_proba(X))
    pipeline = make_pipeline(StandardScaler().set_output(transform=library), model)
    assert pipeline.fit(x, y).score(x, y) > 0.5
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x[["f1", "f0", "f2", "f3"]])
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(X)


def test_early_stopping_and_validation_keep_the_names():
    frames = pytest.importorskip("pandas")
    x = frames.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        MLPClassifier(early_stopping=True, max_iter=5).fit(x, Y).predict(x)
        MLPClassifier(max_iter=5).fit(x, Y, X_val=x, y_val=Y)


def test_weights_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        weights = np.where(Y == 0, 5.0, 1.0)
        model = MLPClassifier(max_iter=5, random_state=0).set_fit_request(sample_weight=True)
        search = GridSearchCV(model.set_score_request(sample_weight=False), {"alpha": [0.1]}, cv=2)
        search.fit(X, Y, sample_weight=weights)
        alone = clone(model).set_params(alpha=0.1).fit(X, Y, sample_weight=weights)
        np.testing.assert_allclose(search.best_estimator_.coefs_[0], alone.coefs_[0])


def test_threads_may_predict_at_once():
    for model in (fitted()[1], pickled(fitted()[0])):
        expected = model.predict_proba(X)
        with ThreadPoolExecutor(8) as pool:
            for got in pool.map(model.predict_proba, [X] * 64):
                np.testing.assert_array_equal(got, expected)


def test_threads_may_fit_at_once():
    expected = MLPClassifier(max_iter=20, random_state=0).fit(X, Y).coefs_[0]
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(MLPClassifier(max_iter=20, random_state=0).fit, X, Y) for _ in range(8)]
        for fit in fits:
            np.testing.assert_array_equal(fit.result().coefs_[0], expected)


def test_ctrl_c_keeps_what_has_been_learnt():
    def interrupt(info):
        if info.epoch == 3:
            raise KeyboardInterrupt

    model = MLPClassifier(callbacks=interrupt, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 4
    assert model.predict(X).shape == (150,)
    assert threading.active_count() >= 1


def test_fastmlp_does_not_import_scikit_learn():
    output_of("import sys, fastmlp; assert not {'sklearn', 'scipy'} & set(sys.modules)")


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in [n for n in sys.modules if n.startswith("fastmlp.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"fastmlp\[sklearn\]"):
        import fastmlp.sklearn  # noqa: F401
