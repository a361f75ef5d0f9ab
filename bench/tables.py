"""`fastmlp.sklearn` beside scikit-learn: python bench/tables.py [options]

Times of `fit` and of a `GridSearchCV` with 1 and with 2 jobs, and scores on rows that were not
trained on, for the same settings and numbers of epochs. Both sides run in turns; the table shows
medians, and how many times faster ours is.

With --defaults: fits of small tables with all settings as they are by default, and with one epoch,
which is what checks and building cost: medians, the ratios of nine in ten rounds, and that of the
least times, for a machine that does other things, too.

With --presets: means of the scores over 5 folds on ordinary tables, of the perceptrons of both by
default, of ours with `preset="tabular"`, and of gradient boosting.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import fastmlp.sklearn
import report
from machine import machine
from worker import settle

# Rows, features, and epochs that take scikit-learn some seconds at most.
TABLES = [(200, 5, 100), (1000, 10, 50), (10_000, 20, 10), (50_000, 100, 3)]
SMALL = [(150, 4), (200, 5), (500, 10), (1000, 10), (2000, 20), (10_000, 20)]
GRID = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2]}
GRID_ROWS = 10_000  # larger tables are not searched
TEST_ROWS = 1000
SIDES = {"ours": fastmlp.sklearn, "theirs": neural_network}

Table = tuple[np.ndarray, np.ndarray]


def table(rows: int, features: int, classes: bool) -> tuple[Table, Table]:
    """Rows to train on, and others to test with."""
    count = rows + TEST_ROWS
    if classes:
        x, y = datasets.make_classification(
            count, features, n_informative=features - 2, n_redundant=1, random_state=0
        )
    else:
        x, y = datasets.make_regression(count, features, noise=10.0, random_state=0)
        y = scale(y)
    x = scale(x)
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])


def seconds_in_turns(sides: dict[str, Any], data: Table, rounds: int) -> dict[str, list[float]]:
    """The seconds that fits take; the first of each side warms up."""
    for estimator in sides.values():
        estimator.fit(*data)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, estimator in sides.items():
            settle()
            start = time.perf_counter()
            estimator.fit(*data)
            times[name].append(time.perf_counter() - start)
    return times


def in_turns(sides: dict[str, Any], data: Table, rounds: int) -> dict[str, float]:
    """Their medians."""
    return {name: median(t) for name, t in seconds_in_turns(sides, data, rounds).items()}


def _milliseconds(times: dict[str, float]) -> list[str]:
    ours, theirs = times["ours"], times["theirs"]
    return [report.microseconds(t * 1e3) for t in (ours, theirs)] + [f"{theirs / ours:.1f}x"]


def compare_times(rounds: int, most_rows: int) -> None:
    rows = [["milliseconds", "ours", "theirs", "ratio", "score", "theirs"]]
    for count, features, epochs in TABLES:
        if count > most_rows:
            continue
        for kind in ("Classifier", "Regressor"):
            data, test = table(count, features, kind == "Classifier")
            settings = {"max_iter": epochs, "n_iter_no_change": epochs + 1, "random_state": 0}
            sides = {n: getattr(m, f"MLP{kind}")(**settings) for n, m in SIDES.items()}
            name = f"{kind.lower()}, {count:,} x {features}, {epochs} epochs"
            times = in_turns(sides, data, rounds)
            scores = [f"{sides[n].score(*test):.3f}" for n in SIDES]
            rows.append([f"{name}: fit", *_milliseconds(times), *scores])
            for jobs in (1, 2) if count <= GRID_ROWS else ():
                searches = {
                    n: GridSearchCV(clone(e), GRID, cv=3, n_jobs=jobs) for n, e in sides.items()
                }
                times = in_turns(searches, data, max(rounds // 3, 1))
                scores = [f"{searches[n].best_score_:.3f}" for n in SIDES]
                rows.append([f"  search, n_jobs={jobs}", *_milliseconds(times), *scores])
    print(report.table(rows))


def compare_defaults(rounds: int, most_rows: int) -> None:
    heads = [
        "ours",
        "theirs",
        "ratio",
        "rounds",
        "least",
        "epochs",
        "theirs",
        "one epoch",
        "theirs",
    ]
    rows = [["milliseconds", *heads]]
    for count, features in SMALL:
        if count > most_rows:
            continue
        for kind in ("Classifier", "Regressor"):
            data, _ = table(count, features, kind == "Classifier")
            sides = {
                name + epochs: getattr(module, f"MLP{kind}")(random_state=0, **settings)
                for epochs, settings in (("", {}), (" once", {"max_iter": 1}))
                for name, module in SIDES.items()
            }
            times = seconds_in_turns(sides, data, rounds)
            ratios = np.divide(times["theirs"], times["ours"])
            low, high = np.quantile(ratios, [0.05, 0.95])
            medians = {name: median(t) for name, t in times.items()}
            once = [report.microseconds(medians[f"{n} once"] * 1e3) for n in SIDES]
            epochs = [str(sides[n].n_iter_) for n in SIDES]
            spread = [
                f"{low:.1f} to {high:.1f}",
                f"{min(times['theirs']) / min(times['ours']):.1f}x",
            ]
            name = f"{kind.lower()}, {count:,} x {features}"
            rows.append([name, *_milliseconds(medians), *spread, *epochs, *once])
    print(report.table(rows))


# --- ready settings


def _friedman(make: Callable[..., Table]) -> Callable[[], Table]:
    return lambda: make(1500, noise=0.2, random_state=0)


def _linear() -> Table:
    return datasets.make_regression(1000, 20, n_informative=10, noise=50.0, random_state=0)


def _clusters() -> Table:
    return datasets.make_classification(
        2000, 20, n_informative=8, n_classes=4, flip_y=0.05, random_state=0
    )


ORDINARY: dict[str, tuple[str, Callable[[], Table]]] = {
    "iris": ("Classifier", lambda: datasets.load_iris(return_X_y=True)),
    "wine": ("Classifier", lambda: datasets.load_wine(return_X_y=True)),
    "breast cancer": ("Classifier", lambda: datasets.load_breast_cancer(return_X_y=True)),
    "digits": ("Classifier", lambda: datasets.load_digits(return_X_y=True)),
    "4 classes, 2,000 x 20": ("Classifier", _clusters),
    "diabetes": ("Regressor", lambda: datasets.load_diabetes(return_X_y=True)),
    "linear, 1,000 x 20": ("Regressor", _linear),
    "Friedman 1": ("Regressor", _friedman(datasets.make_friedman1)),
    "Friedman 2": ("Regressor", _friedman(datasets.make_friedman2)),
    "Friedman 3": ("Regressor", _friedman(datasets.make_friedman3)),
}


def _line(name: str, cells: Iterable[str]) -> str:
    return name.ljust(22) + "".join(cell.rjust(10) for cell in cells)


def compare_presets() -> None:
    """Accuracies and R2, and the seconds of a fit with the preset.

    All perceptrons get standardised columns.
    """
    heads = ("theirs", "ours", "preset", "boosting", "seconds")
    print(_line("means over 5 folds", heads))
    better = 0
    for name, (kind, load) in ORDINARY.items():
        x, y = load()
        ours = getattr(fastmlp.sklearn, f"MLP{kind}")
        boosting = {
            "Classifier": HistGradientBoostingClassifier,
            "Regressor": HistGradientBoostingRegressor,
        }[kind]
        theirs = getattr(neural_network, f"MLP{kind}")
        networks = [theirs(random_state=0), ours(random_state=0)]
        networks.append(ours(random_state=0, preset="tabular"))
        estimators = [make_pipeline(StandardScaler(), network) for network in networks]
        estimators.append(boosting(random_state=0))
        folds = (StratifiedKFold if kind == "Classifier" else KFold)(
            5, shuffle=True, random_state=0
        )
        scores, seconds = [], []
        for estimator in estimators:
            start = time.perf_counter()
            scores.append(float(np.mean(cross_val_score(estimator, x, y, cv=folds))))
            seconds.append((time.perf_counter() - start) / 5)
        better += scores[2] > scores[0]
        figures = [f"{score:.3f}" for score in scores]
        print(_line(name, [*figures, f"{seconds[2]:.2f}"]), flush=True)
    print(f"the preset is better than scikit-learn's defaults on {better} of {len(ORDINARY)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", action="store_true")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000, help="leave larger tables out")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(machine())
    if options.presets:
        compare_presets()
    elif options.defaults:
        compare_defaults(options.rounds, options.rows)
    else:
        compare_times(options.rounds, options.rows)


if __name__ == "__main__":
    main()
