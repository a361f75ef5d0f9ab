"""What the estimators share: parameters, the two ways to fit, attributes, copies and pickles."""

from abc import ABC, abstractmethod
from functools import cache
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fastmlp._types import Array
from fastmlp.activations import Activation
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.sklearn._data import Rows, Scale, dense, narrow, scale_of
from fastmlp.sklearn._embeddings import Embedded, set_tables
from fastmlp.sklearn._lbfgs import fit_lbfgs
from fastmlp.sklearn._lm import fit_lm
from fastmlp.sklearn._losses import Objective
from fastmlp.sklearn._network import (
    ACTIVATIONS,
    WHOLE,
    Architecture,
    architecture_of,
    arrays_of,
    build,
    glorot,
    layers_of,
    plain,
    view,
)
from fastmlp.sklearn._presets import MANY_ROWS, PRESETS, settings_of
from fastmlp.sklearn._random import random_state_of
from fastmlp.sklearn._table import TableEncoder, check_same_table, is_frame, table_encoder
from fastmlp.sklearn._training import (
    begin_curves,
    fit_stochastic,
    make_optimizer,
    ready_curves,
)

NUMBER_FROM_0 = Interval(Real, 0, None, closed="left")
FRACTION = Interval(Real, 0, 1, closed="left")


class BaseMLP(BaseEstimator, ABC):
    """The base of the estimators, which is not for use by itself."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(ACTIVATIONS), Activation, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
        "alpha": [NUMBER_FROM_0],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", "cosine"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [NUMBER_FROM_0],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [NUMBER_FROM_0],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [FRACTION],
        "beta_1": [FRACTION],
        "beta_2": [FRACTION],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"})],
        "dropout": [FRACTION, "array-like"],
        "batch_norm": ["boolean"],
        "layer_norm": ["boolean"],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "callbacks": "no_validation",
        "standardize": ["boolean"],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "missing": [StrOptions({"error", "indicator"})],
        "preset": [StrOptions(set(PRESETS)), None],
    }

    # What these are, the classes' own docstrings say.
    solver: str
    warm_start: bool
    random_state: Any
    dtype: str
    callbacks: Any
    categorical_features: Any
    missing: str

    # Of a fit
    _model: Module
    _table: TableEncoder | None  # makes numbers of the table
    _optimizer: Optimizer | None  # that `partial_fit` goes on with
    _architecture: Architecture
    _objective: Objective
    _input_scale: Scale | None
    _target_scale: Scale | None
    _random_state: np.random.RandomState
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None

    def _set_parameters(self, given: dict[str, Any]) -> None:
        """The arguments of a constructor, its `locals()`, as attributes of their names."""
        self.__dict__.update({name: value for name, value in given.items() if name != "self"})

    @classmethod
    @cache  # scikit-learn asks several times in each fit, and looks at the signature each time
    def _get_param_names(cls) -> list[str]:
        names: list[str] = super()._get_param_names()
        return names

    # What the subclasses know

    @abstractmethod
    def _check_targets(self, y: Any, incremental: bool, reset: bool) -> tuple[Array, int]:
        """What the network is to learn, and how many outputs that takes."""

    @abstractmethod
    def _validation_targets(self, y: Any) -> Array:
        """Likewise those of data to validate with."""

    @abstractmethod
    def _make_objective(self, outputs: int) -> Objective: ...

    @abstractmethod
    def _score_outputs(self, y: Array, t: Array, weights: Array | None) -> float:
        """The score of the network's outputs, as `score` would tell it; it is asked each epoch."""

    def _class_weights(self, t: Array, weights: Array | None, incremental: bool) -> Array | None:
        return weights

    def _takes_any_target(self) -> bool:
        return True

    def _stratify(self, t: Array) -> Array | None:
        return None

    # Data

    def _encode(self, X: Any, *, reset: bool, weights: Any = None) -> Any:
        """The table that a user hands over as numbers: an array of float32 or float64, or CSR."""
        if reset:
            self._table = table_encoder(self)
        if self._table is not None:
            x = X
            if not is_frame(X):
                x = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
            validate_data(self, x, reset=reset, skip_check_array=True)
            if reset:
                self._table.fit(x, sample_weight=weights)
            return self._table.encoded(x)
        return validate_data(
            self,
            X,
            accept_sparse=["csr", "csc"],
            dtype=(np.float64, np.float32),
            reset=reset,
        )

    def _check_y(self, y: Any, y_numeric: bool = False) -> Any:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is"
                " None."
            )
        return _check_y(y, multi_output=True, y_numeric=y_numeric, estimator=self)

    def _rows(self, x: Any, t: Array, weights: Any) -> Rows:
        dtype = self._architecture.dtype
        if self._target_scale is not None:
            t = (t - self._target_scale[0]) / self._target_scale[1]
        return Rows(self._inputs(x), narrow(t, dtype) if t.dtype.kind == "f" else t, weights)

    def _inputs(self, x: Any) -> Any:
        if self._input_scale is not None:
            x = (dense(x) - self._input_scale[0]) / self._input_scale[1]
        return narrow(x, self._architecture.dtype)

    def _validation_rows(self, X: Any, y: Any, sample_weight: Any) -> Rows | None:
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val: expected None without X_val and y_val")
            return None
        if X is None or y is None:
            raise ValueError("X_val, y_val: expected both of them, got one")
        x, t = self._encode(X, reset=False), self._validation_targets(y)
        check_consistent_length(x, t)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x)
        return self._rows(x, t, sample_weight)

    def _outputs(self, X: Any) -> tuple[Array, Any]:
        """The network's outputs, without the last activation, and the dtype of what comes of it."""
        check_is_fitted(self)
        x = self._encode(X, reset=False)
        y = np.asarray(self._model.predict(self._inputs(x)))
        return y, np.result_type(x.dtype, self.coefs_[0].dtype)

    # Fits

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] = (None, None, None),
        incremental: bool = False,
    ) -> None:
        before = dict(self.__dict__)
        try:
            settings, data, held_out, dtype = self._prepare(
                X, y, sample_weight, validation, incremental
            )
        except Exception:  # what is refused leaves all as it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        try:
            self._train(settings, data, held_out, incremental)
        except BaseException:  # of a callback, say: predictions are those of the last step
            self._take_weights(dtype)
            raise
        self._settle(dtype)

    def _train(
        self, settings: SimpleNamespace, data: Rows, held_out: Rows | None, incremental: bool
    ) -> None:
        """As the solver does."""
        if settings.solver == "lbfgs":
            fit_lbfgs(self, settings, data)
        elif settings.solver == "lm":
            fit_lm(self, settings, data)
        else:
            ready_curves(self, settings, held_out is not None)
            fit_stochastic(self, settings, data, held_out, incremental)

    def _settle(self, dtype: Any) -> None:
        """After a fit: its weights, which have to be numbers."""
        self._take_weights(dtype)
        if not all(np.isfinite(w).all() for w in [*self.coefs_, *self.intercepts_]):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large"
                " values and need to be preprocessed."
            )

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        incremental: bool,
    ) -> tuple[SimpleNamespace, Rows, Rows | None, Any]:
        """The checked settings, rows to train on and to validate with, and the table's dtype.

        `settings.rows` says which of the rows are trained on, where some are held out.
        """
        settings = settings_of(self, incremental)
        hidden = settings.hidden_layer_sizes
        hidden = list(hidden) if hasattr(hidden, "__iter__") else [hidden]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        if settings.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        if not first:
            check_same_table(self, self._table)
        x = self._encode(X, reset=first, weights=sample_weight)
        if settings.early_stopping == "auto":
            settings.early_stopping = x.shape[0] > MANY_ROWS
        t, outputs = self._check_targets(y, incremental, first)
        check_consistent_length(x, t)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x)
        sample_weight = self._class_weights(t, sample_weight, incremental)
        embeddings = [] if self._table is None else self._table.embedding_sizes_
        inputs = x.shape[1] + sum(width - 1 for _, width in embeddings)
        architecture = architecture_of(settings, [inputs, *hidden, outputs], embeddings)
        self._random_state = random_state_of(self.random_state)
        if first:
            self._input_scale = None
            if settings.standardize and self._table is None:  # which does that
                self._input_scale = scale_of(x, sample_weight)
            scales_targets = getattr(settings, "standardize_target", False)
            scales_targets = scales_targets and self._takes_any_target()
            self._target_scale = scale_of(t, sample_weight) if scales_targets else None
        self._begin(settings, architecture, first, x.dtype)
        data = self._rows(x, t, sample_weight)
        held_out = self._validation_rows(*validation)
        if settings.early_stopping and settings.solver not in WHOLE and held_out is None:
            settings.rows, test = self._split(data, settings.validation_fraction)
            data, held_out = data.take(settings.rows), data.take(test)
        return settings, data, held_out, x.dtype

    def _begin(
        self, settings: SimpleNamespace, architecture: Architecture, first: bool, dtype: Any
    ) -> None:
        """A new network, or the one that there is, as far as the parameters leave it as it was."""
        if not first:
            if architecture.sizes != self._architecture.sizes:
                raise ValueError(
                    f"hidden_layer_sizes: expected layers of {list(self._architecture.sizes)}, as"
                    f" in the fit before, got {list(architecture.sizes)}"
                )
            if architecture != self._architecture:
                learnt = arrays_of(self._model)
                self._model, self._optimizer = build(architecture), None
                made = arrays_of(self._model)
                self._model.load_state_dict({name: learnt.get(name, made[name]) for name in made})
            self._architecture = architecture
            return
        self._architecture = architecture
        self._objective = self._make_objective(architecture.sizes[-1])
        self._model, self._optimizer = build(architecture), None
        drawn = glorot(architecture, self._random_state)
        self.coefs_, self.intercepts_ = [], []  # callbacks may ask for predictions
        for layer, (weights, biases) in zip(layers_of(self._model), drawn, strict=True):
            self.coefs_.append(weights.astype(dtype))
            self.intercepts_.append(biases.astype(dtype))
            view(layer.weight)[...] = self.coefs_[-1]
            view(layer.bias)[...] = self.intercepts_[-1]
        if isinstance(self._model, Embedded):
            set_tables(self._model, self._random_state)
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(architecture.sizes)
        self.n_outputs_ = architecture.sizes[-1]
        self.out_activation_ = self._objective.out_activation
        if settings.solver not in WHOLE:
            begin_curves(self, settings.early_stopping)

    def _split(self, data: Rows, fraction: float) -> tuple[Array, Array]:
        """The numbers of rows to train on, and of those to validate with."""
        train, test = train_test_split(
            np.arange(data.x.shape[0]),
            random_state=self._random_state,
            test_size=fraction,
            stratify=self._stratify(data.t),
        )
        if len(test) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of"
                " your dataset."
            )
        return train, test

    def _take_weights(self, dtype: Any) -> None:
        """`coefs_` and `intercepts_` from the network, in the dtype of the table."""
        layers = layers_of(self._model)
        self.coefs_ = [np.array(view(layer.weight), dtype, order="C") for layer in layers]
        self.intercepts_ = [np.array(view(layer.bias), dtype) for layer in layers]

    def _check_solver(self) -> bool:
        if self.solver in WHOLE:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers."
                f" {self.solver} is not stochastic."
            )
        return True

    # Copies and pickles hold arrays and plain values alone

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_random_state", None)  # each fit begins with its own
        if "_model" in state:
            state["_model"] = arrays_of(state["_model"])
            state["_architecture"] = tuple(state["_architecture"])
            state["_dtype"] = str(state.pop("coefs_")[0].dtype)
            del state["intercepts_"], state["_objective"]
        if state.get("_optimizer") is not None:
            optimizer = state["_optimizer"]
            state["_optimizer"] = [type(optimizer).__name__, plain(optimizer.state_dict())]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        dtype = state.pop("_dtype", None)
        super().__setstate__(state)
        if dtype is None:
            return
        learnt, optimizer = self.__dict__["_model"], self.__dict__["_optimizer"]
        self._architecture = Architecture(*self.__dict__["_architecture"])
        self._objective = self._make_objective(self.n_outputs_)
        self._model = build(self._architecture)
        self._model.load_state_dict(learnt)
        self._take_weights(dtype)
        self._optimizer = None
        if optimizer is not None and self.solver not in WHOLE:
            made = make_optimizer(self._model, settings_of(self))
            if type(made).__name__ == optimizer[0]:
                made.load_state_dict(optimizer[1])
                self._optimizer = made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.categorical_features is None and self.missing == "error"
        tags.input_tags.allow_nan = self.missing == "indicator"
        tags.input_tags.categorical = self.categorical_features is not None
        return tags
