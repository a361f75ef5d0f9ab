"""Which columns a network uses: python examples/sklearn/permutation.py

`permutation_importance` shuffles one column after the other and looks how much worse it gets.
"""

from sklearn.datasets import load_wine
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp.sklearn import MLPClassifier

data = load_wine()
x, x_test, y, y_test = train_test_split(data.data, data.target, random_state=0)
network = MLPClassifier((16,), max_iter=1000, random_state=0)
model = make_pipeline(StandardScaler(), network).fit(x, y)
print(f"accuracy on rows that it has not seen: {model.score(x_test, y_test):.3f}")

found = permutation_importance(model, x_test, y_test, n_repeats=20, random_state=0)
for i in found.importances_mean.argsort()[::-1]:
    mean, spread = found.importances_mean[i], found.importances_std[i]
    print(f"{data.feature_names[i]:28} {mean:6.3f} +- {spread:.3f}")
