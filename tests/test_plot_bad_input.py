"""The pictures: wrong arguments are named, and nothing is drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

import fastmlp as fm  # noqa: E402
from fastmlp import plot  # noqa: E402 - after the check that there is anything to test


class _Half:
    """Predicts the sign of the first column, as one probability or as two scores."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.largest = 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(x))
        right = (x[:, :1] > 0).astype(np.float32)
        return right if self.columns == 1 else np.hstack([1 - right, right])


X = np.array([[-1.0, 0.0], [1.0, 0.0], [-0.5, 1.0], [0.5, -1.0]])
LABELS = np.array([0, 1, 0, 1])


def _wide() -> fm.Sequential:
    return fm.MLP([64, 200, 10])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: plot.loss(3), TypeError, "history: expected a History, .* got 3"),
        (lambda: plot.loss("x"), TypeError, "history: expected a History"),
        (lambda: plot.loss({}), ValueError, "history: expected at least one training"),
        (lambda: plot.loss([1.0, 2.0], ax=3), TypeError, "ax: expected matplotlib's Axes, got 3"),
        (lambda: plot.loss([1.0], plot.figure(1, 2)[1]), TypeError, "take one of them"),
        (lambda: plot.loss([1.0], log=1), TypeError, "log: expected True or False"),
        (
            lambda: plot.loss(fm.Trainer(m := fm.MLP([1, 1]), fm.SGD(m.parameters()))),
            ValueError,
            "history: expected at least one epoch",
        ),
        (lambda: plot.gradient_norm(fm.callbacks.GradientNorm()), ValueError, "as a callback"),
        (lambda: plot.gradient_norm(1), TypeError, "norms: expected a GradientNorm"),
        (lambda: plot.predictions([1, 2], [1]), ValueError, "y: expected 2 rows, as t has, got 1"),
        (lambda: plot.predictions([1, np.nan], [1, 2]), ValueError, "t: .* finite .* in row 1"),
        (lambda: plot.residuals(["a"], [1]), TypeError, "t: expected an array of real numbers"),
        (lambda: plot.residuals([[1, 2]], [[1]]), ValueError, r"y: expected shape \(1, 2\)"),
        (lambda: plot.confusion_matrix([0, 1], [0]), ValueError, "y: expected 2 rows"),
        (
            lambda: plot.confusion_matrix([0, 0.5], [0, 1]),
            ValueError,
            "t: expected classes, got 0.5",
        ),
        (lambda: plot.confusion_matrix([0, 1], ["a", "b"]), TypeError, "y: .* same kind"),
        (lambda: plot.confusion_matrix(["a", None], ["a", "a"]), ValueError, "t: .* missing value"),
        (lambda: plot.confusion_matrix([0, 2], np.eye(2)), ValueError, "y: expected a column for"),
        (
            lambda: plot.confusion_matrix([0, 1], [0, 1], class_names=["a"]),
            ValueError,
            "class_names: expected 2 names",
        ),
        (
            lambda: plot.calibration([0, 1], [0, 1.5]),
            ValueError,
            "probabilities: .* 0 to 1, got 1.5",
        ),
        (lambda: plot.calibration([0, 2], [0, 1]), ValueError, "t: expected classes below 2"),
        (lambda: plot.calibration([0, 1], [0, 1], bins=1), ValueError, "bins: expected"),
        (lambda: plot.first_layer(_wide(), (7, 9)), ValueError, "shape: .* of 64 values"),
        (lambda: plot.first_layer(fm.MLP([7, 1])), ValueError, "shape: expected that of an input"),
        (lambda: plot.first_layer(_wide(), units=[200]), ValueError, "units: expected"),
        (lambda: plot.first_layer(fm.ReLU()), ValueError, "model: expected a Linear layer"),
        (lambda: plot.first_layer(3), TypeError, "model: expected a model or an estimator"),
        (lambda: plot.network(_wide()), ValueError, "at most 24 units .* got layers of 64-200-10"),
        (
            lambda: plot.network(fm.Residual(fm.Linear(2, 2))),
            TypeError,
            "model: expected a chain of layers",
        ),
        (
            lambda: plot.network(fm.MLP([2, 1]), feature_names=["a"]),
            ValueError,
            "feature_names: expected 2 names, got 1",
        ),
        (lambda: plot.activations(fm.MLP([2, 1]), X), ValueError, "model: expected activations"),
        (lambda: plot.activations(fm.MLP([2, 3, 1]), X[:1]), ValueError, "x: .* at least two rows"),
        (lambda: plot.activation_gallery("nothing"), ValueError, "activations: expected"),
        (
            lambda: plot.activation_gallery(limits=(1, 0)),
            ValueError,
            "limits: expected the smaller",
        ),
        (
            lambda: plot.decision_regions(3, X, LABELS),
            TypeError,
            "model: expected one with predict",
        ),
        (
            lambda: plot.decision_regions(_Half(2), X[:, :1], LABELS),
            ValueError,
            r"x: expected shape \(rows, at least 2\), got \(4, 1\)",
        ),
        (lambda: plot.decision_regions(_Half(2), X, LABELS[:2]), ValueError, "t: expected 4 rows"),
        (
            lambda: plot.decision_regions(_Half(2), X, LABELS, (0, 0)),
            ValueError,
            "features: expected two different ones",
        ),
        (
            lambda: plot.decision_regions(_Half(2), X, LABELS, (0, 2)),
            ValueError,
            "features: expected an integer from 0 to 1, got 2",
        ),
        (
            lambda: plot.decision_regions(_Half(2), X, LABELS, fixed={0: 1}),
            ValueError,
            "fixed: expected other features",
        ),
        (
            lambda: plot.decision_regions(_Half(2), X, LABELS, step=1e-6),
            ValueError,
            "step: expected at most 10000 points",
        ),
        (
            lambda: plot.class_probabilities(_Half(2), X, LABELS, of="x"),
            ValueError,
            "of: expected one of the classes class 0, class 1, got 'x'",
        ),
        (lambda: plot.class_probabilities(_Half(2), X, of=2), ValueError, "of: expected"),
    ],
)
def test_wrong_calls(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    with pytest.raises(kind, match=message):
        call()
    assert plt.get_fignums() == before, "no empty figure is left"
