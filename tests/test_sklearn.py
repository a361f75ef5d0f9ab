"""The estimators against scikit-learn's own ones: attributes, losses, weights, ways to fit."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.7", reason="compares with the MLP of scikit-learn 1.7 or newer")

from sklearn import neural_network as theirs
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler, scale

from fastmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
EXACT = {"dtype": "float64"}


def tables():
    """(ours, theirs, x, y) of each kind of target."""
    x, y = make_classification(60, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
    several = make_multilabel_classification(60, 6, n_classes=4, random_state=0)
    one_value = make_regression(60, 6, random_state=0, noise=3.0)
    values = make_regression(60, 6, n_targets=3, random_state=0)
    return {
        "classes": (MLPClassifier, theirs.MLPClassifier, x, y),
        "two classes": (MLPClassifier, theirs.MLPClassifier, x, np.array(["no", "yes"])[y % 2]),
        "labels": (MLPClassifier, theirs.MLPClassifier, scale(several[0]), several[1]),
        "value": (MLPRegressor, theirs.MLPRegressor, one_value[0], one_value[1] / 50),
        "values": (MLPRegressor, theirs.MLPRegressor, values[0], values[1] / 50),
    }


KINDS = ("classes", "two classes", "labels", "value", "values")


def both(kind, sample_weight=None, **options):
    """Our estimator and scikit-learn's after the same fit."""
    ours, their, x, y = tables()[kind]
    options = {"hidden_layer_sizes": (7, 5), "random_state": 3, **options}
    a = ours(**options, **EXACT).fit(x, y, sample_weight)
    b = their(**options).fit(x, y, sample_weight)
    return a, b, x


def assert_same_weights(a, b, tolerance=1e-10):
    for own, expected in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert type(own) is np.ndarray
        np.testing.assert_allclose(own, expected, rtol=tolerance, atol=tolerance)


def answers(estimator, x):
    name = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    return getattr(estimator, name)(x)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_of_sgd_is_scikit_learns(kind, activation):
    options = {"solver": "sgd", "activation": activation, "alpha": 0.3, "max_iter": 1}
    a, b, x = both(kind, **options, learning_rate_init=0.1)
    assert_same_weights(a, b)
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-10)
    np.testing.assert_allclose(answers(a, x), answers(b, x), rtol=1e-9)
    assert a.predict(x).dtype == b.predict(x).dtype


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_many_epochs_of_sgd_are_scikit_learns(kind, nesterov, schedule):
    options = {"solver": "sgd", "learning_rate_init": 0.05, "n_iter_no_change": 2, "tol": 3e-3}
    a, b, _ = both(kind, **options, learning_rate=schedule, nesterovs_momentum=nesterov)
    assert a.n_iter_ == b.n_iter_
    assert_same_weights(a, b, 1e-8)
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-8)
    assert a.best_loss_ == pytest.approx(b.best_loss_, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_in_order_are_scikit_learns(kind):
    options = {"solver": "sgd", "batch_size": 20, "shuffle": False, "max_iter": 20}
    a, b, _ = both(kind, **options, alpha=0.1, learning_rate_init=0.02)
    assert_same_weights(a, b)
    # The L2 term of an epoch is taken from the weights before and after it.
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_adam_is_scikit_learns(kind):
    # Scikit-learn adds epsilon before the correction of the bias, we add it afterwards.
    a, b, _ = both(kind, max_iter=30, epsilon=1e-20, learning_rate_init=0.01)
    assert_same_weights(a, b, 1e-6)
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-6)


