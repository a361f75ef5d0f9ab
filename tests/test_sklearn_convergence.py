"""When the fits of our estimators end, what they tell of it, and what an interrupted one leaves."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from fastmlp.sklearn import BaggingMLPRegressor, MLPClassifier, MLPRegressor, _random
from fastmlp.sklearn._random import random_state_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = make_classification(90, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
XR, YR = make_regression(90, 6, random_state=0)
YR = YR / YR.std()


def regressor(units=20, **parameters):
    return MLPRegressor(hidden_layer_sizes=(units,), random_state=0, **parameters)


def weights_of(model):
    return model.coefs_ + model.intercepts_


class Rule:
    """scikit-learn's: how many epochs there are until a value has not fallen for so long."""

    def __init__(self, tol, patience):
        self.tol, self.patience = tol, patience
        self.best, self.waited = np.inf, 0

    def epochs(self, curve):
        for epoch, value in enumerate(curve, 1):
            self.waited = self.waited + 1 if value > self.best - self.tol else 0
            self.best = min(self.best, value)
            if self.waited > self.patience:
                return epoch
        return len(curve)


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("batch_size", [90, 32])
@pytest.mark.parametrize("shuffle", [True, False])
def test_with_and_without_calls_after_epochs(solver, batch_size, shuffle, capsys):
    """Where nothing is to be called, all epochs run natively: to the same bits."""
    options = {
        "solver": solver, "batch_size": batch_size, "shuffle": shuffle,
        "max_iter": 80, "tol": 0.02, "n_iter_no_change": 3, "alpha": 0.1,
        "learning_rate_init": 0.01,
    }  # fmt: skip
    quiet = regressor(**options).fit(XR, YR)
    called = regressor(callbacks=lambda info: None, **options).fit(XR, YR)
    told = regressor(verbose=True, **options).fit(XR, YR)
    lines = capsys.readouterr().out.splitlines()
    assert lines[: quiet.n_iter_] == [
        f"Iteration {epoch}, loss = {loss:.8f}" for epoch, loss in enumerate(quiet.loss_curve_, 1)
    ]
    for other in (called, told):
        for name in ("n_iter_", "t_", "loss_", "best_loss_", "loss_curve_"):
            assert getattr(quiet, name) == getattr(other, name)
        for a, b in zip(weights_of(quiet), weights_of(other), strict=True):
            np.testing.assert_array_equal(a, b)
    rule = Rule(0.02, 3)
    assert rule.epochs(quiet.loss_curve_) == quiet.n_iter_ < 80
    assert quiet.best_loss_ == rule.best == min(quiet.loss_curve_)
    assert quiet.t_ == 90 * quiet.n_iter_


def test_a_further_fit_goes_on_waiting():
    options = {"tol": 0.05, "n_iter_no_change": 4, "warm_start": True}
    model = regressor(max_iter=300, learning_rate_init=0.005, **options).fit(XR, YR)
    rule, first = Rule(0.05, 4), model.n_iter_
    assert rule.epochs(model.loss_curve_) == first < 300
    model.fit(XR, YR)
    assert rule.epochs(model.loss_curve_[first:]) == model.n_iter_ == 1
    model.set_params(tol=0.0).fit(XR, YR)
    rule.tol = 0.0
    assert rule.epochs(model.loss_curve_[first + 1 :]) == model.n_iter_ > 1


def test_a_further_fit_with_early_stopping_goes_on_if_the_score_rises():
    options = {"early_stopping": True, "n_iter_no_change": 2, "tol": 10.0}
    model = regressor(max_iter=50, warm_start=True, **options).fit(XR, YR)
    assert model.n_iter_ == 4  # only the first score is an improvement by so much
    model.set_params(tol=0.0, n_iter_no_change=5).fit(XR, YR)
    rule = Rule(0.0, 5)
    rule.best, rule.waited = -max(model.validation_scores_[:4]), 3
    assert rule.epochs([-score for score in model.validation_scores_[4:]]) == model.n_iter_ > 2
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_a_loss_that_is_nan_is_told():
    x = np.full((20, 2), 1e30)
    model = regressor(4, max_iter=5, n_iter_no_change=2, tol=1.0)
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        model.fit(x, np.full(20, -1e30))
    assert len(model.loss_curve_) == model.n_iter_
    assert not np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_all_attributes_are_those_of_the_last_epoch(error):
    def stop(info):
        if info.epoch == 3:
            raise error

    model = regressor(callbacks=stop, batch_size=30)
    if error is RuntimeError:
        with pytest.raises(RuntimeError):
            model.fit(XR, YR)
    else:
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(XR, YR)
    assert model.n_iter_ == len(model.loss_curve_) == 4
    whole = regressor(batch_size=30, max_iter=4).fit(XR, YR)
    assert model.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    np.testing.assert_array_equal(model.predict(XR), whole.predict(XR))


@pytest.mark.parametrize("solver", ["adam", "lbfgs", "lm"])
def test_warnings_point_at_the_line_that_fits(solver):
    model = regressor(5, solver=solver, max_iter=2)
    calls = [
        model,
        make_pipeline(StandardScaler(), model),
        GridSearchCV(model, {"alpha": [0.1, 0.2]}, cv=2),
        BaggingMLPRegressor(model, 2),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            call.fit(XR, YR)
        own = [warning for warning in found if warning.category is ConvergenceWarning]
        assert own
        assert {warning.filename for warning in own} == {__file__}


def test_a_large_batch_is_told_of_there():
    model = MLPClassifier((5,), batch_size=100, max_iter=2)
    with pytest.warns(UserWarning, match="batch_size") as found:
        model.fit(X, Y)
    assert {warning.filename for warning in found} == {__file__}


def test_a_callback_may_copy_the_trainer():
    copies = []
    model = regressor(callbacks=lambda info: copies.append(pickle.dumps(info.trainer)), max_iter=2)
    model.fit(XR, YR)
    trainer = pickle.loads(copies[-1])
    np.testing.assert_array_equal(trainer.model.predict(XR)[:, 0], model.predict(XR).astype("f4"))


def test_a_fit_draws_nothing_from_the_global_generator():
    fm.manual_seed(3)
    expected = fm.Linear(3, 2).weight.numpy()
    fm.manual_seed(3)
    MLPClassifier((5,), random_state=0, max_iter=2).fit(X, Y)
    np.testing.assert_array_equal(fm.Linear(3, 2).weight.numpy(), expected)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(5)])
@pytest.mark.parametrize("reads", ["one by one", "otherwise"])
def test_generators_are_numpys(seed, reads, monkeypatch):
    if reads == "otherwise":
        monkeypatch.setattr(_random._Ones, "generate_state", lambda *_: None)
    own, expected = random_state_of(seed).get_state(), np.random.RandomState(seed).get_state()
    for a, b in zip(own, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_seeds_are_scikit_learns():
    given = np.random.RandomState(1)
    assert random_state_of(given) is given
    assert random_state_of(None) is np.random.mtrand._rand
    with pytest.raises(ValueError, match=r"between 0 and 2\*\*32 - 1"):
        random_state_of(-1)
