"""From a CSV file to a `TableModel` and what is to be told of it."""

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.datasets import DataError
from fastmlp.history import EpochInfo
from fastmlp.progress import Progress, make_progress, progress_stream
from fastmlp.shell.columns import (
    Category,
    Number,
    are_dates,
    are_numbers,
    encode,
    kind_of,
    learn,
    mostly_numbers,
    numbers,
    written_otherwise,
)
from fastmlp.shell.reading import Table, count, open_table, short
from fastmlp.shell.saved import TableModel

LEAST_ROWS = 10
MOST_CLASSES = 1000
FEW_CLASSES = 10  # so many different whole numbers are taken for classes
MOST_BYTES = 8 << 30  # of the encoded rows
WIDE = 100  # hidden layers from this width on have dropout


@dataclass
class Result:
    """What a training has come to.

    Attributes
    ----------
    model : TableModel
    notes : list of str
        What was left out, and why; and other things that one should know.
    rows, test_rows : int
    loss, validation_loss : list of float
        The latter is empty where there are no rows to validate with.
    truth, predicted : ndarray
        Of the held-out rows: values, or numbers of classes.
    scores : dict of str to (float, float)
        Of the held-out rows: the model's, and those of a constant answer.
    baseline : str
        What that answer is.
    seconds : float
    """

    model: TableModel
    notes: list[str]
    rows: int
    test_rows: int
    loss: list[float]
    validation_loss: list[float]
    truth: Array
    predicted: Array
    scores: dict[str, tuple[float, float]]
    baseline: str
    seconds: float


def train(options: Any) -> Result:
    """Read, learn the columns, train, and score; `options` are those of the command line.

    Raises
    ------
    DataError
        If the file is not what it should be.
    ImportError
        If pandas or scikit-learn are missing.
    OSError
        If the file cannot be read.
    """
    _need_sklearn()
    notes: list[str] = []
    with open_table(options.data) as table:
        table.find(options.target, " to predict")
        for name in (*options.drop, *options.categories):
            table.find(name, "")
        wanted = [name for name in table.columns if name and name not in options.drop]
        if options.target not in wanted:
            raise DataError(f"--drop {options.target}: that is the target")
        if "" in table.columns:
            notes.append("a column without a name is left out")
        frame = table.frame(wanted)
    frame = _with_target(frame, options, notes)
    target = frame.pop(options.target)
    t, classes = _targets(table, target, options, notes)
    kinds: dict[str, type[Number] | type[Category]] = {}
    for name in frame.columns:
        kind = kind_of(frame[name], name in options.categories)
        if isinstance(kind, str):
            notes.append(f"{short(name)} is left out: {kind}")
        else:
            kinds[name] = kind
    training, test = _split(t, classes, options.test_fraction, options.seed)
    columns = []
    for name, kind in kinds.items():
        column = learn(name, frame[name].iloc[training], kind)
        if isinstance(column, str):
            notes.append(f"{short(name)} is left out: {column}")
        else:
            columns.append(column)
            _note(column, frame[name], notes)
    if not columns:
        raise DataError(f"{table.name}: no column beside {short(options.target)} is of use"
                        + (f" ({notes[-1]})" if notes else ""))  # fmt: skip
    if len(frame) * sum(column.width for column in columns) * 4 > MOST_BYTES:
        raise DataError(f"{table.name}: too many rows and columns for memory; --drop some")
    x = encode(columns, frame, table.name)
    for column in columns:
        if isinstance(column, Category):
            column.unknown = 0
    started = time.perf_counter()
    estimator = _fit(x, t, training, test, classes, options)
    model = TableModel(estimator._model, columns, options.target, classes)
    if classes is None:
        model.mean, model.scale = (float(value[0]) for value in estimator._target_scale)
    rows = frame.iloc[test]
    predicted, scores, baseline = _scores(model, rows, t, training, test, table.name)
    return Result(
        model, notes, len(training), len(test), estimator.loss_curve_,
        estimator.validation_loss_curve_ or [], t[test], predicted, scores, baseline,
        time.perf_counter() - started,
    )  # fmt: skip


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'fastmlp train needs scikit-learn: pip install "fastmlp[table]"'
        ) from error


def _with_target(frame: Any, options: Any, notes: list[str]) -> Any:
    there = frame[options.target].notna()
    if not there.all():
        lacking = count(int((~there).sum()), "row")
        notes.append(f"{lacking} without {short(options.target)} left out")
        frame = frame[there]
    if len(frame) < LEAST_ROWS:
        raise DataError(
            f"{options.data}: expected at least {LEAST_ROWS} rows with {short(options.target)},"
            f" got {len(frame)}"
        )
    return frame.reset_index(drop=True)


def _targets(
    table: Table, values: Any, options: Any, notes: list[str]
) -> tuple[Array, list[str] | None]:
    """Numbers, and None; or numbers of classes, and their names."""
    what = f"{table.name}: column {short(options.target)}"
    distinct = values.unique().tolist()
    if len(distinct) < 2:
        raise DataError(f"{what}: expected different values, got {short(distinct[0])} alone")
    numeric = are_numbers(values)
    task = options.task
    if task == "auto" and not numeric:
        if are_dates(values):
            raise DataError(f"{what}: expected numbers or classes, got dates")
        if len(distinct) > FEW_CLASSES and mostly_numbers(values):
            numbers(values, what, 1)  # which says what is none
        if len(distinct) > FEW_CLASSES and (odd := written_otherwise(values)) is not None:
            raise DataError(
                f"{what}: expected numbers written like 1234.5, or classes, got {short(odd)}"
            )
    if task == "auto":
        task = "regression"
        if not numeric:
            task = "classification"
        elif len(distinct) <= FEW_CLASSES and (np.mod(numbers(values, what, 1), 1) == 0).all():
            task = "classification"
            if len(distinct) > 2:
                notes.append(
                    f"{short(options.target)} has {len(distinct)} different whole numbers, taken as"
                    " classes; --task regression takes them as numbers"
                )
    if task == "regression":
        t = numbers(values, what, 1)
        if t.min() == t.max():
            raise DataError(f"{what}: expected different numbers, got {t[0]:g} alone")
        return t, None
    if len(distinct) > MOST_CLASSES or len(distinct) > len(values) / 2:
        hint = "; --task regression takes numbers" if numeric else "; names are none"
        raise DataError(
            f"{what}: expected classes, got {len(distinct)} different values in {len(values)} rows"
            f"{hint}"
        )
    classes = sorted(distinct, key=(lambda text: (float(text), text)) if numeric else str)
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[value] for value in values], np.int64), classes


