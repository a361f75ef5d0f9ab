"""What `fit_many` is given: options and rows of each trainer."""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp._hooks import check_callbacks
from fastmlp._rows import is_sparse
from fastmlp.early_stopping import EarlyStopping, take_early_stopping
from fastmlp.function_loss import FunctionLoss
from fastmlp.trainer import Trainer

# Of which a list has one for each trainer. Those of the other arguments are lists themselves.
SINGLE = (
    "max_epoch",
    "batch_size",
    "max_grad",
    "eval_interval",
    "shuffle",
    "seed",
    "allow_nonfinite",
    "validation_split",
    "early_stopping",
    "accumulate",
)
DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Trainer.fit).parameters.items()
    if parameter.default is not inspect.Parameter.empty
}
AT_ONCE = 1 << 28  # bytes: what is no more is converted once, for all trainers


@contextmanager
def named(i: int) -> Iterator[None]:
    """Errors name the trainer that arguments are wrong for."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f"trainers[{i}]: {error}") from error


class Options:
    """What `Trainer.fit` is given besides data, for each trainer."""

    def __init__(self, group: Sequence[Trainer], given: dict[str, Any]) -> None:
        unknown = {name: value for name, value in given.items() if name not in DEFAULTS}
        _checks.refuse_unknown("fit_many", unknown, Trainer.fit)
        self.shared = {**DEFAULTS, **given}
        for name in ("t", "progress"):
            del self.shared[name]
        if isinstance(self.shared["metrics"], Iterator):
            self.shared["metrics"] = list(self.shared["metrics"])
        self.each: dict[str, list[Any]] = {}
        for name in SINGLE:
            if isinstance(self.shared[name], list | tuple | range | np.ndarray):
                values = list(self.shared.pop(name))
                if len(values) != len(group):
                    raise ValueError(
                        f"{name}: expected a value, or a list of one for each of the {len(group)}"
                        f" trainers, got {len(values)}"
                    )
                self.each[name] = values
        self._take_callbacks(len(group))
        self._searches = self._own_searches(len(group))

    def _take_callbacks(self, count: int) -> None:
        """A list of lists has those of each trainer."""
        given = self.shared["callbacks"]
        if not isinstance(given, list | tuple) or not given:
            return
        if all(isinstance(part, list | tuple) for part in given):
            if len(given) != count:
                raise ValueError(
                    f"callbacks: expected a list of callbacks, or a list of lists, one for each of"
                    f" the {count} trainers, got {len(given)} lists"
                )
            found = []
            for i, part in enumerate(given):
                with named(i):
                    found.append(take_early_stopping(self.of(i)["early_stopping"], [*part]))
            self.shared |= {"callbacks": (), "early_stopping": None}
            self.each["early_stopping"] = [early for early, _ in found]
            self.each["callbacks"] = [others for _, others in found]

    def _own_searches(self, count: int) -> list[tuple[EarlyStopping, EarlyStopping]]:
        """One search for the best epoch would serve one fit after another: each gets its own."""
        listed = self.each.get("early_stopping")
        early, others = take_early_stopping(
            self.shared.pop("early_stopping", None), check_callbacks(self.shared["callbacks"])
        )
        self.shared["callbacks"] = others
        if listed is not None and early is not None:
            raise ValueError(
                "early_stopping: expected one EarlyStopping, got also one in callbacks"
            )
        given = [early] * count if listed is None else listed
        own = [copy.copy(value) if isinstance(value, EarlyStopping) else value for value in given]
        self.each["early_stopping"] = own
        return [
            (value, part)
            for value, part in zip(given, own, strict=True)
            if isinstance(value, EarlyStopping) and isinstance(part, EarlyStopping)
        ]

    def of(self, i: int) -> dict[str, Any]:
        return {**self.shared, **{name: values[i] for name, values in self.each.items()}}

    def epochs_of(self, i: int) -> int:
        return int(self.of(i)["max_epoch"])

    def settle(self) -> None:
        """Each `EarlyStopping` tells of the last fit that it served."""
        for given, own in self._searches:
            if own._native is not None:
                given._native = own._native


class Data:
    """The rows that the trainers get. Functions see targets as they were given."""

    def __init__(
        self, group: Sequence[Trainer], x: Any, t: Any, weights: Any, rows: Any, metrics: Any
    ) -> None:
        self._batches = t is None
        self._parts = {"x": x, "t": t, "sample_weight": weights}
        self._rows = None if rows is None else _rows_of(rows, len(group))
        self._converted: dict[tuple[str, str | None], Any] = {}
        self._dtypes = [str(trainer.optimizer.parameters[0].dtype) for trainer in group]
        listed = metrics if isinstance(metrics, list | tuple) else [metrics]
        has_functions = any(map(callable, listed))
        self._shown = [has_functions or isinstance(one.loss_fn, FunctionLoss) for one in group]
        if self._batches:
            if self._rows is not None:
                raise ValueError("rows: expected None with batches, got rows")
            if isinstance(x, Iterator):
                raise TypeError(
                    f"x: expected batches that can be passed through {len(group)} times, got an"
                    " iterator, which is used up after one"
                )

    def of(self, i: int) -> dict[str, Any]:
        if self._batches:
            return dict(self._parts)
        return {name: self._part(name, i, self._which(i)) for name in self._parts}

    def rows_of(self, i: int) -> int:
        """How many there are, as far as that is known without a pass through them."""
        if self._batches:
            return 1
        which, t = self._which(i), self._parts["t"]
        if which is None or isinstance(which, slice):
            rows = np.shape(t)[0] if np.ndim(t) else 1
            return rows if which is None else len(range(*which.indices(rows)))
        return int(which.sum() if which.dtype.kind == "b" else len(which))

    def own_size(self, i: int) -> int:
        """How many numbers of rows, and values of them, a training may have of its own."""
        values = 0 if self._which(i) is None else int(np.prod(np.shape(self._parts["x"])[1:]))
        return max(1, self.rows_of(i) * (1 + values))

    def _which(self, i: int) -> Any:
        return None if self._rows is None else self._rows[i]

    def _part(self, name: str, i: int, which: Any) -> Any:
        value = self._parts[name]
        if value is None:
            return None
        value = self._once(name, None if name == "t" and self._shown[i] else self._dtypes[i])
        if which is None:
            return value
        try:
            return value[which]
        except (IndexError, ValueError, TypeError) as error:
            raise ValueError(
                f"rows: expected numbers of rows of {name}, got some that are not: {error}"
            ) from None

    def _once(self, name: str, dtype: str | None) -> Any:
        """An array in the dtype of a model, or its own, for all trainers who want it so."""
        if (name, dtype) not in self._converted:
            self._converted[name, dtype] = _converted(name, self._parts[name], dtype)
        return self._converted[name, dtype]


def _converted(name: str, value: Any, dtype: str | None) -> Any:
    """As `fit` would, unless it converts by the batch."""
    if is_sparse(value) or hasattr(value, "__cuda_array_interface__"):
        return value
    array = _conversions.as_array(value, name)
    kinds = "fiub" if name == "x" else "f"  # integers may be classes
    stays = dtype is None or type(array) is not np.ndarray or array.dtype.kind not in kinds
    if stays or array.size * 8 > AT_ONCE:
        return array
    with np.errstate(over="ignore"):  # infinite values are found later
        return np.ascontiguousarray(array, "float64" if name == "sample_weight" else dtype)


def _rows_of(rows: Any, count: int) -> list[Any]:
    """The rows of each trainer."""
    if isinstance(rows, list | tuple) and all(
        part is None or isinstance(part, slice) or np.ndim(part) == 1 for part in rows
    ):
        if len(rows) != count:
            raise ValueError(
                f"rows: expected those of each of the {count} trainers, got a list of {len(rows)}"
            )
        return [
            None if part is None else _indices(f"rows[{i}]", part) for i, part in enumerate(rows)
        ]
    return [_indices("rows", rows)] * count


def _indices(name: str, rows: Any) -> Any:
    if isinstance(rows, slice):
        return rows
    array = np.asarray(rows)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected integers, booleans or a slice, got {_checks.show(rows)}")
    if array.dtype.kind != "b" and len(array) and array.min() < 0:
        raise ValueError(f"{name}: expected numbers of rows, got {array.min()}")
    return array
