"""A frame with categories and missing values: python examples/sklearn/pipeline.py

From the table to a pipeline that is searched, saved, loaded, and asked about a new city.
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fastmlp.sklearn import MLPRegressor

rng = np.random.default_rng(0)
rows = 2000
city = rng.integers(0, 40, rows)
worth = rng.normal(size=40)
frame = pd.DataFrame(
    {
        "area": rng.uniform(30, 200, rows),
        "year": np.where(rng.random(rows) < 0.2, np.nan, rng.integers(1900, 2025, rows)),
        "city": pd.Categorical([f"city {i}" for i in city]),
        "heating": pd.Categorical(rng.choice(["gas", "oil", "pump"], rows)),
    }
)
price = frame["area"] * np.exp(0.3 * worth[city]) + 20 * (frame["heating"] == "pump")
price = price * rng.lognormal(0, 0.05, rows)
train, test, t, t_test = train_test_split(frame, price, random_state=0)


def with_age(table):
    return table.assign(age=2025 - table["year"])


pipeline = make_pipeline(
    FunctionTransformer(with_age),
    MLPRegressor(
        random_state=0,
        preset="tabular",
        max_iter=40,
        categorical_features="from_dtype",
        missing="indicator",
    ),
)
search = GridSearchCV(pipeline, {"mlpregressor__dropout": [0.1, 0.2]}, cv=3).fit(train, t)
print(f"best {search.best_params_}, R2 {search.score(test, t_test):.3f}")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "prices.joblib"
    joblib.dump(search.best_estimator_, path)
    loaded = joblib.load(path)
print(f"a city that nobody has seen: {loaded.predict(test[:1].assign(city='elsewhere'))[0]:.0f}")
assert np.array_equal(loaded.predict(test), search.predict(test))
