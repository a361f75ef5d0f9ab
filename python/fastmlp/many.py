"""Many trainings at once, one network a thread, each as by itself."""

import copy
import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._fit import Fit
from fastmlp._hooks import check_callbacks
from fastmlp._rows import is_sparse
from fastmlp._whole_fit import ALL_ROWS_OR_32
from fastmlp.early_stopping import EarlyStopping, take_early_stopping
from fastmlp.history import History
from fastmlp.progress import make_progress, progress_stream
from fastmlp.runtime import get_num_threads
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


def fit_many(
    trainers: Iterable[Trainer],
    x: Any,
    t: Any = None,
    max_epoch: Any = 10,
    batch_size: Any = ALL_ROWS_OR_32,
    *,
    rows: Any = None,
    progress: bool | str = "auto",
    **fit_options: Any,
) -> list[History]:
    """Train many networks on the same data: ``[trainer.fit(x, t, ...) for trainer in trainers]``.

    Each comes to the same bits as by itself, in a fraction of the time: every thread (see
    `set_num_threads`) trains one network after another, the longest trainings first. Networks,
    optimizers and losses may be of any kinds. Those on a CUDA device are trained one by one.

    Parameters
    ----------
    trainers : iterable of Trainer
        Which share no parameters.
    x, t : array_like, or x alone an iterable of batches
        As `Trainer.fit` takes them. They are converted once, not for each trainer.
    max_epoch, batch_size, progress, **fit_options
        All further arguments of `Trainer.fit`. Instead of a number, a flag or an `EarlyStopping`
        there may be a list or 1-D array of one for each trainer, such as ``seed=range(n)``; for
        `callbacks` a list of lists. Callbacks and metrics are called in the threads, one at a time.
    rows : list, optional
        The rows of x, t and sample_weight that each trainer gets: a list with integers, booleans or
        a slice for each of them, or None for all rows. One array of integers or booleans is for
        all trainers. The validation data stay as they are.

    Returns
    -------
    list of History

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or trainers share parameters; it names the first trainer that it is
        wrong for. None has begun then. (A wrong batch of an iterable is an error when it comes.)
    FloatingPointError
        At the end, if losses of trainers with `on_nonfinite="raise"` became NaN, which end by
        themselves. A warning tells of those with "warn".
    KeyboardInterrupt
        After Ctrl-C, as after an error in a callback: each network that had begun has taken whole
        steps, and can be trained on.

    Notes
    -----
    Beside the models, a thread needs the memory of one fit; `rows` are copied for those under way
    alone.
    """
    group = list(trainers) if isinstance(trainers, Iterable) else trainers
    _check_trainers(group)
    options = _Options(group, {"max_epoch": max_epoch, "batch_size": batch_size, **fit_options})
    data = _Data(group, x, t, options.shared.pop("sample_weight", None), rows)
    stream = progress_stream(True if progress == "plot" else progress)

    def make(i: int) -> Fit:
        with _named(i):
            return Fit(group[i], **data.of(i), **options.of(i), progress=False)

    fits: list[Fit] = []
    for i in range(len(group)):
        fit = make(i)
        with _named(i):
            fit.check()
        if rows is None:  # else each has data of its own: they are made again, one by one
            fits.append(fit)
    work = [data.rows_of(i) * options.epochs_of(i) for i in range(len(group))]
    run = _Run(group, fits.__getitem__ if fits else make, work)
    try:
        if stream is None:
            run.all()
        else:
            with make_progress(stream, 0, len(group), unit="network") as line:
                run.all(lambda done: line.poll(done, None))
                line.finish(len(group), None)
    finally:
        options.settle()
    _tell(group, run.problems)
    return [history for history in run.histories if history is not None]