def _split(t: Array, classes: list[str] | None, fraction: float, seed: int) -> tuple[Array, Array]:
    """Row numbers to train on and to score with; of each class the same share, if it has enough."""
    order = np.random.RandomState(seed).permutation(len(t))
    groups = [order] if classes is None else [order[t[order] == i] for i in range(len(classes))]
    test = np.sort(np.concatenate([group[: round(fraction * len(group))] for group in groups]))
    training = np.setdiff1d(np.arange(len(t)), test)
    return training, test


def _note(column: Number | Category, values: Any, notes: list[str]) -> None:
    if isinstance(column, Category):
        different = values.nunique()
        if different > 2 * len(column.values):
            notes.append(
                f"{short(column.name)} has {different} values, of which the most frequent"
                f" {len(column.values)} count"
            )
    elif values.is_unique and len(values) > LEAST_ROWS:
        x = numbers(values, "", 1)
        if (np.diff(x) == 1).all():
            notes.append(f"{short(column.name)} numbers the rows; if it tells nothing, --drop it")


def _fit(
    x: Array, t: Array, training: Array, test: Array, classes: list[str] | None, options: Any
) -> Any:
    from fastmlp.sklearn import PRESETS, MLPClassifier, MLPRegressor
    from fastmlp.sklearn._presets import MANY_ROWS

    settings = {**PRESETS["tabular"], "max_iter": options.epochs, "random_state": options.seed}
    hidden = settings["hidden_layer_sizes"] if options.hidden is None else options.hidden
    settings["hidden_layer_sizes"] = hidden
    settings["dropout"] = [settings["dropout"] if size >= WIDE else 0.0 for size in hidden]
    settings["standardize"] = False  # which the columns are
    settings["early_stopping"] = len(training) > MANY_ROWS
    validation = {}
    if not settings["early_stopping"] and len(test):  # a look, by which nothing is decided
        validation = {"X_val": x[test], "y_val": t[test]}
    if classes is not None:
        del settings["standardize_target"]
    kind = MLPRegressor if classes is None else MLPClassifier
    stream = progress_stream(options.progress)
    shown = _Shown()
    line = make_progress(stream, 0, options.epochs, shown.validation_loss) if stream else None
    shown.line = line
    estimator: Any = kind(callbacks=shown, **settings)
    with warnings.catch_warnings(), line or nullcontext():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "Training interrupted", UserWarning)
        try:
            estimator.fit(x[training], t[training], **validation)
        except UserWarning:
            raise KeyboardInterrupt from None
        except ValueError as error:
            raise DataError(str(error)) from error
    return estimator


class _Shown:
    """Shows the progress of an estimator's training."""

    line: Progress | None = None
    _info: EpochInfo | None = None

    def validation_loss(self) -> float | None:
        return self._info.validation_loss if self._info else None

    def on_epoch_end(self, info: EpochInfo) -> None:
        self._info = info
        if self.line:
            self.line.poll(info.epoch + 1, info.loss)

    def on_train_end(self, info: EpochInfo) -> None:
        if self.line:
            self.line.finish(info.epoch + 1, info.loss)


def _scores(
    model: TableModel, rows: Any, t: Array, training: Array, test: Array, where: str
) -> tuple[Array, dict[str, tuple[float, float]], str]:
    """Predictions of the held-out rows, their scores and those of a constant, and what that is."""
    known, truth = t[training], t[test]
    if model.classes is None:
        baseline = f"the mean, {np.mean(known):.4g}"
        if not len(test):
            return np.empty(0), {}, baseline
        predicted = model.values(rows, where)
        pairs = [(truth - predicted), (truth - np.mean(known))]
        spread = float(np.sum((truth - truth.mean()) ** 2))
        scores = {
            "R2": [1 - float(e @ e) / spread if spread else float("nan") for e in pairs],
            "RMSE": [float(np.sqrt(np.mean(e**2))) for e in pairs],
            "mean error": [float(np.mean(np.abs(e))) for e in pairs],
        }
        return predicted, {name: (a, b) for name, (a, b) in scores.items()}, baseline
    shares = np.bincount(known, minlength=len(model.classes)) / len(known)
    common = int(np.argmax(shares))
    baseline = f"always {short(model.classes[common])}"
    if not len(test):
        return np.empty(0, np.int64), {}, baseline
    p = model.probabilities(rows, where)
    predicted = np.argmax(p, axis=1)
    tiny = np.finfo(np.float32).tiny
    own = np.maximum(p[np.arange(len(p)), truth], tiny)
    plain = np.maximum(shares[truth], tiny)
    return (
        predicted,
        {
            "accuracy": (float(np.mean(predicted == truth)), float(np.mean(truth == common))),
            "log loss": (float(-np.mean(np.log(own))), float(-np.mean(np.log(plain)))),
        },
        baseline,
    )
