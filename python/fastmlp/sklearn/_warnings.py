"""Warnings that point at the user's line."""

import os
import warnings

import joblib
import sklearn

from fastmlp import _checks

_BETWEEN = tuple(os.path.dirname(library.__file__) for library in (sklearn, joblib))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn where the user's code calls an estimator, be it through scikit-learn's own."""
    warnings.warn(message, category, stacklevel=_checks.user_level(*_BETWEEN))
