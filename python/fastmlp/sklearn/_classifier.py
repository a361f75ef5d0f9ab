"""The classifier."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastmlp._types import Array
from fastmlp.sklearn._base import BaseMLP
from fastmlp.sklearn._losses import Objective, of_classes


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A classifier, drop-in for `sklearn.neural_network.MLPClassifier`.

    Parameters
    ----------
    others
        Those of scikit-learn's come first, with their order, defaults and meaning.
    activation : str, Activation, or list of them
        Also any other of fastmlp's of single values, such as "gelu" or `fm.LeakyReLU(0.1)`; a list
        has one for each hidden layer.
    solver : {"adam", "sgd", "lbfgs", "adamw"}
        With "adamw" each step takes `alpha` times the rate from the weights, and there is no L2
        term.
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}
        With "cosine", of all solvers but "lbfgs", the rate falls to nearly 0 over `max_iter`
        epochs.
    class_weight : dict, "balanced", or list of dict, optional
        What each class counts; a row's own weight multiplies it. "balanced" makes the sums of the
        classes equal. A list is for labels.
    dtype : {"float32", "float64"}
        What the network computes in; "lbfgs" always takes float64. Weights and predictions have the
        dtype of the table, as in scikit-learn.
    dropout : float or list of float
        The share of each hidden layer's values that is dropped in training.
    batch_norm, layer_norm : bool
        Whether there is a `BatchNorm1d`, a `LayerNorm` before the activation of each hidden layer.
    max_grad_norm : float, optional
        Limit of the gradient's norm over all parameters.
    callbacks : callable, object, or list of them, optional
        As `fastmlp.Trainer.fit` takes them.
    standardize : bool
        Whether the columns that the network sees have mean 0 and variance 1.
    categorical_features : "from_dtype" or array_like of str, int or bool, optional
        Which columns hold categories, as in `HistGradientBoostingClassifier`: those of a frame that
        are categories there, or names, places, a mask. Up to 16 values become columns of 0 and 1;
        of columns with more, each value has a row of numbers that is learnt, an embedding, and the
        steps are run one by one. Values that `fit` has not seen are allowed. The other columns are
        standardised.
    missing : {"error", "indicator"}
        With "indicator" missing values are the mean of their column, with a column beside it that
        tells of them, or a category; all other columns are standardised.
    preset : {"tabular"}, optional
        Ready settings, `PRESETS[preset]`, of parameters that have their default values. Early
        stopping is that of tables with more than 10 000 rows.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Copies of the weights, in x out, and biases.
    validation_loss_curve_ : list of float, or None
        With `early_stopping` or `X_val`: the loss after each epoch, without the L2 term.
    validation_scores_ : list of float, or None
        Likewise the scores.
    others
        Those of `sklearn.neural_network.MLPClassifier`.

    Notes
    -----
    The first weights are scikit-learn's for the same `random_state`, and so is the training but for
    rounding, the order of the rows, and these: Adam's `epsilon` is added after the correction of
    the bias; where the last batch has fewer rows, all batches of an epoch have the mean of their L2
    terms; of an epoch of several batches, the L2 term in `loss_curve_` is that of the mean of the
    weights' squares before and after it, and the loss counts rows by their weights.

    A sparse table that takes up to 256 MiB becomes a dense one, a larger one does so by the batch
    (for "lbfgs" as a whole). Threads are those of `fastmlp.set_num_threads`; processes of joblib
    share them out by themselves.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    loss = "log_loss"
    class_weight: Any
    _labels: LabelBinarizer

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dtype: str = "float32",
        dropout: float | Iterable[float] = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        max_grad_norm: float | None = None,
        callbacks: Any = None,
        standardize: bool = False,
        categorical_features: Any = None,
        missing: str = "error",
        preset: str | None = None,
    ) -> None:
        self._set_parameters(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPClassifier":
        """Train on a table and its classes.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix, shape (rows, features)
        y : array_like
            Classes, of shape (rows,), or labels, 0 or 1, of shape (rows, labels).
        sample_weight : array_like, shape (rows,), optional
            What each row counts.
        X_val, y_val, sample_weight_val : optional
            Likewise rows to validate with after each epoch, which `early_stopping` takes instead of
            a part of X.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> "MLPClassifier":
        """Train for one epoch more. The first call needs `classes`, all that there will be."""
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._labels = LabelBinarizer().fit(y if multilabel else classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Any:
        """The classes of rows, or for each of the labels 0 or 1."""
        y, _ = self._outputs(X)
        if self._kind() == "multilabel":
            return self._labels.inverse_transform(y, threshold=0.0)
        return self.classes_[self._class_indices(y)]

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, in the order of `classes_`; of each of the labels."""
        y, dtype = self._outputs(X)
        return np.asarray(self._probabilities(y), dtype)

    def _probabilities(self, y: Array) -> Array:
        """Of the network's outputs."""
        y, kind = y.astype(np.float64), self._kind()
        if kind == "multiclass":
            y = softmax(y, axis=1)
        elif kind == "multilabel":
            y = expit(y)
        elif len(self.classes_) == 1:
            y = np.ones_like(y)
        else:
            y = expit(np.hstack([-y, y]))
        return y

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def _kind(self) -> str:
        """Of the targets: "binary" (also of one class), "multiclass" or "multilabel"."""
        return str(self._labels.y_type_).removesuffix("-indicator")

    def _class_indices(self, y: Array) -> Array:
        """Into `classes_`."""
        if y.shape[1] > 1:
            return np.asarray(np.argmax(y, axis=1))
        return np.asarray((y[:, 0] > 0) & (len(self.classes_) > 1), np.intp)

    def _check_targets(self, y: Any, incremental: bool, reset: bool) -> tuple[Array, int]:
        y = self._checked_y(y)
        if reset and not (incremental and hasattr(self, "classes_")):
            self._labels = LabelBinarizer().fit(y)
            self.classes_ = self._labels.classes_
        elif self.warm_start:
            classes = unique_labels(y)
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous"
                    f" call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        else:
            self._refuse_new_classes(y)
        t = self._coded(y)
        return t, len(self.classes_) if t.ndim == 1 else t.shape[1]

    def _validation_targets(self, y: Any) -> Array:
        y = self._checked_y(y)
        self._refuse_new_classes(y)
        return self._coded(y)

    def _checked_y(self, y: Any) -> Any:
        y = self._check_y(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y

    def _refuse_new_classes(self, y: Any) -> None:
        classes = unique_labels(y)
        if len(np.setdiff1d(classes, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y'"
                f" has {classes}."
            )

    def _coded(self, y: Any) -> Array:
        """Numbers of classes, or columns of 0 and 1."""
        if y.ndim == 1:
            numbers = np.asarray(np.searchsorted(self.classes_, y), np.int64)
            return numbers if self._kind() == "multiclass" else (numbers > 0)[:, None].astype("f4")
        return np.asarray(self._labels.transform(y), np.float32)

    def _make_objective(self, outputs: int) -> Objective:
        return of_classes(self._kind() == "multiclass")

    def _score_outputs(self, y: Array, t: Array, weights: Array | None) -> float:
        if y.shape[1] == t.size // len(t):
            right = np.all((y > 0) == (t.reshape(y.shape) > 0), axis=1)
        else:
            right = np.argmax(y, axis=1) == t
        return float(np.average(right, weights=weights))

    def _class_weights(self, t: Array, weights: Array | None, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return weights
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight: expected a dict of weights with partial_fit, which does not see all"
                " rows, got 'balanced'"
            )
        if self._kind() == "multilabel":
            own = compute_sample_weight(self.class_weight, t.astype(np.int64))
        else:
            codes = t.reshape(-1).astype(np.intp)
            own = self._weights_of_classes(codes, weights)[codes]
        return np.asarray(own if weights is None else own * weights)

    def _weights_of_classes(self, codes: Array, weights: Array | None) -> Array:
        """Of "balanced", they make the sums of the rows' weights equal, which stay as they are."""
        if self.class_weight != "balanced":
            classes = self.classes_
            return np.asarray(compute_class_weight(self.class_weight, classes=classes, y=classes))
        sums = np.bincount(codes, weights, len(self.classes_)).astype(np.float64)
        return np.asarray(sums.mean(where=sums > 0) / np.where(sums > 0, sums, np.inf))

    def _stratify(self, t: Array) -> Array | None:
        return t > 0 if self.n_outputs_ == 1 else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
