"""What our estimators have beyond scikit-learn's: layers, losses, weights, validation."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_classification, make_regression
from sklearn.metrics import accuracy_score, d2_pinball_score, log_loss, r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

import fastmlp as fm
from fastmlp.sklearn import PRESETS, MLPClassifier, MLPQuantileRegressor, MLPRegressor, _data
from fastmlp.sklearn._network import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = make_classification(90, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
XR, YR = make_regression(90, 6, random_state=0)
YR = YR / YR.std()


def same_weights(a, b, **tolerance):
    for own, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(own, other, **tolerance)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_all_activations_learn(activation):
    options = {"solver": "lbfgs", "random_state": 0, "max_iter": 300}
    assert MLPClassifier((12,), activation, **options).fit(X, Y).score(X, Y) > 0.7


def test_each_layer_has_its_activation():
    model = MLPRegressor(
        hidden_layer_sizes=(5, 4),
        activation=["tanh", fm.LeakyReLU(0.2)],
        dtype="float64",
        max_iter=3,
    ).fit(XR, YR)
    (w0, w1, w2), (b0, b1, b2) = model.coefs_, model.intercepts_
    h = np.tanh(XR @ w0 + b0) @ w1 + b1
    h = np.where(h > 0, h, 0.2 * h)
    np.testing.assert_allclose(model.predict(XR), (h @ w2 + b2)[:, 0], rtol=1e-10)


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"layer_norm": True}])
def test_norms(options):
    model = MLPClassifier((10, 10), random_state=0, max_iter=60, learning_rate_init=0.02, **options)
    assert model.fit(100 * X + 50, Y).score(100 * X + 50, Y) > 0.85
    kinds = {type(module).__name__ for module in model._model.modules()}
    assert kinds & {"BatchNorm1d", "LayerNorm"}


def test_dropout_is_of_the_training_alone():
    options = {"random_state": 0, "max_iter": 30, "dtype": "float64"}
    plain = MLPClassifier((50,), **options).fit(X, Y)
    dropped = MLPClassifier((50,), dropout=0.5, **options).fit(X, Y)
    again = MLPClassifier((50,), dropout=[0.5], **options).fit(X, Y)
    same_weights(dropped, again, rtol=0)
    assert not np.allclose(plain.coefs_[0], dropped.coefs_[0])
    assert dropped.loss_ > plain.loss_
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("given", ["balanced", {0: 1.0, 1: 3.0, 2: 0.5}])
def test_weights_of_classes_are_weights_of_rows(given, solver):
    rows = np.r_[np.flatnonzero(Y == 0), np.flatnonzero(Y > 0)[:20]]
    x, y = X[rows], Y[rows]
    options = {"solver": solver, "max_iter": 5, "random_state": 0, "dtype": "float64"}
    a = MLPClassifier(class_weight=given, **options).fit(x, y)
    b = MLPClassifier(**options).fit(x, y, compute_sample_weight(given, y))
    same_weights(a, b, rtol=1e-6)
    own = np.random.default_rng(0).uniform(0.5, 2, len(y))
    c = MLPClassifier(class_weight={0: 2.0, 1: 1.0, 2: 1.0}, **options).fit(x, y, own)
    d = MLPClassifier(**options).fit(x, y, own * np.where(y == 0, 2, 1))
    same_weights(c, d, rtol=1e-6)
    names = np.array(["a", "b"])[(y > 0).astype(int)]
    e = MLPClassifier(class_weight={"a": 5.0}, **options).fit(x, names)
    f = MLPClassifier(**options).fit(x, names, np.where(names == "a", 5.0, 1.0))
    same_weights(e, f, rtol=1e-6)


def test_weights_of_labels_balance_them():
    labels = np.stack([Y > 0, Y > 1], axis=1).astype(int)
    options = {"max_iter": 5, "random_state": 0, "dtype": "float64"}
    a = MLPClassifier(class_weight="balanced", **options).fit(X, labels)
    b = MLPClassifier(**options).fit(X, labels, compute_sample_weight("balanced", labels))
    same_weights(a, b, rtol=1e-10)


@pytest.mark.parametrize(
    ("loss", "best"),
    [
        ("squared_error", np.mean),
        ("absolute_error", np.median),
        ("quantile", lambda y: np.quantile(y, 0.8)),
        ("huber", None),
        ("poisson", np.mean),
    ],
)
def test_each_loss_has_its_constant(loss, best):
    """Of a table without information the prediction is the loss's best constant."""
    y = np.random.default_rng(0).exponential(size=501)
    model = MLPRegressor(
        loss, (2,), quantile=0.8, huber_delta=0.5, random_state=0, dtype="float64", tol=0,
        alpha=0, learning_rate_init=0.01, max_iter=1500, batch_size=501, n_iter_no_change=np.inf,
    )  # fmt: skip
    constant = model.fit(np.zeros((501, 1)), y).predict([[0.0]])[0]
    if best is not None:
        assert constant == pytest.approx(best(y), abs=0.02)
    else:
        pull = np.clip(y - constant, -0.5, 0.5)
        assert abs(pull.mean()) < 0.01


