"""Tables with categories and missing values as numbers that a network can learn from."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils import _safe_indexing, assert_all_finite, check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.sklearn._network import WHOLE

CATEGORY_DTYPES = ("category", "Categorical", "Enum")  # of pandas, and of polars


class TableEncoder(TransformerMixin, BaseEstimator):
    """Standardised numbers, one-hot categories, and indices of categories with many values.

    Parameters
    ----------
    categorical_features : "from_dtype", array_like of str, int or bool, or None
        Which columns are categories, as `HistGradientBoostingClassifier` takes it: those of a data
        frame that pandas or polars holds as categories, their names, their places, or a mask. No
        column is one with None.
    max_one_hot : int
        A column with up to so many values at `fit` becomes one column of 0 and 1 for each of them,
        and one with more a column of indices for an embedding.
    missing : {"indicator", "error"}
        What a missing number becomes: the column's mean, with a further column of 0 and 1 that
        tells of it if the rows of `fit` have some, or a ValueError.
    dtype : {"float32", "float64"}
        Of the result.

    Attributes
    ----------
    is_categorical_ : ndarray of bool, shape (columns,)
    embedding_sizes_ : list of (int, int)
        For each of the last columns of a result, which have indices: how many there are, and a
        width for their embedding. 0 is any value that `fit` has not seen or that is missing.
    n_features_in_ : int
        How many columns the table has.
    feature_names_in_ : ndarray of str
        Their names, if all are strings.

    Notes
    -----
    The result has the numbers, the indicators, the one-hot columns and the indices, in this order.
    A category that `fit` has not seen has 0 in all its one-hot columns. A missing category is a
    value like others in one-hot columns. A number in a column that was constant, or had no number
    at all, becomes 0. The width of an embedding is `min(600, round(1.6 n**0.56))` for n values:
    the rule of thumb of the library fastai (`emb_sz_rule`).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "max_one_hot": [Interval(Integral, 0, None, closed="left")],
        "missing": [StrOptions({"indicator", "error"})],
        "dtype": [StrOptions({"float32", "float64"})],
    }

    def __init__(
        self,
        categorical_features: Any = "from_dtype",
        *,
        max_one_hot: int = 16,
        missing: str = "indicator",
        dtype: str = "float32",
    ) -> None:
        self.categorical_features = categorical_features
        self.max_one_hot = max_one_hot
        self.missing = missing
        self.dtype = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "TableEncoder":
        """Learn means, scales and the values of categories.

        Parameters
        ----------
        X : data frame or array_like, shape (rows, features)
        y : None
            Ignored.
        sample_weight : array_like, shape (rows,), optional
            What each row counts in means and scales; one of 0 is as if it were not there.
        """
        table = self._checked(X, reset=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, table)
            counted = np.flatnonzero(sample_weight)
            table, sample_weight = _safe_indexing(table, counted), sample_weight[counted]
        self.is_categorical_ = categorical_mask(table, self.categorical_features)
        table = with_none(table, self.is_categorical_)
        few, many = self._by_number_of_values(table)
        scaler = StandardScaler()
        # The mean of what is standardised is 0.
        imputer = SimpleImputer(
            strategy="constant", fill_value=0.0, add_indicator=True, keep_empty_features=True
        )
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        indices = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
        )
        numbers = make_pipeline(scaler, imputer) if self.missing == "indicator" else scaler
        self._columns = ColumnTransformer(
            [
                ("numbers", numbers, np.flatnonzero(~self.is_categorical_)),
                ("one_hot", one_hot, few),
                ("indices", indices, many),
            ],
            sparse_threshold=0,
            verbose_feature_names_out=False,
        ).set_output(transform="default")
        encoded = self._run(self._columns.fit_transform, table)
        if self.missing == "error":
            self._refuse_nonfinite(encoded)
        if sample_weight is not None and not self.is_categorical_.all():
            places = np.flatnonzero(~self.is_categorical_)
            values = _safe_indexing(table, places, axis=1)
            self._run(lambda x: self._scaler().fit(x, sample_weight=sample_weight), values)
        self.embedding_sizes_ = []
        if len(many):
            found = self._columns.named_transformers_["indices"].categories_
            self.embedding_sizes_ = [embedding_size(known(values)) for values in found]
        self._ignore_constant_columns()
        return self

    def transform(self, X: Any) -> Any:
        """The numbers, of shape (rows, columns).

        Parameters
        ----------
        X : data frame or array_like, shape (rows, features)
            With the columns of `fit`.
        """
        check_is_fitted(self)
        return self.encoded(self._checked(X, reset=False))

    def encoded(self, table: Any) -> Array:
        """What `transform` makes of a table that has been checked: a frame or an array."""
        table = with_none(table, self.is_categorical_)
        encoded = self._run(self._columns.transform, table)
        for place, (size, _) in enumerate(self.embedding_sizes_, -len(self.embedding_sizes_)):
            indices = encoded[:, place] + 1
            encoded[:, place] = np.where(indices < size, indices, 0)  # missing values come last
        with np.errstate(over="ignore"):
            encoded = np.ascontiguousarray(encoded, self.dtype)
        self._refuse_nonfinite(encoded)
        return encoded

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """The names of the columns of a result."""
        check_is_fitted(self)
        return np.asarray(self._columns.get_feature_names_out(input_features))

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """A frame as it is or an array, with the columns of `fit`."""
        table = X
        if not is_frame(X):
            table = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
        validate_data(self, table, reset=reset, skip_check_array=True)
        return table

    def _by_number_of_values(self, X: Any) -> tuple[Array, Array]:
        """The places of columns with categories: those for one-hot columns, and the others."""
        places = np.flatnonzero(self.is_categorical_)
        if not len(places):
            return places, places
        counting = ColumnTransformer([("all", OrdinalEncoder(), places)])
        counting.set_output(transform="default").fit(X)
        found = counting.named_transformers_["all"].categories_
        few = np.array([known(values) <= self.max_one_hot for values in found])
        return places[few], places[~few]

    def _run(self, what: Any, X: Any) -> Any:
        """A call with the table, whose errors say which column has text in place of numbers."""
        try:
            with np.errstate(all="ignore"):  # columns without numbers, huge numbers
                return what(X)
        except ValueError:
            for place in np.flatnonzero(~self.is_categorical_):
                refuse_text(X, int(place))
            raise

    def _scaler(self) -> StandardScaler:
        numbers = self._columns.named_transformers_["numbers"]
        return numbers[0] if self.missing == "indicator" else numbers

    def _ignore_constant_columns(self) -> None:
        """An infinite scale makes 0 of all their numbers."""
        if self.is_categorical_.all():
            return
        scaler = self._scaler()
        scaler.scale_[(scaler.scale_ == 1) & ~np.isclose(scaler.var_, 1)] = np.inf

    def _refuse_nonfinite(self, encoded: Array) -> None:
        assert_all_finite(encoded, estimator_name=type(self).__name__, input_name="X")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "indicator"
        tags.input_tags.categorical = self.categorical_features is not None
        tags.transformer_tags.preserves_dtype = []
        return tags


