"""The same settings reach the same scores as scikit-learn's: means over seeds, within noise."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn import neural_network as theirs
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_regression,
)
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from fastmlp import sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SEEDS = 10


def synthetic():
    x, y = make_regression(600, 12, n_informative=8, noise=20.0, random_state=0)
    return x, y + 20 * np.sin(2 * x[:, 0]) * x[:, 1]


# Each data set, the estimator, its settings.
PROBLEMS = {
    "digits": (load_digits, "MLPClassifier", {"hidden_layer_sizes": (32,), "max_iter": 40}),
    "digits, sgd": (
        load_digits,
        "MLPClassifier",
        {"solver": "sgd", "learning_rate_init": 0.05, "max_iter": 40},
    ),
    "digits, early stopping": (
        load_digits,
        "MLPClassifier",
        {"early_stopping": True, "hidden_layer_sizes": (50,)},
    ),
    "wine": (load_wine, "MLPClassifier", {"hidden_layer_sizes": (20,)}),
    "wine, lbfgs": (load_wine, "MLPClassifier", {"solver": "lbfgs", "alpha": 0.1}),
    "breast cancer": (load_breast_cancer, "MLPClassifier", {}),
    "breast cancer, tanh, two layers": (
        load_breast_cancer,
        "MLPClassifier",
        {"activation": "tanh", "hidden_layer_sizes": (20, 10), "alpha": 1.0},
    ),
    "diabetes": (load_diabetes, "MLPRegressor", {"alpha": 1.0, "batch_size": 53}),
    # 265 rows make a batch of 200 and one of 65, which scikit-learn divides `alpha` by.
    "diabetes, unequal batches": (
        load_diabetes,
        "MLPRegressor",
        {"learning_rate_init": 0.01, "alpha": 1.0},
    ),
    "diabetes, lbfgs": (
        load_diabetes,
        "MLPRegressor",
        {"solver": "lbfgs", "hidden_layer_sizes": (5,), "alpha": 10.0},
    ),
    "diabetes, adaptive sgd": (
        load_diabetes,
        "MLPRegressor",
        {
            "solver": "sgd",
            "learning_rate": "adaptive",
            "learning_rate_init": 0.01,
            "hidden_layer_sizes": (20,),
        },
    ),
    "synthetic": (synthetic, "MLPRegressor", {"learning_rate_init": 0.01}),
    "synthetic, logistic": (
        synthetic,
        "MLPRegressor",
        {"activation": "logistic", "learning_rate_init": 0.02, "batch_size": 32},
    ),
}


def scores(name, seed):
    """Of both, on the same rows, which fits have not seen."""
    load, estimator, settings = PROBLEMS[name]
    x, y = load() if load is synthetic else load(return_X_y=True)
    if estimator == "MLPRegressor":
        y = scale(y)
    x, x_test, y, y_test = train_test_split(scale(x), y, test_size=0.4, random_state=seed)
    return [
        getattr(module, estimator)(random_state=seed, **settings).fit(x, y).score(x_test, y_test)
        for module in (ours, theirs)
    ]


SLOW = {"digits", "digits, sgd", "digits, early stopping", "breast cancer"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in PROBLEMS]
)
def test_scores(name):
    """The means differ by two standard errors of the difference of pairs at most.

    One problem in twenty would fail by chance, were the seeds not fixed. Scores that are nearly
    equal for each seed leave no room, so that the means may always differ by 0.002.
    """
    found = np.array([scores(name, seed) for seed in range(SEEDS)])
    difference = found[:, 0] - found[:, 1]
    error = difference.std(ddof=1) / SEEDS**0.5
    assert found[:, 0].mean() > 0.4
    assert abs(difference.mean()) <= max(2 * error, 0.002), found