@pytest.mark.parametrize("kind", ["classes", "two classes", "value"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_early_stopping_is_scikit_learns(kind, solver):
    options = {"solver": solver, "early_stopping": True, "validation_fraction": 0.3}
    options |= {"learning_rate_init": 0.05, "n_iter_no_change": 4, "epsilon": 1e-20}
    a, b, _ = both(kind, **options)
    assert a.n_iter_ == b.n_iter_
    assert a.validation_scores_ == pytest.approx(b.validation_scores_, rel=1e-6)
    assert a.best_validation_score_ == pytest.approx(b.best_validation_score_, rel=1e-6)
    assert a.best_loss_ is b.best_loss_ is None
    assert_same_weights(a, b, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lbfgs_finds_the_same_optimum(kind):
    options = {"solver": "lbfgs", "alpha": 1.0, "max_iter": 2000, "activation": "tanh"}
    a, b, x = both(kind, **options, tol=1e-8)
    if kind != "values":  # where scikit-learn's loss and its gradient do not belong together
        # "value" ends where the loss hardly falls, hundreds of iterations of rounding later.
        assert a.loss_ == pytest.approx(b.loss_, rel=1e-5 if kind == "value" else 1e-6)
        np.testing.assert_allclose(answers(a, x), answers(b, x), atol=5e-3)
    assert a.score(x, tables()[kind][3]) >= b.score(x, tables()[kind][3]) - 0.01


@pytest.mark.parametrize("limits", [{"max_iter": 12}, {"max_fun": 9}, {"tol": 0.05}])
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "value"])
def test_iterations_of_lbfgs_are_scikit_learns(kind, limits):
    options = {"solver": "lbfgs", "alpha": 0.5, "activation": "tanh"}
    a, b, _ = both(kind, **options, **limits)
    assert a.n_iter_ == b.n_iter_
    assert a.loss_ == pytest.approx(b.loss_, rel=1e-6)
    assert_same_weights(a, b, 1e-5)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "value"])
def test_weights_of_rows_are_scikit_learns(kind, solver):
    weights = np.random.default_rng(0).uniform(0.1, 3, 60)
    options = {"solver": solver, "max_iter": 5, "alpha": 0.3, "learning_rate_init": 0.05}
    a, b, _ = both(kind, sample_weight=weights, **options)
    assert_same_weights(a, b, 1e-6)
    assert a.loss_ == pytest.approx(b.loss_, rel=1e-6)


