"""Intervals that hold what they promise: python examples/sklearn/conformal.py

Conformal prediction (Vovk et al., 2005) makes an interval of any regressor's prediction: MAPIE
measures on rows that the network has not seen how far off it is, and takes that.
"""

from mapie.regression import SplitConformalRegressor
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from fastmlp.sklearn import BaggingMLPRegressor, MLPRegressor

x, y = make_friedman1(2000, noise=1.0, random_state=0)
x, x_test, y, y_test = train_test_split(x, y, random_state=0)
x, x_seen_later, y, y_seen_later = train_test_split(x, y, random_state=0)

network = MLPRegressor(
    hidden_layer_sizes=(32,),
    learning_rate_init=0.01,
    standardize_target=True,
    max_iter=500,
    random_state=0,
)
together = BaggingMLPRegressor(network, 10, random_state=0)
for name, regressor in {"network": network, "ten networks": together}.items():
    regressor.fit(x, y)
    conformal = SplitConformalRegressor(regressor, confidence_level=0.9, prefit=True)
    _, intervals = conformal.conformalize(x_seen_later, y_seen_later).predict_interval(x_test)
    low, high = intervals[:, 0, 0], intervals[:, 1, 0]
    inside = ((low <= y_test) & (y_test <= high)).mean()
    print(f"{name:12}  {inside:.0%} of the rows inside, width {(high - low).mean():.2f}")