def is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def with_none(X: Any, mask: Array) -> Any:
    """A table whose missing categories are all None, as the encoders can compare it."""
    if hasattr(X, "iloc"):
        table = X.copy(deep=False)
        for place in np.flatnonzero(mask).tolist():
            column = X.iloc[:, place]
            if column.dtype.kind == "O":  # also of pandas' own dtypes of text and categories
                table.isetitem(place, column.astype(object).where(column.notna(), None))
        return table
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        table = X.copy()
        table[(X != X) & mask] = None
        return table
    return X


def known(values: Array) -> int:
    """How many values of a column are not missing."""
    return sum(value is not None and value == value for value in values)


def embedding_size(values: int) -> tuple[int, int]:
    """How many indices a column with so many values has, and the width for them."""
    return values + 1, min(600, round(1.6 * values**0.56))


def categorical_mask(X: Any, features: Any) -> Array:
    """Which columns are categories, of shape (features,)."""
    width = X.shape[1]
    mask = np.zeros(width, bool)
    if isinstance(features, str):
        if is_frame(X):
            mask[:] = [str(dtype).startswith(CATEGORY_DTYPES) for dtype in X.dtypes]
        return mask
    given = np.asarray([] if features is None else features)
    if given.ndim != 1:
        raise ValueError(f"categorical_features: expected 1 dimension, got {given.ndim}")
    if given.dtype.kind in "iu":
        if given.min() < 0 or given.max() >= width:
            raise ValueError(
                f"categorical_features: expected places of columns from 0 to {width - 1}, got"
                f" {given.tolist()}"
            )
        mask[given] = True
    elif given.dtype.kind == "b":
        if len(given) != width:
            raise ValueError(
                f"categorical_features: expected a mask of shape ({width},), got {given.shape}"
            )
        mask[:] = given
    elif len(given):
        mask[_places(X, given.tolist())] = True
    return mask


def _places(X: Any, names: Iterable[Any]) -> list[int]:
    columns = list(X.columns) if is_frame(X) else None
    places = []
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                "categorical_features: expected names, places or a mask of columns, got"
                f" {_checks.show(name)}"
            )
        if columns is None:
            raise ValueError(
                f"categorical_features: expected places or a mask, for X has no names, got {name!r}"
            )
        if name not in columns:
            raise ValueError(f"categorical_features: expected names in {columns}, got {name!r}")
        places.append(columns.index(name))
    return places


def refuse_text(X: Any, place: int) -> None:
    """ValueError if the column, of numbers, has other values."""
    name = X.columns[place] if is_frame(X) else place
    column = np.asarray(X[name] if is_frame(X) else X[:, place], dtype=object)
    for value in column:
        if not isinstance(value, str | bytes):
            continue
        try:
            float(value)
        except ValueError:
            raise ValueError(
                f"column {name!r}: expected numbers, got {value!r}; columns with categories must be"
                " among categorical_features"
            ) from None


def table_encoder(mlp: Any) -> TableEncoder | None:
    """What an estimator's parameters ask for."""
    if mlp.categorical_features is None and mlp.missing == "error":
        return None
    # They look at all rows at once, which 0 and 1 do in one native pass.
    limit = {"max_one_hot": 10**9} if mlp.solver in WHOLE else {}
    return TableEncoder(mlp.categorical_features, missing=mlp.missing, dtype=mlp.dtype, **limit)


def check_same_table(mlp: Any, kept: TableEncoder | None) -> None:
    """A further fit goes on with the columns of the first one."""
    asked = table_encoder(mlp)
    for name in ("categorical_features", "missing"):
        now, before = (np.asarray(getattr(table, name, None)) for table in (asked, kept))
        if (asked is None) != (kept is None) or not np.array_equal(now, before):
            raise ValueError(
                f"{name}: expected {before}, as in the fit before, which this one goes on from, got"
                f" {now}"
            )
