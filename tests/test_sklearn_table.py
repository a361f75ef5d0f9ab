"""Tables with categories and missing values, as the encoder of the estimators makes numbers of."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp.sklearn import MLPClassifier
from fastmlp.sklearn._table import TableEncoder

ROWS = 120
STREETS = 40


def frame():
    random = np.random.default_rng(0)
    age = random.normal(40, 10, ROWS)
    age[random.random(ROWS) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "city": pd.Categorical(random.choice(["Paris", "Rome", "Oslo"], ROWS)),
            "height": random.normal(size=ROWS),
            "street": pd.Categorical([f"s{i % STREETS}" for i in range(ROWS)]),
            "zone": 5.0,
            "nothing": np.nan,
        }
    )


@parametrize_with_checks(
    [
        TableEncoder(),
        TableEncoder(None, missing="error", dtype="float64"),
        TableEncoder([0]),
        TableEncoder([0], max_one_hot=0),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_a_frame_with_everything():
    table = frame()
    encoder = TableEncoder(dtype="float64").fit(table)
    encoded = encoder.transform(table)
    names = encoder.get_feature_names_out().tolist()
    assert names == [
        *("age", "height", "zone", "nothing"),
        *("missingindicator_age", "missingindicator_nothing"),
        *("city_Oslo", "city_Paris", "city_Rome"),
        "street",
    ]
    columns = dict(zip(names, encoded.T, strict=True))
    age, missing = table["age"], table["age"].isna()
    expected = np.where(missing, 0, (age - age.mean()) / age.std(ddof=0))
    np.testing.assert_allclose(columns["age"], expected, atol=1e-13)
    np.testing.assert_array_equal(columns["missingindicator_age"], missing)
    np.testing.assert_array_equal(columns["zone"], 0)
    np.testing.assert_array_equal(columns["nothing"], 0)
    np.testing.assert_array_equal(columns["city_Rome"], table["city"] == "Rome")
    order = sorted(f"s{i}" for i in range(STREETS))
    np.testing.assert_array_equal(columns["street"], [order.index(s) + 1 for s in table["street"]])
    assert encoder.embedding_sizes_ == [(STREETS + 1, round(1.6 * STREETS**0.56))]
    assert encoder.is_categorical_.tolist() == [False, True, False, True, False, False]
    assert encoder.feature_names_in_.tolist() == list(table)


def test_values_that_fit_has_not_seen():
    encoder = TableEncoder().fit(frame())
    table = frame().iloc[:3].copy()
    table["city"] = ["Rome", "Bonn", None]
    table["street"] = [None, "s7", "elsewhere"]
    table["zone"] = [1e9, np.nan, 5.0]
    table["height"] = np.nan  # without an indicator, for there were none
    table["nothing"] = 3.0
    columns = dict(zip(encoder.get_feature_names_out(), encoder.transform(table).T, strict=True))
    cities = [columns[f"city_{name}"].tolist() for name in ("Oslo", "Paris", "Rome")]
    assert cities == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    known = sorted(f"s{i}" for i in range(STREETS)).index("s7") + 1
    assert columns["street"].tolist() == [0, known, 0]
    for name in ("zone", "height", "nothing"):
        assert columns[name].tolist() == [0, 0, 0]


def test_up_to_16_values_are_one_hot():
    for values, sizes in ((16, []), (17, [(18, 8)])):
        encoder = TableEncoder([0]).fit(np.arange(2 * values).reshape(-1, 1) % values)
        assert encoder.embedding_sizes_ == sizes
        assert encoder.transform([[3]]).shape == (1, 1 if sizes else 16)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["b", None, "a", "b", np.nan], dtype=object),
        pd.Series(["b", pd.NA, "a", "b", pd.NA], dtype="string"),
        pd.Series(["b", None, "a", "b", None], dtype="category"),
        pd.Series([2, None, 1, 2, None], dtype="Int64"),
        pd.Series([True, None, False, True, None], dtype="boolean"),
        pd.Series([2.5, np.nan, 1.0, 2.5, np.nan]),
        np.array([["b"], [None], ["a"], ["b"], [np.nan]], dtype=object),
        np.array([[2.0], [np.nan], [1], [2], [np.nan]]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_missing_categories(column):
    table = column.to_frame("x") if hasattr(column, "to_frame") else column
    one_hot = TableEncoder([0]).fit_transform(table)
    np.testing.assert_array_equal(one_hot, [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    indices = TableEncoder([0], max_one_hot=1).fit(table)
    np.testing.assert_array_equal(indices.transform(table).ravel(), [2, 0, 1, 2, 0])
    assert indices.embedding_sizes_ == [(3, 2)]


@pytest.mark.parametrize(
    "features", [None, "from_dtype", ["city", "street"], [1, 3], [False, True, False, True, False]]
)
def test_categorical_features_are_those_of_gradient_boosting(features):
    table = frame().drop(columns="nothing")
    if features is None:
        table = table.astype({"city": object, "street": object}).replace(r"\D", "", regex=True)
        table["city"] = range(ROWS)
    trees = HistGradientBoostingClassifier(categorical_features=features, max_iter=1)
    trees.fit(table, np.arange(ROWS) % 2)
    encoder = TableEncoder(features).fit(table)
    expected = trees.is_categorical_
    expected = np.zeros(5, bool) if expected is None else expected
    np.testing.assert_array_equal(encoder.is_categorical_, expected)


def test_polars_and_arrays_give_what_pandas_gives():
    pl = pytest.importorskip("polars")
    table = frame()
    expected = TableEncoder().fit_transform(table)
    columns = {name: table[name].astype(object).tolist() for name in table}
    for kind in (pl.Categorical, pl.Enum):
        polars = pl.DataFrame(columns).with_columns(
            pl.col("city").cast(pl.Enum(["Oslo", "Paris", "Rome"]) if kind is pl.Enum else kind),
            pl.col("street").cast(pl.Categorical),
            pl.col("nothing").cast(pl.Float64),
        )
        encoder = TableEncoder().fit(polars)
        np.testing.assert_array_equal(encoder.transform(polars), expected)
        np.testing.assert_array_equal(encoder.transform(polars[:7]), expected[:7])
    array = table.astype(object).to_numpy()
    np.testing.assert_array_equal(TableEncoder([1, 3]).fit_transform(array), expected)


def test_standardised_columns_stay():
    once = TableEncoder(dtype="float64").fit_transform(np.random.default_rng(1).random((50, 4)))
    twice = TableEncoder(dtype="float64").fit_transform(once)
    np.testing.assert_allclose(twice, once, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_result_has_the_dtype_and_rows_next_to_each_other(dtype):
    encoded = TableEncoder(dtype=dtype).fit_transform(frame())
    assert encoded.dtype == dtype
    assert encoded.flags["C_CONTIGUOUS"]
    exact = TableEncoder(dtype="float64").fit_transform(frame())
    np.testing.assert_array_equal(encoded, exact.astype(dtype))


def test_frames_in_frames_out():
    encoded = TableEncoder().set_output(transform="pandas").fit(frame()).transform(frame())
    assert list(encoded) == list(TableEncoder().fit(frame()).get_feature_names_out())


def test_the_table_stays_as_it_was():
    table = frame()
    table["city"] = table["city"].astype(object).where(table["age"].notna(), None)
    array = table.to_numpy(dtype=object)
    before, array_before = table.copy(), array.copy()
    TableEncoder().fit_transform(table.astype({"city": "category"}))
    TableEncoder(["city", "street"]).fit_transform(table)
    TableEncoder([1, 3]).fit_transform(array)
    pd.testing.assert_frame_equal(table, before)
    assert all(a is b or a == b for a, b in zip(array.flat, array_before.flat, strict=True))


def test_copies():
    encoder = TableEncoder(missing="indicator").fit(frame())
    expected = encoder.transform(frame())
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        np.testing.assert_array_equal(other.transform(frame()), expected)
    assert not hasattr(clone(encoder), "is_categorical_")


TABLE = pd.DataFrame({"age": [1.0, 2, 3], "city": ["a", "b", "a"]})
ARRAY = np.array([[1.0, 2], [3, 4], [5, 7]])
CITY = TableEncoder(["city"])
PLAIN = TableEncoder(None, missing="error")


@pytest.mark.parametrize(
    ("encoder", "table", "kind", "message"),
    [
        (TableEncoder(), TABLE, ValueError, "column 'city': expected numbers, got 'a'"),
        (TableEncoder(None), TABLE, ValueError, "among categorical_features"),
        (TableEncoder(), [[1, "a"]], ValueError, "column 1: expected numbers, got 'a'"),
        (PLAIN, [[1.0], [np.nan]], ValueError, "Input X contains NaN"),
        (TableEncoder(), [[1.0], [np.inf]], ValueError, "Input X contains infinity"),
        (TableEncoder([0]), [[1.0], [np.inf]], ValueError, "contains infinity"),
        (TableEncoder(), [1.0, 2.0], ValueError, "Expected 2D array, got 1D array"),
        (TableEncoder(), np.zeros((0, 2)), ValueError, "Found array with 0 sample"),
        (TableEncoder(), TABLE[:0], ValueError, "with 0 sample"),
        (CITY, TABLE[:0], ValueError, "with 0 sample"),
        (TableEncoder(), np.zeros((2, 0)), ValueError, "0 feature"),
        (TableEncoder(), ARRAY * 1j, ValueError, "Complex data not supported"),
        (TableEncoder("all"), ARRAY, ValueError, "'categorical_features' parameter of TableEnc"),
        (TableEncoder(max_one_hot=-1), ARRAY, ValueError, "The 'max_one_hot' parameter"),
        (TableEncoder(missing="drop"), ARRAY, ValueError, "The 'missing' parameter"),
        (TableEncoder(dtype="int8"), ARRAY, ValueError, "The 'dtype' parameter"),
        (TableEncoder(["age"]), ARRAY, ValueError, "X has no names, got 'age'"),
        (TableEncoder(["town"]), TABLE, ValueError, r"names in \['age', 'city'\], got 'town'"),
        (TableEncoder([2]), ARRAY, ValueError, r"places of columns from 0 to 1, got \[2\]"),
        (TableEncoder([-1]), ARRAY, ValueError, r"places of columns from 0 to 1, got \[-1\]"),
        (TableEncoder([True]), ARRAY, ValueError, r"mask of shape \(2,\), got \(1,\)"),
        (TableEncoder([0.5]), ARRAY, ValueError, r"names, places or a mask of columns, got 0\.5"),
        (TableEncoder([[0]]), ARRAY, ValueError, "expected 1 dimension, got 2"),
        (
            TableEncoder([0]),
            np.array([["a"], [1]], dtype=object),
            TypeError,
            "uniformly strings or numbers",
        ),
    ],
)
def test_bad_tables_to_fit(encoder, table, kind, message):
    with pytest.raises(kind, match=message):
        clone(encoder).fit(table)


@pytest.mark.parametrize(
    ("encoder", "table", "other", "message"),
    [
        (CITY, TABLE, TABLE[["city", "age"]], "must be in the same order"),
        (CITY, TABLE, TABLE[["city"]], "Feature names seen at fit time, yet now missing"),
        (CITY, TABLE, TABLE.assign(more=1), "Feature names unseen at fit time"),
        (CITY, TABLE, TABLE.assign(age="old"), "column 'age': expected numbers, got 'old'"),
        (CITY, TABLE, TABLE.assign(age=-np.inf), "Input X contains infinity"),
        (TableEncoder(), ARRAY, ARRAY[:, :1], "X has 1 features, but TableEncoder is expecting 2"),
        (TableEncoder(), ARRAY, ARRAY[0], "Expected 2D array, got 1D array"),
        (TableEncoder(), ARRAY, [["a", "b"]], "column 0: expected numbers, got 'a'"),
        (TableEncoder(), ARRAY, ARRAY * 1e300, "Input X contains infinity or a value too large"),
        (PLAIN, ARRAY, [[1, np.nan]], "Input X contains NaN"),
    ],
)
def test_bad_tables_to_transform(encoder, table, other, message):
    fitted = clone(encoder).fit(table)
    expected = fitted.transform(table)
    with pytest.raises(ValueError, match=message):
        fitted.transform(other)
    np.testing.assert_array_equal(fitted.transform(table), expected)


def test_before_fit():
    with pytest.raises(ValueError, match="not fitted yet"):
        TableEncoder().transform(ARRAY)
    with pytest.raises(ValueError, match="not fitted yet"):
        TableEncoder().get_feature_names_out()


def test_huge_values():
    encoded = TableEncoder().fit_transform([[1e300], [-1e300], [0.0]])
    assert np.isfinite(encoded).all()


def test_in_a_pipeline_with_a_network():
    table = frame()
    y = (table["city"] == "Rome").to_numpy() ^ table["age"].isna().to_numpy()
    network = MLPClassifier((32,), max_iter=300, learning_rate_init=0.01, random_state=0)
    pipeline = make_pipeline(TableEncoder(max_one_hot=100), network).fit(table, y)
    assert pipeline.score(table, y) == 1.0
    other = table.assign(street="elsewhere", height=np.nan)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(other), pipeline.predict_proba(other))
