"""The search for the best parameters, one fit a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from joblib import parallel_config
from joblib.parallel import ThreadingBackend
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from fastmlp import _checks, _core
from fastmlp.runtime import get_num_threads

STRATEGIES = ("grid", "halving", "random")
# What each of scikit-learn's searches takes besides the estimator and the settings.
SHARED = ("scoring", "refit", "cv", "verbose", "error_score", "return_train_score", "n_jobs")
OF_HALVING = (
    "factor",
    "resource",
    "max_resources",
    "min_resources",
    "aggressive_elimination",
    "random_state",
)


class MLPSearchCV(GridSearchCV):
    """The best parameters by cross-validation, with all fits in this process, one a thread.

    The results are those of scikit-learn's searches, to the bit, but for the times. The table is in
    memory once, there are no processes to start, and nothing is pickled. Threads take turns in what
    is done in Python after each epoch and around each fit: they gain where an epoch takes a good
    part of a millisecond, and little where it takes a few microseconds.

    Parameters
    ----------
    estimator : estimator
        Such as an `MLPRegressor`, or a pipeline that ends with one.
    param_grid : dict or list of dict, optional
        Parameters and lists of their values, for `strategy="grid"` and "halving".
    strategy : {"grid", "random", "halving"}
        As `GridSearchCV`; as `RandomizedSearchCV`; or as `HalvingGridSearchCV` or, with
        `param_distributions`, `HalvingRandomSearchCV`: all settings with few rows (or little of
        another `resource`), the best of them with more.
    param_distributions : dict or list of dict, optional
        Parameters and lists or distributions of their values, for "random" and "halving".
    n_iter : int, optional
        How many settings are drawn. By default 10, and with "halving" as many as the rows allow.
    scoring, refit, cv, verbose, error_score, return_train_score : optional
        As scikit-learn's searches take them.
    random_state : int or RandomState, optional
        For "random" and "halving".
    factor, resource, max_resources, min_resources, aggressive_elimination : optional
        For "halving", as `HalvingGridSearchCV` takes them.
    n_jobs : int, optional
        How many threads there are, each with one fit at a time; by default
        `fastmlp.get_num_threads()`. With 1 each fit may use all threads.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, n_splits_, refit_time_
        As `GridSearchCV` has them, and so are all others; those of halving are, too.

    Notes
    -----
    Give the estimator a `random_state` that is a number: with None all fits draw from NumPy's
    generator, in the order in which they happen to begin.
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any = None,
        *,
        strategy: str = "grid",
        param_distributions: Any = None,
        n_iter: int | None = None,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in SHARED}
        super().__init__(estimator, param_grid, **given)
        self.strategy = strategy
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.random_state = random_state
        self.factor = factor
        self.resource = resource
        self.max_resources = max_resources
        self.min_resources = min_resources
        self.aggressive_elimination = aggressive_elimination

    def fit(self, X: Any, y: Any = None, **params: Any) -> "MLPSearchCV":
        """Fit all settings on all folds, and the best one on all rows.

        Parameters
        ----------
        X : array_like or data frame, shape (rows, features)
        y : array_like, shape (rows,) or (rows, outputs)
        **params
            For `fit` of the estimator, and for scorers and splitters, as `GridSearchCV` takes them.
        """
        search = self._search()
        with _threads(self.n_jobs):
            search.fit(X, y, **params)
        parameters = self.get_params(deep=False)
        for name in [name for name in vars(self) if name not in parameters]:
            delattr(self, name)  # of another fit
        own = search.get_params(deep=False)
        self.__dict__.update({name: v for name, v in vars(search).items() if name not in own})
        return self

    def _search(self) -> Any:
        """That of scikit-learn which has the same results."""
        _checks.choice("strategy", self.strategy, STRATEGIES)
        grid, distributions = self.param_grid, self.param_distributions
        wanted = {"grid": ["param_grid"], "random": ["param_distributions"]}.get(
            self.strategy, ["param_grid", "param_distributions"]
        )
        given = [n for n in ("param_grid", "param_distributions") if getattr(self, n) is not None]
        if len(given) != 1 or given[0] not in wanted:
            raise ValueError(
                f"{wanted[0]}: expected {' or '.join(wanted)} with strategy={self.strategy!r}, got"
                f" {' and '.join(given) or 'neither'}"
            )
        shared = {name: getattr(self, name) for name in SHARED}
        if self.strategy == "grid":
            return GridSearchCV(self.estimator, grid, **shared)
        if self.strategy == "random":
            count = 10 if self.n_iter is None else self.n_iter
            return RandomizedSearchCV(
                self.estimator,
                distributions,
                n_iter=count,
                random_state=self.random_state,
                **shared,
            )
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401
        from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV

        shared |= {name: getattr(self, name) for name in OF_HALVING}
        shared["cv"] = 5 if self.cv is None else self.cv
        if grid is not None:
            return HalvingGridSearchCV(self.estimator, grid, **shared)
        shared["n_candidates"] = "exhaust" if self.n_iter is None else self.n_iter
        if shared["min_resources"] == "exhaust" and self.n_iter is None:
            shared["min_resources"] = "smallest"  # which scikit-learn has as its default here
        return HalvingRandomSearchCV(self.estimator, distributions, **shared)


class _OneThreadEach(ThreadingBackend):
    """joblib's threads, each of which leaves the other cores to the others."""

    _pool: ThreadPool | None

    def _get_pool(self) -> ThreadPool:
        if self._pool is None:
            self._pool = ThreadPool(self._n_jobs, _core.limit_own_threads, (1,))
        return self._pool


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    with parallel_config(_OneThreadEach(), n_jobs=get_num_threads() if count is None else count):
        yield