def test_losses_are_told_as_their_means():
    y2 = np.stack([YR, -YR, 2 * YR], axis=1)
    options = {"max_iter": 1, "alpha": 0, "batch_size": 90, "dtype": "float64", "random_state": 0}
    for loss, value in {
        "squared_error": lambda e: e**2 / 2,
        "absolute_error": np.abs,
        "huber": lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5),
    }.items():
        one = MLPRegressor(loss, **options).fit(XR, y2, X_val=XR, y_val=y2)
        told = one.validation_loss_curve_[-1]
        assert told == pytest.approx(value(y2 - one.predict(XR)).mean(), rel=1e-10)


def test_rows_to_validate_with():
    weights = np.random.default_rng(0).uniform(0.5, 2, 30)
    for cls, x, y, score in (
        (MLPClassifier, X, Y, accuracy_score),
        (MLPClassifier, X, np.array(["a", "b"])[Y // 2], accuracy_score),
        (MLPRegressor, XR, YR, r2_score),
        (MLPRegressor, XR, np.stack([YR, np.ones(90)], axis=1), r2_score),
    ):
        model = cls(max_iter=6, random_state=0, dtype="float64", alpha=0)
        model.fit(
            x[:60], y[:60], X_val=x[60:], y_val=y[60:], sample_weight_val=weights
        )  # fmt: skip
        predicted = model.predict(x[60:])
        assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 6
        expected = score(y[60:], predicted, sample_weight=weights)
        assert model.validation_scores_[-1] == pytest.approx(expected, rel=1e-9)
        if cls is MLPClassifier:
            probabilities = model.predict_proba(x[60:])
            loss = log_loss(y[60:], probabilities, sample_weight=weights, labels=model.classes_)
            assert model.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-9)


def test_the_best_weights_come_back():
    model = MLPClassifier(
        (30,), early_stopping=True, n_iter_no_change=8, random_state=1, learning_rate_init=0.02,
        batch_norm=True,
    )  # fmt: skip
    model.fit(X[:60], Y[:60], X_val=X[60:], y_val=Y[60:])
    assert model.n_iter_ == len(model.validation_scores_) < 200
    assert model.score(X[60:], Y[60:]) == max(model.validation_scores_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert np.argmax(model.validation_scores_) < model.n_iter_ - 1


def test_gradients_are_limited():
    options = {"solver": "sgd", "momentum": 0, "learning_rate_init": 1.0, "alpha": 0}
    options |= {"max_iter": 1, "random_state": 0, "dtype": "float64", "batch_size": 90}
    model = MLPRegressor(max_grad_norm=1e-3, **options).fit(XR, 1000 * YR)
    first = MLPRegressor(**(options | {"learning_rate_init": 1e-15})).fit(XR, 1000 * YR)
    moved = [
        a - b
        for a, b in zip(
            model.coefs_ + model.intercepts_, first.coefs_ + first.intercepts_, strict=True
        )
    ]
    assert np.sqrt(sum((d**2).sum() for d in moved)) == pytest.approx(1e-3, rel=1e-6)


def test_callbacks_see_the_epochs_and_may_end_them():
    seen = []
    model = MLPClassifier(max_iter=50, callbacks=lambda info: seen.append(info.loss))
    model.fit(X, Y)
    assert len(seen) == model.n_iter_
    model = MLPClassifier(callbacks=[lambda info: info.epoch == 4]).fit(X, Y)
    assert model.n_iter_ == 5
    checkpoint = fm.callbacks.ModelCheckpoint(monitor="loss")
    MLPClassifier(callbacks=[checkpoint], max_iter=5).fit(X, Y)
    assert checkpoint.last_epoch == 4


def test_adamw_shrinks_the_weights_by_the_rate():
    options = {"solver": "adamw", "max_iter": 1, "batch_size": 90, "dtype": "float64"}
    options |= {"random_state": 0, "learning_rate_init": 0.1}
    a, b = (MLPRegressor(alpha=alpha, **options).fit(XR, YR) for alpha in (0.0, 0.5))
    start = MLPRegressor(**(options | {"learning_rate_init": 1e-15, "alpha": 0})).fit(XR, YR)
    np.testing.assert_allclose(a.coefs_[0] - b.coefs_[0], 0.05 * start.coefs_[0], atol=1e-12)
    np.testing.assert_allclose(a.intercepts_[0], b.intercepts_[0], atol=1e-12)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_sparse_tables_are_tables(make, at_once, options, monkeypatch):
    if not at_once:
        monkeypatch.setattr(_data, "AT_ONCE", 1000)
    x = np.where(np.abs(X) > 1, X, 0)
    given = {"max_iter": 5, "random_state": 0, "dtype": "float64", "batch_size": 32, **options}
    for shuffle in (True, False):
        a = MLPClassifier(shuffle=shuffle, **given).fit(make(x), Y)
        b = MLPClassifier(shuffle=shuffle, **given).fit(x, Y)
        same_weights(a, b, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(a.predict_proba(make(x)), b.predict_proba(x), rtol=1e-9)
        assert len(a.predict(make(x))) == 90
    MLPClassifier(max_iter=3).fit(make(x), Y, np.ones(90)).partial_fit(make(x), Y)


def test_float32_inside_is_as_good_as_float64():
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    scores = [
        MLPClassifier(random_state=0, max_iter=40, dtype=dtype).fit(x, y).score(x, y)
        for dtype in ("float32", "float64")
    ]
    assert abs(scores[0] - scores[1]) < 0.005


def test_quantiles_are_those_of_the_targets_and_do_not_cross():
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, (3000, 1))
    y = x[:, 0] * random.exponential(size=3000)
    quantiles = (0.9, 0.1, 0.5)
    model = MLPQuantileRegressor(quantiles, (30, 30), random_state=0, max_iter=100).fit(x, y)
    predicted = model.predict(x)
    assert predicted.shape == (3000, 3)
    assert np.all(predicted[:, 1] <= predicted[:, 2])
    assert np.all(predicted[:, 2] <= predicted[:, 0])
    covered = (y[:, None] <= predicted).mean(axis=0)
    np.testing.assert_allclose(covered, quantiles, atol=0.04)
    expected = [
        d2_pinball_score(y, p, alpha=q) for p, q in zip(predicted.T, quantiles, strict=True)
    ]
    assert model.score(x, y) == pytest.approx(np.mean(expected))
    one = MLPRegressor("quantile", (30, 30), quantile=0.9, random_state=0, max_iter=100).fit(x, y)
    assert (y <= one.predict(x)).mean() == pytest.approx(0.9, abs=0.04)
    stops = MLPQuantileRegressor(early_stopping=True, random_state=0, max_iter=20).fit(x, y)
    assert stops.best_validation_score_ > 0


def test_columns_on_one_scale():
    """The same as after a StandardScaler, to the last digits, also far from 0 in float32."""
    options = {"max_iter": 20, "random_state": 0}
    far = X * [1, 1e3, 1e-3, 1, 1, 1] + [0, 1e6, 0, 1, 0, -7]
    scaler = StandardScaler().fit(far)
    a = MLPClassifier(standardize=True, **options).fit(far, Y)
    b = MLPClassifier(**options).fit(scaler.transform(far), Y)
    np.testing.assert_allclose(
        a.predict_proba(far), b.predict_proba(scaler.transform(far)), rtol=1e-4
    )
    weights = np.random.default_rng(0).uniform(0.5, 2, 90)
    scaler.fit(far, sample_weight=weights)
    a = MLPClassifier(standardize=True, **options).fit(far, Y, weights, X_val=far, y_val=Y)
    b = MLPClassifier(**options).fit(scaler.transform(far), Y, weights)
    assert a.validation_scores_[-1] == a.score(far, Y)
    same_weights(a, b, rtol=1e-3, atol=1e-5)
    MLPClassifier(standardize=True, max_iter=2).fit(np.ones((9, 2)), Y[:9])  # no variance
    with pytest.raises(ValueError, match="standardize"):
        MLPClassifier(standardize=True).fit(sparse.csr_array(X), Y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("columns", [1, 2])
def test_targets_on_one_scale(solver, columns):
    options = {"max_iter": 30, "random_state": 0, "dtype": "float64", "solver": solver}
    y = np.stack([1e5 + 1e3 * YR, -YR], axis=1)[:, :columns]
    mean, scale = y.mean(axis=0), y.std(axis=0)
    a = MLPRegressor(standardize_target=True, **options).fit(XR, y.squeeze())
    b = MLPRegressor(**options).fit(XR, ((y - mean) / scale).squeeze())
    expected = b.predict(XR).reshape(y.shape) * scale + mean
    np.testing.assert_allclose(a.predict(XR).reshape(y.shape), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="standardize_target"):
        MLPRegressor("poisson", standardize_target=True).fit(XR, np.abs(y))
    quantiles = MLPQuantileRegressor(standardize_target=True, max_iter=100).fit(XR, y[:, 0])
    assert abs(quantiles.predict(XR).mean() - 1e5) < 1e3


def test_the_rate_falls_as_a_cosine():
    rates = []

    def keep(info):
        rates.append(info.trainer.optimizer.lr)

    for solver in ("adam", "sgd"):
        rates.clear()
        options = {"solver": solver, "learning_rate": "cosine", "learning_rate_init": 0.1}
        MLPClassifier(max_iter=4, callbacks=keep, **options).fit(X, Y)
        assert rates == pytest.approx([0.1 * (2 + np.sqrt(2)) / 4, 0.05, 0.1 * (2 - np.sqrt(2)) / 4, 1e-5])  # fmt: skip  # noqa: E501


def test_ready_settings():
    model = MLPRegressor(preset="tabular", random_state=0)
    assert model.get_params()["solver"] == "adam"  # what a user sees stays
    model.fit(100 * XR + 1e4, 50 * YR + 1e3)
    assert model.score(100 * XR + 1e4, 50 * YR + 1e3) > 0.9
    assert model.n_iter_ == PRESETS["tabular"]["max_iter"]
    assert [len(b) for b in model.intercepts_[:-1]] == [256, 256]
    own = MLPClassifier((7,), preset="tabular", max_iter=3).fit(X, Y)
    assert (own.n_iter_, own.coefs_[0].shape) == (3, (6, 7))
    again = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(again.predict_proba(X), own.predict_proba(X))
    again.partial_fit(X, Y)
    MLPRegressor("poisson", preset="tabular", max_iter=2).fit(XR, np.abs(YR))
    MLPClassifier(preset="tabular", early_stopping=True).fit(X, Y)
    assert own.validation_scores_ is None
    many = np.random.default_rng(0).normal(size=(10_001, 3))
    stops = MLPRegressor(hidden_layer_sizes=8, preset="tabular", batch_size=1000, max_iter=4).fit(
        many, many[:, 0]
    )
    assert len(stops.validation_scores_) == 4


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (13, 3), (65, 64), (2, 2), (90, 89)])
def test_no_batch_of_batch_norm_has_a_single_row(rows, batch_size):
    model = MLPClassifier(batch_norm=True, batch_size=batch_size, max_iter=3)
    assert np.isfinite(model.fit(X[:rows], Y[:rows] % 2).loss_)


class _Small(MLPClassifier):
    """A class of one's own that has fewer parameters."""

    def __init__(self, width: int = 5) -> None:
        self.width = width
        super().__init__((width,), max_iter=30, random_state=0)


def test_a_subclass_with_parameters_of_its_own() -> None:
    x, y = make_classification(60, random_state=0)
    model = clone(_Small(7)).fit(x, y)
    same = MLPClassifier((7,), max_iter=30, random_state=0).fit(x, y)
    assert model.get_params() == {"width": 7}
    np.testing.assert_array_equal(model.predict_proba(x), same.predict_proba(x))


@pytest.mark.parametrize("weights", [None, np.arange(90) % 3])
def test_lm_finds_an_optimum_of_the_same_loss(weights):
    options = {"activation": "tanh", "alpha": 0.1, "random_state": 0, "tol": 1e-8}
    models = [
        MLPRegressor(hidden_layer_sizes=(3,), solver=solver, max_iter=most, **options)
        for solver, most in (("lm", 500), ("lbfgs", 20000))
    ]
    ours, theirs = (model.fit(XR, YR, sample_weight=weights) for model in models)
    assert ours.loss_ < 1.01 * theirs.loss_
    assert ours.n_iter_ < theirs.n_iter_
    assert all(w.dtype == np.float64 for w in ours.coefs_)
    # At an optimum: L-BFGS, which begins there, goes no further.
    loss = ours.loss_
    ours.set_params(solver="lbfgs", warm_start=True, tol=1e-6).fit(XR, YR, sample_weight=weights)
    assert ours.loss_ == pytest.approx(loss, rel=1e-6)


def test_lm_with_layer_norm_finds_an_optimum():
    options = {"activation": "tanh", "alpha": 0.1, "random_state": 0, "tol": 1e-8}
    model = MLPRegressor(hidden_layer_sizes=(4,), layer_norm=True, max_iter=500, **options)
    loss = model.set_params(solver="lm").fit(XR, YR).loss_
    model.set_params(solver="lbfgs", warm_start=True, tol=1e-6).fit(XR, YR)
    assert model.loss_ == pytest.approx(loss, rel=1e-4)
