"""Would more rows help? python examples/sklearn/learning_curve.py [--show]

`LearningCurveDisplay` draws the scores over the number of rows into learning_curve.png, or onto the
screen.
"""

import sys

import matplotlib as mpl
from sklearn.datasets import load_digits
from sklearn.model_selection import LearningCurveDisplay

from fastmlp.sklearn import MLPClassifier

show = "--show" in sys.argv
if not show:
    mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

x, y = load_digits(return_X_y=True)
display = LearningCurveDisplay.from_estimator(
    MLPClassifier((64,), early_stopping=True, random_state=0),
    *(x / 16, y),
    train_sizes=[0.1, 0.2, 0.4, 0.7, 1.0],
    score_name="accuracy",
)
for rows, scores in zip(display.train_sizes, display.test_scores, strict=True):
    print(f"{rows:5} rows: accuracy {scores.mean():.3f}")
if show:
    plt.show()
else:
    display.figure_.savefig("learning_curve.png")
