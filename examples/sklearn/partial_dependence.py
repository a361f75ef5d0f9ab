"""What a network makes of single columns: python examples/sklearn/partial_dependence.py [--show]

`PartialDependenceDisplay` draws it into partial_dependence.png, or onto the screen.
"""

import sys

import matplotlib as mpl
from sklearn.datasets import make_friedman1
from sklearn.inspection import PartialDependenceDisplay

from fastmlp.sklearn import MLPRegressor

show = "--show" in sys.argv
if not show:
    mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

x, y = make_friedman1(1000, noise=0.3, random_state=0)  # 5 of the 10 columns matter
model = MLPRegressor(
    hidden_layer_sizes=(64, 64), max_iter=500, learning_rate_init=0.01, random_state=0
).fit(x, y)
print(f"R2 {model.score(x, y):.3f}")

display = PartialDependenceDisplay.from_estimator(
    model, x, [0, 2, 3, 9, (0, 1)], kind="average", grid_resolution=20, n_cols=3
)
display.figure_.set_size_inches(9, 6)
display.figure_.tight_layout()
if show:
    plt.show()
else:
    display.figure_.savefig("partial_dependence.png")
