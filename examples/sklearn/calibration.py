"""Probabilities that mean what they say: python examples/sklearn/calibration.py

A network that is trained for long is surer than it is right. `CalibratedClassifierCV` learns from
rows that the network has not seen how sure it may be.
"""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import train_test_split

from fastmlp.sklearn import MLPClassifier

x, y = make_classification(3000, 20, n_informative=6, flip_y=0.15, random_state=0)
x, x_test, y, y_test = train_test_split(x, y, random_state=0)

network = MLPClassifier((64,), learning_rate_init=0.01, max_iter=1000, random_state=0)
calibrated = CalibratedClassifierCV(network, method="isotonic", cv=5)
for name, classifier in {"network": network, "calibrated": calibrated}.items():
    p = classifier.fit(x, y).predict_proba(x_test)[:, 1]
    print(
        f"{name:10}  accuracy {classifier.score(x_test, y_test):.3f}"
        f"  Brier score {brier_score_loss(y_test, p):.3f}  log loss {log_loss(y_test, p):.3f}"
    )