def test_poisson_is_scikit_learns():
    x, y = make_regression(60, 6, random_state=0)
    y = np.random.default_rng(0).poisson(np.exp(y / 200))
    options = {"hidden_layer_sizes": (7,), "random_state": 3, "solver": "sgd", "max_iter": 30}
    a = MLPRegressor("poisson", **options, **EXACT).fit(x, y)
    b = theirs.MLPRegressor("poisson", **options).fit(x, y)
    assert_same_weights(a, b)
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-8)
    np.testing.assert_allclose(a.predict(x), b.predict(x), rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_the_same_attributes_are_there(kind, options):
    a, b, _ = both(kind, **options, max_iter=5)
    public = {name for name in vars(b) if name.endswith("_") and not name.startswith("_")}
    assert public <= set(vars(a))
    same = ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_iter_")
    for name in same:
        assert getattr(a, name) == getattr(b, name), name
    if "classes" in kind:
        np.testing.assert_array_equal(a.classes_, b.classes_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_outputs_have_the_dtype_of_the_table(kind, dtype, solver):
    ours, their, x, y = tables()[kind]
    options = {"solver": solver, "max_iter": 3, "random_state": 0}
    y = y.astype(dtype) if kind.startswith("value") else y
    a, b = (cls(**options).fit(x.astype(dtype), y) for cls in (ours, their))
    for layer in range(2):
        assert a.coefs_[layer].dtype == a.intercepts_[layer].dtype == dtype
    assert answers(a, x.astype(dtype)).dtype == answers(b, x.astype(dtype)).dtype
    assert answers(a, x.astype(dtype)).shape == answers(b, x.astype(dtype)).shape


def test_the_parameters_are_scikit_learns_and_ours():
    for ours, their in (
        (MLPClassifier, theirs.MLPClassifier),
        (MLPRegressor, theirs.MLPRegressor),
    ):
        own, expected = ours().get_params(), their().get_params()
        assert {name: own.get(name) for name in expected} == expected
        assert "loss" in vars(ours) or "loss" in own


def test_float32_reaches_the_same_score():
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    a = MLPClassifier(random_state=0, max_iter=50).fit(x, y)
    b = theirs.MLPClassifier(random_state=0, max_iter=50).fit(x, y)
    assert abs(a.score(x, y) - b.score(x, y)) < 0.01
    x, y = load_diabetes(return_X_y=True)
    options = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.02}
    a, b = MLPRegressor(**options).fit(x, y), theirs.MLPRegressor(**options).fit(x, y)
    assert abs(a.score(x, y) - b.score(x, y)) < 0.02


def test_convergence_is_told_of():
    _, _, x, y = tables()["classes"]
    for solver in ("adam", "sgd", "lbfgs"):
        with pytest.warns(ConvergenceWarning, match="[Mm]ax"):
            MLPClassifier(solver=solver, max_iter=2).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(max_iter=1000, tol=0.1).fit(x, y)
        MLPClassifier(max_iter=2).partial_fit(x, y, classes=[0, 1, 2])
    with pytest.warns(UserWarning, match="clipped"):
        MLPClassifier(batch_size=1000, tol=0.1).fit(x, y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_is_scikit_learns(kind, solver):
    ours, their, x, y = tables()[kind]
    options = {"solver": solver, "random_state": 0, "epsilon": 1e-20, "learning_rate_init": 0.01}
    a, b = ours(**options, **EXACT), their(**options)
    classes = {"classes": np.unique(y)} if kind.endswith("classes") else {}
    if kind == "labels":
        classes = {"classes": np.arange(4)}
    for first in (0, 20, 40, 0):
        rows = slice(first, first + 20)
        for estimator in (a, b):
            estimator.partial_fit(x[rows], y[rows], **classes)
    assert_same_weights(a, b, 1e-7)
    assert a.t_ == b.t_ == 80
    assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-6)


def test_warm_start_is_scikit_learns():
    for kind in KINDS:
        ours, their, x, y = tables()[kind]
        options = {"solver": "sgd", "random_state": 0, "max_iter": 3, "warm_start": True}
        a, b = ours(**options, **EXACT), their(**options)
        for _ in range(3):
            a.fit(x, y)
            b.fit(x, y)
        assert_same_weights(a, b)
        assert a.loss_curve_ == pytest.approx(b.loss_curve_, rel=1e-8)
        assert (a.t_, a.n_iter_) == (b.t_, b.n_iter_)


def test_verbose_tells_what_scikit_learn_tells(capsys):
    for options in ({}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive"}):
        _, their, x, y = tables()["classes"]
        given = {"random_state": 0, "verbose": True, "tol": 0.1, "max_iter": 60, **options}
        MLPClassifier(**given, **EXACT).fit(x, y)
        own = capsys.readouterr().out
        their(**given).fit(x, y)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" = ")[0] for line in own.splitlines()] == [
            line.split(" = ")[0] for line in lines
        ]


def test_warm_starts_may_change_how_they_train():
    _, _, x, y = tables()["classes"]
    model = MLPClassifier(solver="lbfgs", warm_start=True, max_iter=20, random_state=0).fit(x, y)
    before = model.loss_
    for changed in (
        {"solver": "adam", "max_iter": 3},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"early_stopping": False, "dropout": 0.1, "dtype": "float64"},
        {"batch_norm": True, "layer_norm": True},
        {"batch_norm": False},
        {"solver": "sgd", "activation": "tanh", "dropout": 0.0},
        {"solver": "lbfgs", "max_iter": 30},
    ):
        model.set_params(**changed).fit(x, y)
        assert np.isfinite(model.loss_)
        assert model.n_iter_ <= model.max_iter
    assert model.loss_ < 2 * before + 1
