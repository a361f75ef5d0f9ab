"""Estimators of many networks, from different beginnings and rows, that are trained together."""

from abc import ABC, abstractmethod
from copy import copy
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context, clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.activations import Sigmoid, Softmax
from fastmlp.containers import Sequential
from fastmlp.ensemble import Ensemble
from fastmlp.many import fit_many
from fastmlp.modules import Module
from fastmlp.sklearn._base import BaseMLP
from fastmlp.sklearn._classifier import MLPClassifier
from fastmlp.sklearn._data import Rows
from fastmlp.sklearn._embeddings import Embedded
from fastmlp.sklearn._network import WHOLE
from fastmlp.sklearn._random import random_state_of
from fastmlp.sklearn._regressor import MLPRegressor
from fastmlp.sklearn._training import SEEDS, Epochs, ready_curves


class _Bagging(BaseEstimator, ABC):
    """What both have: the fit, and the networks' mean."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
        ],
        "bootstrap": ["boolean"],
        "random_state": ["random_state"],
    }
    _kind: ClassVar[type[BaseMLP]]

    estimators_: list[Any]
    estimators_samples_: list[Array]
    _ensemble: Ensemble | None

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        max_samples: float = 1.0,
        bootstrap: bool = True,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.bootstrap = bootstrap
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train all networks, one a thread.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix, shape (rows, features)
        y : array_like, shape (rows,) or (rows, outputs)
        sample_weight : array_like, shape (rows,), optional
            What each row counts; it does not change how often a row is drawn.
        """
        random = random_state_of(self.random_state)
        seeds = [int(seed) for seed in random.randint(SEEDS, size=self.n_estimators)]
        first = clone(self._one()).set_params(random_state=seeds[0])
        first._validate_params()
        none = None, None, None
        settings, data, held_out, dtype = first._prepare(X, y, sample_weight, none, False)
        members = [first]
        for seed in seeds[1:]:  # they share the table's encoding, scales and classes
            member = copy(first).set_params(random_state=seed)
            member.callbacks = clone(self._one()).callbacks
            member._random_state = random_state_of(seed)
            member._begin(settings, first._architecture, True, dtype)
            members.append(member)
        samples = [self._draw(seed, len(data.t)) for seed in seeds]
        is_embedded = isinstance(first._model, Embedded)
        if settings.solver in WHOLE or is_embedded or not isinstance(data.x, np.ndarray):
            for member, rows in zip(members, samples, strict=True):
                member._train(settings, data.take(rows), held_out, False)
        else:
            fits = []
            for member, rows in zip(members, samples, strict=True):
                ready_curves(member, settings, held_out is not None)
                fits.append(Epochs(member, settings, _part(data, rows), held_out, False))
            fit_many(
                [fit.trainer for fit in fits],
                rows=samples,
                seed=[fit.seed for fit in fits],
                callbacks=[fit.callbacks for fit in fits],
                **fits[0].options() | {"t": data.t, "sample_weight": data.weights},
            )
            for fit in fits:
                fit.finish()
        for member in members:
            member._settle(dtype)
        kept = getattr(settings, "rows", None)
        self.estimators_ = members
        self.estimators_samples_ = [rows if kept is None else kept[rows] for rows in samples]
        self._ensemble = self._together()
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            self.__dict__.pop(name, None)
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))
        return self

    @abstractmethod
    def _end(self, model: Module) -> Module:
        """A network whose outputs can be averaged."""

    def _one(self) -> Any:
        if self.estimator is None:
            return self._kind()
        if not isinstance(self.estimator, self._kind):
            raise TypeError(
                f"estimator: expected an {self._kind.__name__}, got {_checks.show(self.estimator)}"
            )
        return self.estimator

    def _draw(self, seed: int, rows: int) -> Array:
        count = self.max_samples
        if not isinstance(count, Integral):
            count = max(1, int(count * rows))
        if count > rows:
            raise ValueError(f"max_samples: expected at most {rows}, the rows, got {count}")
        random = random_state_of(seed)
        if self.bootstrap:
            return random.randint(rows, size=count)
        return np.arange(rows) if count == rows else random.permutation(rows)[:count]

    def _moments(self, X: Any, return_std: bool) -> tuple[Array, Array | None, Any]:
        """Mean and spread of the networks' outputs, and the dtype of what comes of them."""
        x, dtype = self._encoded(X)
        assert self._ensemble is not None
        if not return_std:
            return self._ensemble.predict(x), None, dtype
        return (*self._ensemble.predict(x, return_std=True), dtype)

    def _outputs(self, X: Any) -> tuple[list[Array], Any]:
        """Those of each network."""
        x, dtype = self._encoded(X)
        return [np.asarray(one._model.predict(x)) for one in self.estimators_], dtype

    def _encoded(self, X: Any) -> tuple[Any, Any]:
        check_is_fitted(self)
        first = self.estimators_[0]
        x = first._encode(X, reset=False)
        return first._inputs(x), np.result_type(x.dtype, first.coefs_[0].dtype)

    def _together(self) -> Ensemble | None:
        """The native prediction of all, if they have one."""
        if isinstance(self.estimators_[0]._model, Embedded):
            return None
        return Ensemble([self._end(one._model) for one in self.estimators_])

    def __getstate__(self) -> dict[str, Any]:
        return {name: v for name, v in super().__getstate__().items() if name != "_ensemble"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "estimators_" in state:
            self._ensemble = self._together()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        own = get_tags(self.estimator if isinstance(self.estimator, BaseMLP) else self._kind())
        tags.input_tags = own.input_tags
        tags.target_tags = own.target_tags
        tags.classifier_tags = own.classifier_tags
        tags.regressor_tags = own.regressor_tags
        return tags


class BaggingMLPRegressor(RegressorMixin, _Bagging):
    """The mean of many `MLPRegressor`, and how far they differ.

    Parameters
    ----------
    estimator : MLPRegressor, optional
        What the networks are like; with all of its defaults if there is none.
    n_estimators : int
        How many there are.
    max_samples : int or float
        How many rows each learns from, or which share of them.
    bootstrap : bool
        Whether a row can be drawn several times. If not, and `max_samples` is 1.0, all networks
        learn from all rows, from beginnings of their own: a deep ensemble (Lakshminarayanan et al.,
        arXiv 1612.01474).
    random_state : int or RandomState, optional
        For the rows and the networks' own seeds.

    Attributes
    ----------
    estimators_ : list of MLPRegressor
        The networks. The scales of `standardize`, the encoding of a table and the rows that are
        held out with `early_stopping` are those of all rows, and common to them.
    estimators_samples_ : list of ndarray of int
        The rows that each has learnt from.
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    Training is a call of `fastmlp.fit_many`, prediction one of `fastmlp.Ensemble`. With "lbfgs",
    embeddings and large sparse tables the networks are trained one by one.
    """

    _kind = MLPRegressor
    estimators_: list[MLPRegressor]

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the networks' predictions, of shape (rows,), or (rows, outputs).

        Parameters
        ----------
        X : array_like, data frame or sparse matrix, shape (rows, features)
        return_std : bool
            Whether to return their standard deviations, too, as NumPy's `std` has them. They tell
            of what the networks do not know, not of noise in the targets.

        Returns
        -------
        mean : ndarray
        std : ndarray of the same shape
            With `return_std` alone.
        """
        check_is_fitted(self)
        first = self.estimators_[0]
        center, scale = first._target_scale or (0.0, 1.0)
        std: Array | None
        is_plain = type(first) is MLPRegressor and first.out_activation_ != "exp"
        if self._ensemble is not None and is_plain:
            mean, std, dtype = self._moments(X, return_std)
        else:
            outputs, dtype = self._outputs(X)
            values = np.stack([first._values(y) for y in outputs])
            mean, std = np.mean(values, axis=0, dtype="f8"), np.std(values, axis=0, dtype="f8")
        mean = np.asarray(mean * scale + center, dtype)
        mean = mean.ravel() if mean.shape[1] == 1 else mean
        if not return_std or std is None:
            return mean
        return mean, np.asarray(std * scale, dtype).reshape(mean.shape)

    def _end(self, model: Module) -> Module:
        return model


class BaggingMLPClassifier(ClassifierMixin, _Bagging):
    """The mean of the probabilities of many `MLPClassifier`.

    Parameters
    ----------
    estimator : MLPClassifier, optional
        What the networks are like; with all of its defaults if there is none.
    others
        Those of `BaggingMLPRegressor`, which also says what the attributes are.

    Attributes
    ----------
    classes_ : ndarray
        All networks have all of them, whichever rows they were given.
    """

    _kind = MLPClassifier
    estimators_: list[MLPClassifier]
    classes_: Array

    def predict(self, X: Any) -> Any:
        """The classes of rows that are likeliest; for each of the labels 0 or 1."""
        p = self.predict_proba(X)
        if self.estimators_[0]._kind() == "multilabel":
            return (p > 0.5).astype(int)
        return self.classes_[np.argmax(p, axis=1)]

    def predict_proba(self, X: Any) -> Array:
        """The means of the probabilities of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        first = self.estimators_[0]
        if self._ensemble is None:
            outputs, dtype = self._outputs(X)
            return np.asarray(np.mean([first._probabilities(y) for y in outputs], axis=0), dtype)
        mean, _, dtype = self._moments(X, False)
        if first._kind() == "binary":
            mean = np.hstack([1 - mean, mean]) if len(self.classes_) > 1 else np.ones_like(mean)
        return np.asarray(mean, dtype)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def _end(self, model: Module) -> Module:
        end = Softmax() if self.estimators_[0]._kind() == "multiclass" else Sigmoid()
        return Sequential(model, end).eval()


def _part(data: Rows, rows: Array) -> Rows:
    """Targets and weights of rows; the inputs stay those of all, which are in memory once."""
    weights = None if data.weights is None else data.weights[rows]
    return Rows(data.x, data.t[rows], weights)