@contextmanager
def _named(i: int) -> Iterator[None]:
    """Errors name the trainer that arguments are wrong for."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"trainers[{i}]: {error}") from error


def _check_trainers(group: Any) -> None:
    if not isinstance(group, list) or isinstance(group, Trainer):
        raise TypeError(f"trainers: expected a list of trainers, got {_checks.show(group)}")
    users: dict[int, int] = {}
    for i, trainer in enumerate(group):
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainers[{i}]: expected a Trainer, got {_checks.show(trainer)}")
        own = {id(p._native) for p in (*trainer.model._stored(), *trainer.optimizer.parameters)}
        for parameter in own:
            other = users.setdefault(parameter, i)
            if other != i:
                raise ValueError(
                    f"trainers[{i}]: expected parameters of its own, got some of"
                    f" trainers[{other}], too"
                )


class _Options:
    """What `Trainer.fit` is given besides data, for each trainer."""

    def __init__(self, group: Sequence[Trainer], given: dict[str, Any]) -> None:
        unknown = {name: value for name, value in given.items() if name not in DEFAULTS}
        _checks.refuse_unknown("fit_many", unknown, Trainer.fit)
        self.shared = {**DEFAULTS, **given}
        for name in ("t", "progress"):
            del self.shared[name]
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
                with _named(i):
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


class _Data:
    """The rows that the trainers get."""

    def __init__(self, group: Sequence[Trainer], x: Any, t: Any, weights: Any, rows: Any) -> None:
        self._batches = t is None
        self._parts = {"x": x, "t": t, "sample_weight": weights}
        self._rows = None if rows is None else _rows_of(rows, len(group))
        self._converted: dict[tuple[str, str], Any] = {}
        self._dtypes = [str(trainer.optimizer.parameters[0].dtype) for trainer in group]
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

    def _which(self, i: int) -> Any:
        return None if self._rows is None else self._rows[i]

    def _part(self, name: str, i: int, which: Any) -> Any:
        value = self._parts[name]
        if value is None:
            return None
        value = self._once(name, self._dtypes[i])
        if which is None:
            return value
        try:
            return value[which]
        except (IndexError, ValueError, TypeError) as error:
            raise ValueError(
                f"rows: expected numbers of rows of {name}, got some that are not: {error}"
            ) from None

    def _once(self, name: str, dtype: str) -> Any:
        """An array in the dtype of a model, for all trainers who want it so."""
        if (name, dtype) not in self._converted:
            self._converted[name, dtype] = _converted(name, self._parts[name], dtype)
        return self._converted[name, dtype]


def _converted(name: str, value: Any, dtype: str) -> Any:
    """As `fit` would, unless it converts by the batch."""
    if is_sparse(value) or hasattr(value, "__cuda_array_interface__"):
        return value
    array = _conversions.as_array(value, name)
    kinds = "fiub" if name == "x" else "f"  # integers may be classes
    if type(array) is not np.ndarray or array.dtype.kind not in kinds or array.size * 8 > AT_ONCE:
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


class _StoppedError(Exception):
    """Another training has failed, or Ctrl-C has come."""


class _Run:
    """The trainings, and the threads that take one after another."""

    def __init__(
        self, group: Sequence[Trainer], make: Callable[[int], Fit], work: list[int]
    ) -> None:
        self.histories: list[History | None] = [None] * len(group)
        self.problems: dict[int, str] = {}
        self._make = make
        self._stop: BaseException | None = None
        self._done = 0
        self._changed = threading.Condition()
        sizes = [sum(p.numel() for p in trainer.optimizer.parameters) for trainer in group]
        order = sorted(range(len(group)), key=lambda i: -sizes[i] * work[i])
        self._here = [i for i in order if group[i].model.device != "cpu"]
        self._order = [i for i in order if group[i].model.device == "cpu"]

    def all(self, tell: Callable[[int], None] = lambda done: None) -> None:
        """Train all of them; the first error ends the others after a whole step."""
        workers = min(get_num_threads(), len(self._order))
        alone = self._here
        if workers <= 1:  # a single network may use all threads
            workers, alone = 0, [*self._order, *self._here]
        shared = iter(self._order)
        threads = [
            threading.Thread(target=self._work, args=(shared,), daemon=True) for _ in range(workers)
        ]
        try:
            for thread in threads:
                thread.start()
            for i in alone:
                self._train(i, lambda epoch, loss: self._check())
                tell(self._done)
            while any(thread.is_alive() for thread in threads) and self._stop is None:
                with self._changed:
                    self._changed.wait(0.05)
                tell(self._done)
        except BaseException as error:
            self._stop = self._stop or error
        finally:
            for thread in threads:
                thread.join()
        if self._stop is not None:
            raise self._stop

    def _work(self, shared: Iterator[int]) -> None:
        _core.limit_own_threads(1)
        try:
            for i in shared:
                self._train(i, lambda epoch, loss: self._check())
        except _StoppedError:
            pass
        except BaseException as error:
            self._stop = self._stop or error
        with self._changed:
            self._changed.notify()

    def _train(self, i: int, poll: Callable[[int, float], None]) -> None:
        self._check()
        fit = self._make(i)
        try:
            self.histories[i] = fit.run(poll)
        except Exception as error:
            if not isinstance(error, _StoppedError) and hasattr(error, "add_note"):
                error.add_note(f"in the training of trainers[{i}]")
            raise
        self._done += 1
        if fit.problem is not None:
            self.problems[i] = fit.problem

    def _check(self) -> None:
        if self._stop is not None:
            raise _StoppedError


def _tell(group: Sequence[Trainer], problems: dict[int, str]) -> None:
    """Warn of the losses that are no numbers any more, or raise."""
    for reaction in ("warn", "raise"):
        found = [i for i in sorted(problems) if group[i].on_nonfinite == reaction]
        if not found:
            continue
        more = f" (and of {len(found) - 1} others: {_few(found[1:])})" if len(found) > 1 else ""
        text = f"trainers[{found[0]}]: {problems[found[0]]}{more}"
        if reaction == "raise":
            raise FloatingPointError(text)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else shown + ", ..."
