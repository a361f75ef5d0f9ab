"""What each column adds to a prediction: python examples/sklearn/shap_values.py

The kernel explainer of SHAP (`pip install shap`) takes any function from rows to outputs. Its
values and the mean output add up to what the network says.
"""

import numpy as np
import shap
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

from fastmlp.sklearn import MLPClassifier

data = load_wine()
x, y = scale(data.data), data.target
model = MLPClassifier((32,), max_iter=1000, random_state=0).fit(x, y)

background = shap.kmeans(x, 10)
explainer = shap.KernelExplainer(model.predict_proba, background)
rows = x[::30]
values = explainer.shap_values(rows, nsamples=200, silent=True)  # rows, columns, classes

for row, p in enumerate(model.predict_proba(rows)):
    said = int(np.argmax(p))
    parts = values[row, :, said]
    error = abs(explainer.expected_value[said] + parts.sum() - p[said])
    most = [f"{data.feature_names[i]} {parts[i]:+.3f}" for i in np.argsort(-abs(parts))[:3]]
    print(f"class {said}, {p[said]:.3f}: {', '.join(most)} (the sum is off by {error:.0e})")
