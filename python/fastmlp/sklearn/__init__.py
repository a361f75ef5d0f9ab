"""Multi-layer perceptrons for scikit-learn: drop-in for its own ones, trained in native code.

Needs scikit-learn: `pip install "fastmlp[sklearn]"`.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastmlp.sklearn needs scikit-learn; install it with pip install "fastmlp[sklearn]"'
    ) from error

from fastmlp.sklearn._bagging import BaggingMLPClassifier, BaggingMLPRegressor
from fastmlp.sklearn._classifier import MLPClassifier
from fastmlp.sklearn._presets import PRESETS
from fastmlp.sklearn._quantiles import MLPQuantileRegressor
from fastmlp.sklearn._regressor import MLPRegressor
from fastmlp.sklearn._search import MLPSearchCV
from fastmlp.sklearn._table import TableEncoder

__all__ = [
    "PRESETS",
    "BaggingMLPClassifier",
    "BaggingMLPRegressor",
    "MLPClassifier",
    "MLPQuantileRegressor",
    "MLPRegressor",
    "MLPSearchCV",
    "TableEncoder",
]
