"""scikit-learn's own checks of estimators, on several settings of ours."""

import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp.sklearn import MLPClassifier, MLPQuantileRegressor, MLPRegressor

STOPS = {"early_stopping": True, "n_iter_no_change": 5, "validation_fraction": 0.3}
ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPClassifier(max_iter=100, **STOPS),
    MLPClassifier((8, 4), "tanh", max_iter=100, dtype="float64", solver="sgd"),
    MLPClassifier(max_iter=100, solver="lbfgs", class_weight="balanced"),
    MLPClassifier(max_iter=100, dtype="float64", layer_norm=True, max_grad_norm=1.0),
    MLPClassifier(max_iter=100, missing="indicator", categorical_features=[0]),
    MLPRegressor(max_iter=100),
    MLPRegressor(max_iter=100, **STOPS),
    MLPRegressor("huber", (40, 20), "gelu", max_iter=100, dtype="float64", learning_rate_init=0.01),
    MLPRegressor(max_iter=100, solver="lbfgs"),
    MLPRegressor(hidden_layer_sizes=(10,), activation="tanh", max_iter=100, solver="lm"),
    MLPRegressor(max_iter=100, missing="indicator", dtype="float64"),
    MLPQuantileRegressor(0.5, max_iter=300, dtype="float64", learning_rate_init=0.01),
]
OF_WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
OF_PARTIAL_FIT = (
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
    "check_estimators_partial_fit_n_features",
)


def reasons(estimator):
    """The checks that cannot pass, and why; scikit-learn's own MLP has the same limits but one."""
    if estimator.early_stopping:
        split = "rows that are held out are drawn from all rows, whatever they weigh"
        ties = "the first epoch that gets the held-out rows of the heavy class right is the best"
        partial = "partial_fit has no rows to hold out: it refuses early_stopping=True"
        return (
            {"check_class_weight_classifiers": ties}
            | dict.fromkeys(OF_WEIGHTS, split)
            | dict.fromkeys(OF_PARTIAL_FIT, partial)
        )
    if estimator.dtype == "float32" and estimator.solver not in ("lbfgs", "lm"):
        rounding = "float32 rounds the sum of two rows otherwise than twice a row; float64 passes"
        return dict.fromkeys(OF_WEIGHTS, rounding)
    return {}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=reasons)
def test_checks(estimator, check):
    check(estimator)
