"""Probabilities of classes, from whatever a model gives."""

from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp.modules import Module
from fastmlp.plot.arguments import Classes
from fastmlp.plot.style import Array


class Predictor:
    """Gives (rows, classes) of probabilities, or of what is as good as them.

    Parameters
    ----------
    model : object with `predict` or `predict_proba`
    logits : bool, optional
        Whether `predict` gives logits.

    Attributes
    ----------
    classes : sequence or None
        The labels of a classifier of scikit-learn's kind.
    """

    def __init__(self, model: Any, logits: Any = None) -> None:
        self.classes = getattr(model, "classes_", None)
        if logits is not None:
            _checks.flag("logits", logits)
        self._logits = gives_logits(model) if logits is None else bool(logits)
        self._has_probabilities = hasattr(model, "predict_proba")
        if isinstance(model, type) or not (
            self._has_probabilities or callable(getattr(model, "predict", None))
        ):
            raise TypeError(f"model: expected one with predict, got {_checks.show(model)}")
        self._model = model

    def __call__(self, x: Any) -> Array:
        """Of the rows of x."""
        if self._has_probabilities:
            return np.asarray(self._model.predict_proba(x), dtype=np.float32)
        y = np.asarray(self._model.predict(x))
        if y.ndim == 1 and self.classes is not None:  # labels
            return np.asarray(y[:, None] == np.asarray(self.classes), dtype=np.float32)
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise ValueError(f"model: expected outputs of shape (rows, classes), got {y.shape}")
        y = y.reshape(len(y), -1).astype(np.float64)
        if not np.isfinite(y).all():
            raise ValueError("model: expected finite outputs, got NaN or infinity")
        return self._of_outputs(y).astype(np.float32)

    def _of_outputs(self, y: Array) -> Array:
        if y.shape[1] == 1:
            p = 0.5 * (1 + np.tanh(y / 2)) if self._logits else y
            return np.hstack([1 - p, p])
        if not self._logits:
            return y
        e = np.exp(y - y.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    def index_of(self, label: Any, count: int, classes: Classes | None) -> int:
        """The column of a class, by its label, its name or its index."""
        for known in (self.classes, None if classes is None else classes.names):
            for index, name in enumerate([] if known is None else known):
                if type(label) is not bool and name == label and index < count:
                    return index
        if isinstance(label, str):
            names = [] if classes is None else classes.names
            raise ValueError(f"of: expected one of the classes {', '.join(names)}, got {label!r}")
        return _checks.integer("of", label, at_least=0, below=count)


def gives_logits(model: object) -> bool:
    """Say whether a model of fastmlp ends in no probabilities; of others it is not known."""
    if not isinstance(model, Module):
        return False
    last = model._compiled().operations[-1]
    if last[0] != "activation":
        return True
    _, _, name, low, high = last
    return not (name in ("sigmoid", "softmax") or (name == "hardtanh" and low >= 0 and high <= 1))
